"""The Trainer: input pipeline, loop, losses, checkpoints."""
