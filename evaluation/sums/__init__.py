"""The sums behind the metrics, as TensorFlow ops for the `evaluate` signature."""
