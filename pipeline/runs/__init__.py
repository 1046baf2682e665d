"""Runs of the pipeline on this machine: `framecast run`, run records and garbage collection."""
