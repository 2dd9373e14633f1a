"""What a worker process runs: it opens strangers' bytes and never answers HTTP."""
