"""Metrics computed from mergeable sums. NumPy only."""
