"""Defines the Keras networks of the tasks, and the presets and builders that create them."""
