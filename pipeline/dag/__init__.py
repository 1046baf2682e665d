"""The DAG of components, and their cache keys."""
