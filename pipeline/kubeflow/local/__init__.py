"""Runs a compiled pipeline on this machine: `framecast kubeflow run-local`."""
