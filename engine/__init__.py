"""What the API process runs: the nouns, the rows and the answers. Never a stranger's bytes."""
