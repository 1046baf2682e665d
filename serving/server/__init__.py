"""The embedded server, which behaves like TensorFlow Serving."""
