"""Clips outside TFX: codec, checks, the demo generator."""
