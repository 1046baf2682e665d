"""Builds the components of each stage of the pipeline: data, training, release."""
