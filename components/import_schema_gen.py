"""Writes the curated schema as an artifact."""

import os

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

_FILE = "schema.pbtxt"  # The name that TFX's components read.


@component
def ImportSchemaGen(
    schema: OutputArtifact[standard_artifacts.Schema],
    text: Parameter[str],
    code: Parameter[str] = "",  # noqa: ARG001 - part of the cache key
) -> None:
    """Writes a schema given as text.

    TFX's ImportSchemaGen takes the path of a file, which a cluster does not have and whose content its cache ignores.

    Args:
        schema: The schema.
        text: A `tensorflow_metadata.proto.v0.Schema` in text format.
        code: Digest of the component's code.
    """
    fileio.makedirs(schema.uri)
    with fileio.open(os.path.join(schema.uri, _FILE), "w") as file:
        file.write(text)
