-- What limits need: the first answers to requests with an Idempotency-Key, and bytes by customer.
-- And a second net that holds closer.

CREATE TABLE idempotency_keys (
    customer_id  uuid NOT NULL REFERENCES customers (id),
    key_hash     bytea NOT NULL,
    request_hash bytea NOT NULL,
    answer       bytea NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, key_hash)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE INDEX blobs_by_customer ON blobs (customer_id) INCLUDE (file_bytes);

ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON idempotency_keys TO rag_api USING (
    customer_id = (SELECT NULLIF(current_setting('rag_engine.customer_id', true), '')::uuid));
CREATE POLICY all_rows ON idempotency_keys TO rag_worker, rag_operator USING (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO rag_api, rag_operator;

-- Rows that the API writes hang on rows of the same customer only: foreign keys do not ask whose.
CREATE POLICY own_parents ON sources AS RESTRICTIVE TO rag_api USING (true) WITH CHECK (
    EXISTS (SELECT FROM rags r WHERE r.id = rag_id)
    AND (file_id IS NULL OR EXISTS (SELECT FROM files f WHERE f.id = file_id))
    AND (edit_id IS NULL OR EXISTS (SELECT FROM files f WHERE f.id = edit_id))
    AND (folder_id IS NULL OR EXISTS (SELECT FROM folders f WHERE f.id = folder_id)));

-- Workers may do no more than they have to.
REVOKE ALL ON schema_versions, signing_keys, customers, accesskeys FROM rag_worker;
GRANT SELECT ON schema_versions TO rag_worker;
GRANT SELECT, DELETE ON customers TO rag_worker;
GRANT SELECT (customer_id), DELETE ON accesskeys TO rag_worker;
GRANT SELECT, UPDATE (created_at), DELETE ON idempotency_keys TO rag_worker;
