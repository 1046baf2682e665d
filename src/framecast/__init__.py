"""A TFX pipeline for ConvLSTM models over variable-length frame sequences.

The packages are links to the folders at the top of the repository.
"""
