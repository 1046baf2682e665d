"""Writes a minimal configuration file for tests."""

_SECTIONS = {
    "data": '{train: "clips/*.gz"}',
    "clip": "{frames: {min: 8, max: 24}}",
    "task": "{horizon: 6, context: {min: 2}}",
    "model": "{preset: convlstm-tiny}",
    "train": "{steps: 10}",
    "push": "{directory: serving}",
}


def write_config(folder, name="config.yaml", **sections):
    """Writes a configuration and returns its path.

    Args:
        folder: Folder of the file.
        name: Name of the file.
        sections: YAML of sections that replace the minimal ones; None leaves a section out.
    """
    path = folder / name
    given = {**_SECTIONS, **sections}
    path.write_text("".join(f"{section}: {text}\n" for section, text in given.items() if text is not None))
    return str(path)
