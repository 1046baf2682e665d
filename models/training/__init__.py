"""Trains models: the Trainer's `run_fn`, input pipeline, losses, loop and checkpoints."""
