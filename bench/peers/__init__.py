"""The engine's peers on the same documents, the same Postgres and passages of the same size."""
