"""Compiles the pipeline for Kubeflow Pipelines (KFP) and submits it."""
