"""Searches settings with KerasTuner: the Tuner's `tuner_fn`."""
