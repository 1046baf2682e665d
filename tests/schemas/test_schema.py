"""Tests the schema's bounds, and that TFX and TFDV accept it."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tfx_bsl.cc.tfx_bsl_extension import coders
from tfx_bsl.tfxio import tensor_representation_util

from framecast.clips.codec import encode_clip
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, FrameRange, LabelSpec
from framecast.schemas.schema import SEQUENCE, build_schema


def _features(schema):
    return {feature.name: feature for feature in schema.feature}


def test_configuration_sets_bounds():
    spec = ClipSpec(channels=3, frames=FrameRange(min=5, max=9), height=48, width=64)
    schema = _features(build_schema(spec))
    assert (schema[features.LENGTH].int_domain.min, schema[features.LENGTH].int_domain.max) == (5, 9)
    assert schema[features.CHANNELS].int_domain.max == 3
    assert schema[features.HEIGHT].int_domain.min == schema[features.HEIGHT].int_domain.max == 48
    assert schema[features.WIDTH].int_domain.max == 64
    for feature in schema[SEQUENCE].struct_domain.feature:
        counts = feature.value_counts.value_count
        assert [(count.min, count.max) for count in counts] == [(5, 9), (1, 1)]


def test_unset_size_is_unbounded():
    schema = _features(build_schema(ClipSpec(frames=FrameRange(min=5, max=9))))
    assert not schema[features.HEIGHT].HasField("int_domain")


def test_request_clip_parses_without_ingest_features():
    context, sequence = tensor_representation_util.CreateTfSequenceExampleParserConfig(
        build_schema(ClipSpec(frames=FrameRange(min=1, max=9)))
    )
    example = tf.train.SequenceExample()
    frames = example.feature_lists.feature_list[features.ENCODED]
    for value in (b"one", b"two"):
        frames.feature.add().bytes_list.value.append(value)
    parsed_context, parsed_sequence, _ = tf.io.parse_sequence_example([example.SerializeToString()], context, sequence)
    for name in (features.CONTENT, features.MOVEMENT, features.CLASS, features.SOURCE, features.RECORDING):
        assert parsed_context[name].numpy().tolist() == [b""]
    assert parsed_sequence[features.ENCODED].to_list() == [[[b"one"], [b"two"]]]


def test_height_without_width_is_rejected():
    with pytest.raises(ValueError, match="both height and width or neither"):
        ClipSpec(frames=FrameRange(min=1, max=2), height=3)


def test_missing_value_outside_dtype_is_rejected():
    with pytest.raises(ValueError, match="missing: expected a uint8 value, received 256"):
        ClipSpec(frames=FrameRange(min=1, max=2), missing=256)


@pytest.mark.parametrize(("change", "expected"), [(None, []), (30, [features.LENGTH])], ids=["legal", "too long"])
def test_tfdv_reports_only_out_of_range_length(change, expected):
    schema = build_schema(ClipSpec(frames=FrameRange(min=2, max=9)))
    example = encode_clip(
        np.zeros((3, 4, 4, 1), np.uint8),
        example_id="a-0", media_id="a", frame_rate=10, label_index=[1, 2], label_string=["rain"],
    )  # fmt: skip
    example.context.feature[features.LENGTH].int64_list.value.append(change or 3)
    for name, word in (
        (features.CONTENT, b"empty"), (features.MOVEMENT, b"still"), (features.CLASS, b"none"),
        (features.SOURCE, b"any"), (features.RECORDING, b"a"),
    ):  # fmt: skip
        example.context.feature[name].bytes_list.value.append(word)
    for name in (features.MEAN, features.DEVIATION, features.EMPTY_SHARE, features.MOTION):
        example.context.feature[name].float_list.value.append(0.5)
    decoder = coders.SequenceExamplesToRecordBatchDecoder(SEQUENCE, schema.SerializeToString())
    batch = decoder.DecodeBatch([example.SerializeToString()])
    statistics = stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions(schema=schema))
    anomalies = tfdv.validate_statistics(statistics, schema)
    assert list(anomalies.anomaly_info) == expected


@pytest.mark.parametrize(
    ("label", "labels", "default"),
    [
        (LabelSpec(name=features.LABEL_INDEX, per="clip", classes=3), {"label_index": [2]}, -1),
        (LabelSpec(name=features.LABEL_VALUE, per="clip", classes=None), {"label_value": 0.5}, np.nan),
        (LabelSpec(name=features.FRAME_LABEL_INDEX, per="frame", classes=3), {"frame_label_index": [0, 2, 1]}, None),
        (LabelSpec(name=features.FRAME_LABEL_VALUE, per="frame", classes=None), {"frame_label_value": [0, 2, 1]}, None),
    ],
)
def test_label_is_declared_and_parsed(label, labels, default):
    schema = build_schema(ClipSpec(frames=FrameRange(min=1, max=9)), label)
    frame_features = {feature.name: feature for feature in _features(schema)[SEQUENCE].struct_domain.feature}
    declared = frame_features[label.name] if label.per == "frame" else _features(schema)[label.name]
    assert declared.presence.min_fraction == 1
    assert declared.int_domain.max == (2 if label.classes else 0)
    context, sequence = tensor_representation_util.CreateTfSequenceExampleParserConfig(schema)

    def parse(**given):
        frames = np.zeros((3, 4, 4, 1), np.uint8)
        example = encode_clip(frames, example_id="a", media_id="m", frame_rate=10, **given)
        parsed, lists, _ = tf.io.parse_sequence_example([example.SerializeToString()], context, sequence)
        return lists[label.name].to_list()[0] if label.per == "frame" else parsed[label.name].numpy()[0]

    (expected,) = labels.values()
    if label.per == "frame":
        assert parse(**labels) == [[value] for value in expected]
        assert parse() == []
    else:
        assert parse(**labels) == (expected[0] if label.classes else expected)
        np.testing.assert_equal(parse(), default)
