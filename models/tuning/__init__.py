"""The Tuner: hyperparameter search."""
