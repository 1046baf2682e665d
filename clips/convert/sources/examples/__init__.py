"""Finds and decodes the frames in records of TFRecord files."""
