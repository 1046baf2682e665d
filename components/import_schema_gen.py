"""ImportSchemaGen: the curated schema as an artifact."""

import os

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

_FILE = "schema.pbtxt"  # What TFX's components look for.


@component
def ImportSchemaGen(schema: OutputArtifact[standard_artifacts.Schema], text: Parameter[str]) -> None:
    """Writes a schema that is given as text.

    TFX's own takes the path of a file, which a cluster does not have, and its cache looks at the path alone.

    Args:
        schema: The schema.
        text: A `tensorflow_metadata.proto.v0.Schema` as text.
    """
    fileio.makedirs(schema.uri)
    with fileio.open(os.path.join(schema.uri, _FILE), "w") as file:
        file.write(text)
