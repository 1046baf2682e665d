"""Task models as Keras networks, and the presets and builders that make them."""
