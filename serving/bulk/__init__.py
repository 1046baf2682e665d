"""Runs a model on many clips without a server: resumable, each clip exactly once."""
