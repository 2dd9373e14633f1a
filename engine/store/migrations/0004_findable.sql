-- Large profiles: their chunks as entries of an HNSW graph, each in a table of its own.
ALTER TABLE indexes ADD COLUMN ann_generation integer;
CREATE INDEX indexes_without_entries ON indexes (profile_id)
    WHERE generation_live IS NOT NULL AND ann_generation IS DISTINCT FROM generation_live;
CREATE SEQUENCE ann_numbers;
CREATE TABLE ann_tables (
    profile_id   uuid PRIMARY KEY,
    customer_id  uuid NOT NULL,
    number       bigint NOT NULL CONSTRAINT ann_tables_number UNIQUE,
    entries      bigint NOT NULL,
    dead_entries bigint NOT NULL DEFAULT 0,
    built_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ann_tables_by_customer ON ann_tables (customer_id);
ALTER TABLE ann_tables ENABLE ROW LEVEL SECURITY;
ALTER TABLE ann_tables FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON ann_tables TO rag_api USING (
    customer_id = (SELECT NULLIF(current_setting('rag_engine.customer_id', true), '')::uuid));
CREATE POLICY all_rows ON ann_tables TO rag_worker, rag_operator USING (true);
GRANT SELECT ON ann_tables TO rag_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON ann_tables TO rag_worker, rag_operator;
