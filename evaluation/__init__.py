"""Metrics, reference forecasts and their TensorFlow Model Analysis adapters."""
