"""Builds the schema of ingested clips from `clip.pbtxt` and the bounds of a configuration.

schema = build_schema(ClipSpec(frames=FrameRange(min=8, max=24)))
"""

import math
import pathlib

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, LabelSpec

SEQUENCE = "##SEQUENCE##"  # TFX's name for the feature lists of a SequenceExample.


def build_schema(spec: ClipSpec, label: LabelSpec | None = None) -> schema_pb2.Schema:
    """Returns the schema for validating ingested clips with contract `spec` and label `label`."""
    text = (pathlib.Path(__file__).parent / "clip.pbtxt").read_text()
    schema = text_format.Parse(text, schema_pb2.Schema())
    context = {feature.name: feature for feature in schema.feature}
    _bound(context[features.LENGTH], spec.frames.min, spec.frames.max)
    _bound(context[features.CHANNELS], spec.channels, spec.channels)
    for name, size in ((features.HEIGHT, spec.height), (features.WIDTH, spec.width)):
        if size is not None:
            _bound(context[name], size, size)
    if label is not None:
        _add_label(schema, label)
    for feature in context[SEQUENCE].struct_domain.feature:
        counts = feature.value_counts.value_count
        counts.add(min=spec.frames.min, max=spec.frames.max)
        counts.add(min=1, max=1)
    return schema


def _add_label(schema: schema_pb2.Schema, label: LabelSpec) -> None:
    """Adds the label feature and its tensor representation; an unlabelled request parses as -1 or NaN."""
    representations = schema.tensor_representation_group[""].tensor_representation
    context = {feature.name: feature for feature in schema.feature}
    if label.per == "frame":
        feature = context[SEQUENCE].struct_domain.feature.add(name=label.name)
        path = representations[label.name].ragged_tensor.feature_path
        path.step.extend([SEQUENCE, label.name])
    else:
        feature = context.get(label.name) or schema.feature.add(name=label.name)
        feature.value_count.min = feature.value_count.max = label.numbers
        dense = representations[label.name].dense_tensor
        dense.column_name = label.name
        dense.shape.SetInParent()
        if label.numbers > 1:
            dense.shape.dim.add(size=label.numbers)
        if label.classes is None:
            dense.default_value.float_value = math.nan
        else:
            dense.default_value.int_value = -1
    if label.required:
        feature.presence.min_fraction, feature.presence.min_count = 1.0, 1
    if label.classes is None:
        feature.type = schema_pb2.FLOAT
    else:
        feature.type = schema_pb2.INT
        _bound(feature, 0, label.classes - 1)


def _bound(feature: schema_pb2.Feature, low: int, high: int) -> None:
    feature.int_domain.min = low
    feature.int_domain.max = high
