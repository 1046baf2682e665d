"""Assigns recordings to splits, and decides which clips are too short for a split."""

import hashlib

import tensorflow as tf

from framecast.clips.validation import BadClip
from framecast.schemas import features

SPLITS = ("train", "val", "eval")


def split_of(recording: bytes, shares: dict[str, int]) -> str:
    """Assigns a recording to a split by a hash of its name, so that it stays there when data are added."""
    place = int.from_bytes(hashlib.sha256(recording).digest()[:8], "big") % sum(shares.values())
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("a hash bucket is always within the shares")


def recording_of(example: tf.train.SequenceExample, split_by: str) -> bytes:
    """Returns the value of the feature that clips are split by.

    Raises:
        BadClip: If the clip has no single bytes value of it.
    """
    feature = example.context.feature.get(split_by)
    values = feature.bytes_list.value if feature is not None else []
    if len(values) != 1:
        clip = example.context.feature[features.EXAMPLE_ID].bytes_list.value[0].decode(errors="replace")
        raise BadClip("missing-key", f"expected one bytes value of {split_by}, received {len(values)}", clip=clip)
    return values[0]


def is_left_out(split: str, frames: int, min_frames: int) -> bool:
    """Returns whether a clip is too short for the task and not written to its split.

    Only eval leaves short clips out here, because a slice of short clips alone would have no metrics. The training
    input pipeline leaves them out of train and val.
    """
    return split == "eval" and frames < min_frames
