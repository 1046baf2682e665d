"""The evaluation gate: thresholds for TensorFlow Model Analysis, and the verdict on a candidate."""
