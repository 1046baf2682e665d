"""Predictions of a served model, and the writers of their file formats."""
