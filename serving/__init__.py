"""Client and embedded server with the behaviour of TensorFlow Serving."""
