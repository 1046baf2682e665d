"""The configuration file: its sections, overrides, validation and input files."""
