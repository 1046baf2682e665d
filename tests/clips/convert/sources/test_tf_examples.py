"""Tests TFRecords of `tf.train.Example` as TensorFlow Datasets writes them."""

import numpy as np
import pytest
import tensorflow as tf

from framecast.clips import image_codec
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.records import write_records
from tests.clips.convert.sources.reading import GRAY, read_sources


def _example(frames, **extra):
    def of(value):
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    feature = {"video": [image_codec.encode_png(frame[..., None]) for frame in frames], **extra}
    return tf.train.Example(
        features=tf.train.Features(feature={name: of(value) for name, value in feature.items()})
    ).SerializeToString()


def test_tensorflow_datasets_examples_are_read(tmp_path):
    write_records(tmp_path / "v.tfrecord-00000-of-00001", [_example(GRAY, label=3), _example(GRAY[::-1], label=b"up")])
    (first, frames), (second, _) = read_sources(tmp_path).values()
    assert np.array_equal([frame.values[..., 0] for frame in frames], GRAY)
    assert (first.label_index, second.label) == (3, "up")
    assert first.name == "v.tfrecord-00000-of-00001/000000"


def test_bad_example_names_record_and_frame(tmp_path):
    path = tmp_path / "v.tfrecord"
    write_records(path, [_example(GRAY), _example(GRAY, other=[b"a", b"b"])])
    with pytest.raises(
        BadSource, match=r"record 1: expected one list of encoded frames .* received lists in other, vid"
    ):
        read_sources(path)
    write_records(path, [_example(GRAY, video=[b"a", b"b"])])
    with pytest.raises(BadSource, match=r"record 0, frame 0: expected a PNG or JPEG image"):
        read_sources(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BadSource, match=r"v\.tfrecord: record 0"):
        read_sources(path)
