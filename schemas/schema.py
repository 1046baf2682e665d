"""The curated schema: the text in `clip.pbtxt` with the bounds of a configuration.

build_schema(ClipSpec(frames=FrameRange(min=8, max=24)))
"""

import pathlib

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from framecast.schemas import features
from framecast.schemas.spec import ClipSpec

SEQUENCE = "##SEQUENCE##"  # How TFX calls the feature lists of a SequenceExample.


def build_schema(spec: ClipSpec) -> schema_pb2.Schema:
    """Returns the schema that ingested clips of `spec` are validated against."""
    text = (pathlib.Path(__file__).parent / "clip.pbtxt").read_text()
    schema = text_format.Parse(text, schema_pb2.Schema())
    context = {feature.name: feature for feature in schema.feature}
    _bound(context[features.LENGTH], spec.frames.min, spec.frames.max)
    _bound(context[features.CHANNELS], spec.channels, spec.channels)
    for name, size in ((features.HEIGHT, spec.height), (features.WIDTH, spec.width)):
        if size is not None:
            _bound(context[name], size, size)
    for feature in context[SEQUENCE].struct_domain.feature:
        counts = feature.value_counts.value_count
        counts.add(min=spec.frames.min, max=spec.frames.max)
        counts.add(min=1, max=1)
    return schema


def _bound(feature: schema_pb2.Feature, low: int, high: int) -> None:
    feature.int_domain.min = low
    feature.int_domain.max = high
