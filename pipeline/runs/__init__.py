"""Runs of the pipeline on this machine, and their records."""
