"""Sets thresholds for TensorFlow Model Analysis and reads its verdict on a candidate."""
