"""Optimizers, learning rates and steps of the training loop."""
