"""Provides the embedded server, which behaves like TensorFlow Serving."""
