"""Fingerprints the contents of the input files for TFX's cache."""

import os
from typing import Any

from tfx.components.example_gen import driver, utils

from framecast.clips.fingerprint import fingerprint
from framecast.components.clip_example_gen import parameters


class ClipExampleGenDriver(driver.Driver):
    """Fingerprints the files before TFX looks up its cache.

    TFX's own driver takes modification times, by which a touched file is new data, and cannot open `s3://`.
    """

    def resolve_exec_properties(self, exec_properties: dict[str, Any], *_: Any) -> dict[str, Any]:
        """Adds the fingerprint of each input split to the cache key."""
        splits, base = parameters.read_inputs(exec_properties)
        known = parameters.read_settings(exec_properties)["known_digests"]
        found = [f"{split.name}: {fingerprint(os.path.join(base, split.pattern), known)}" for split in splits]
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = "\n".join(found)
        exec_properties[utils.SPAN_PROPERTY_NAME] = 0
        exec_properties[utils.VERSION_PROPERTY_NAME] = None
        return exec_properties
