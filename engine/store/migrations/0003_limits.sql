-- What limits need: the first answers to requests with an Idempotency-Key, and bytes by customer.

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

GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO rag_api, rag_worker, rag_operator;
