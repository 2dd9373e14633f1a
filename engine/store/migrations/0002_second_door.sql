-- What the second door needs: folders, public model names, edited texts, signed links.

CREATE TABLE signing_keys (
    id         smallint PRIMARY KEY DEFAULT 1 CONSTRAINT signing_keys_one CHECK (id = 1),
    key        bytea NOT NULL
);
INSERT INTO signing_keys (key)
SELECT sha256(decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

ALTER TABLE files ADD COLUMN written boolean NOT NULL DEFAULT false;

ALTER TABLE rags ADD COLUMN is_default boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX rags_default ON rags (customer_id) WHERE is_default AND deleted_at IS NULL;

ALTER TABLE profiles ADD COLUMN public_model text;
CREATE UNIQUE INDEX profiles_public_once ON profiles (rag_id, public_model)
    WHERE public_model IS NOT NULL;

CREATE TABLE folders (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position    bigint GENERATED ALWAYS AS IDENTITY,
    customer_id uuid NOT NULL REFERENCES customers (id),
    parent_id   uuid CONSTRAINT folders_parent REFERENCES folders (id),
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT folders_not_itself CHECK (parent_id <> id)
);
CREATE INDEX folders_by_parent ON folders (customer_id, parent_id);
CREATE INDEX folders_by_parent_alone ON folders (parent_id);

ALTER TABLE sources ADD COLUMN name_given boolean NOT NULL DEFAULT false,
    ADD COLUMN edit_id uuid CONSTRAINT sources_edit REFERENCES files (id),
    ADD COLUMN folder_id uuid CONSTRAINT sources_folder REFERENCES folders (id) ON DELETE SET NULL,
    ADD COLUMN original_bytes bigint NOT NULL DEFAULT 0;
-- The tables hold their owner to the policies too: only a role that sees all rows may fill them.
SET LOCAL ROLE rag_worker;
UPDATE sources s SET original_bytes = f.file_bytes FROM files f WHERE f.id = s.file_id;
UPDATE sources s SET original_bytes = b.file_bytes
FROM documents d JOIN blobs b ON b.customer_id = d.customer_id AND b.sha256 = d.original_sha256
WHERE d.source_id = s.id AND d.revision = s.revision AND s.url IS NOT NULL;
RESET ROLE;
CREATE INDEX sources_by_edit ON sources (edit_id) WHERE edit_id IS NOT NULL;
CREATE INDEX sources_by_folder ON sources (folder_id) WHERE folder_id IS NOT NULL;
CREATE INDEX sources_by_customer ON sources (customer_id, created_at, position)
    WHERE deleted_at IS NULL;

ALTER TABLE indexes ADD COLUMN used_bytes bigint NOT NULL DEFAULT 0;
CREATE INDEX indexes_used ON indexes (customer_id, profile_id) INCLUDE (id, used_bytes)
    WHERE used_bytes > 0;

ALTER TABLE folders ENABLE ROW LEVEL SECURITY;
ALTER TABLE folders FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON folders TO rag_api USING (
    customer_id = (SELECT NULLIF(current_setting('rag_engine.customer_id', true), '')::uuid));
CREATE POLICY all_rows ON folders TO rag_worker, rag_operator USING (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON folders TO rag_api;
GRANT SELECT ON signing_keys TO rag_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON folders, signing_keys TO rag_worker, rag_operator;
