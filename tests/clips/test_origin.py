"""Tests source names and the origin features of clips."""

import pytest
import tensorflow as tf

from framecast.clips.origin import source_names, write_origin
from framecast.schemas import features


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("radar/fmi-20170509-00000-of-00004.tfrecord.gz", "fmi-20170509"),
        ("knmi/clips-00003-00012.tfrecord", "clips"),
        ("demo/clips-00002.tfrecord.gz", "clips"),
        ("storm.tfrecord", "storm"),
        ("2026-01-31.tfrecord.gz", "2026-01-31"),
        ("-00001.gz", "-00001"),
    ],
)
def test_source_is_file_name_without_shard_number(path, name):
    assert source_names([path]) == {path: name}


def test_many_sources_fall_back_to_folder_names():
    few = [f"day{number % 3}/storm{number}.gz" for number in range(33)]
    assert set(source_names(few).values()) == {"day0", "day1", "day2"}
    assert len(set(source_names(few[:32]).values())) == 32
    many = [f"day{number}/storm{number}.gz" for number in range(33)]
    assert set(source_names(many).values()) == {"many"}


def test_origin_of_earlier_ingest_is_replaced():
    example = tf.train.SequenceExample()
    write_origin(example, "old", b"before", span=3)
    write_origin(example, "new", b"after")
    context = example.context.feature
    assert context[features.SOURCE].bytes_list.value == [b"new"]
    assert context[features.RECORDING].bytes_list.value == [b"after"]
    assert features.SPAN not in context
    write_origin(example, "new", b"after", span=7)
    assert context[features.SPAN].int64_list.value == [7]
