-- What an owner says about a source, for filters.
ALTER TABLE sources ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}'
    CONSTRAINT sources_attributes CHECK (jsonb_typeof(attributes) = 'object');
-- A RAG's change to its next profile, built beside the live one.
ALTER TABLE rags ADD COLUMN profile_next uuid;
CREATE INDEX rags_changing ON rags (id) WHERE profile_next IS NOT NULL;
ALTER TABLE profiles ADD COLUMN filled boolean NOT NULL DEFAULT false,
    ADD COLUMN retired_at timestamptz;
CREATE INDEX profiles_retired ON profiles (retired_at) WHERE retired_at IS NOT NULL;
CREATE INDEX indexes_unbuilt ON indexes (profile_id)
    WHERE generation_live IS DISTINCT FROM generation;
