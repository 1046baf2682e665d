"""TFX components: thin wrappers that call the packages below them."""
