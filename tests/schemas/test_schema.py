"""The curated schema: its bounds come from the configuration, and TFX's own reader understands it."""

import pytest
import tensorflow as tf
from tfx_bsl.tfxio import tensor_representation_util

from framecast.schemas import features
from framecast.schemas.schema import SEQUENCE, build_schema
from framecast.schemas.spec import ClipSpec, FrameRange


def _features(schema):
    return {feature.name: feature for feature in schema.feature}


def test_bounds_come_from_the_configuration():
    spec = ClipSpec(channels=3, frames=FrameRange(min=5, max=9), height=48, width=64)
    schema = _features(build_schema(spec))
    assert (schema[features.LENGTH].int_domain.min, schema[features.LENGTH].int_domain.max) == (5, 9)
    assert schema[features.CHANNELS].int_domain.max == 3
    assert schema[features.HEIGHT].int_domain.min == schema[features.HEIGHT].int_domain.max == 48
    assert schema[features.WIDTH].int_domain.max == 64
    for feature in schema[SEQUENCE].struct_domain.feature:
        counts = feature.value_counts.value_count
        assert [(count.min, count.max) for count in counts] == [(5, 9), (1, 1)]


def test_free_sizes_are_not_bounded():
    schema = _features(build_schema(ClipSpec(frames=FrameRange(min=5, max=9))))
    assert not schema[features.HEIGHT].HasField("int_domain")


def test_a_clients_clip_parses_without_what_the_ingest_adds():
    context, sequence = tensor_representation_util.CreateTfSequenceExampleParserConfig(
        build_schema(ClipSpec(frames=FrameRange(min=1, max=9)))
    )
    example = tf.train.SequenceExample()
    frames = example.feature_lists.feature_list[features.ENCODED]
    for value in (b"one", b"two"):
        frames.feature.add().bytes_list.value.append(value)
    parsed_context, parsed_sequence, _ = tf.io.parse_sequence_example([example.SerializeToString()], context, sequence)
    assert parsed_context[features.CONTENT].numpy().tolist() == [b""]
    assert parsed_sequence[features.ENCODED].to_list() == [[[b"one"], [b"two"]]]


def test_height_without_width_is_refused():
    with pytest.raises(ValueError, match="both height and width or neither"):
        ClipSpec(frames=FrameRange(min=1, max=2), height=3)


def test_a_missing_value_outside_the_pixel_type_is_refused():
    with pytest.raises(ValueError, match="missing: expected a uint8 value, received 256"):
        ClipSpec(frames=FrameRange(min=1, max=2), missing=256)
