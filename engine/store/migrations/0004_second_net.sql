-- Rows that the API writes hang on rows of the same customer only: foreign keys do not ask whose.
-- And workers may do no more than they have to.

CREATE POLICY own_parents ON sources AS RESTRICTIVE TO rag_api USING (true) WITH CHECK (
    EXISTS (SELECT FROM rags r WHERE r.id = rag_id)
    AND (file_id IS NULL OR EXISTS (SELECT FROM files f WHERE f.id = file_id))
    AND (edit_id IS NULL OR EXISTS (SELECT FROM files f WHERE f.id = edit_id))
    AND (folder_id IS NULL OR EXISTS (SELECT FROM folders f WHERE f.id = folder_id)));

REVOKE ALL ON schema_versions, signing_keys, customers, accesskeys, idempotency_keys FROM rag_worker;
GRANT SELECT ON schema_versions TO rag_worker;
GRANT SELECT, DELETE ON customers TO rag_worker;
GRANT SELECT (customer_id), DELETE ON accesskeys TO rag_worker;
GRANT SELECT, UPDATE (created_at), DELETE ON idempotency_keys TO rag_worker;
