"""Manages pushed versions: labels, promote and rollback, retention, TensorFlow Serving's configuration files."""
