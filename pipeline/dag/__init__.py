"""Builds the pipeline's DAG and the cache keys of its components."""
