"""TFX components: thin wrappers around the packages below them, usable in any TFX pipeline."""
