"""Artifacts as ML Metadata stores them."""


def stored_artifact(kind, **properties):
    """Returns an artifact of a TFX type with custom properties."""
    artifact = kind()
    for name, value in properties.items():
        if isinstance(value, int):
            artifact.set_int_custom_property(name, value)
        else:
            artifact.set_string_custom_property(name, value)
    return artifact.mlmd_artifact
