-- What an owner says about a source, for filters.
ALTER TABLE sources ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}'
    CONSTRAINT sources_attributes CHECK (jsonb_typeof(attributes) = 'object');
