"""Exports models as SavedModels with signatures and warm-up requests."""
