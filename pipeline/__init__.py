"""Configuration, the DAG, the runners and the command line."""
