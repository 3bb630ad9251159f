"""The latency suite: the papers' cases from a file to a written mask, beside the published scripts in one run."""
