"""Tests the validation of clip and frame labels."""

import re

import numpy as np
import pytest

from framecast.clips.codec import encode_clip
from framecast.clips.validation import BadClip, check_clip
from framecast.schemas.clip_spec import ClipSpec, FrameRange, LabelSpec

_PER_CLIP = LabelSpec(name="clip/label/index", per="clip", classes=3)
_SEVERAL = LabelSpec(name="clip/label/value", per="clip", classes=None, numbers=3)
_PER_FRAME = LabelSpec(name="image/label/value", per="frame", classes=None)


@pytest.mark.parametrize(
    ("label", "labels", "reason", "frame", "message"),
    [
        (_PER_CLIP, {}, "missing-label", None, "clip/label/index: expected a label for every clip, received none"),
        (_PER_CLIP, {"label_index": [3]}, "label-range", None, "expected a class from 0 to 2, received 3"),
        (_PER_CLIP, {"label_index": [0, 1]}, "wrong-type", None, "expected 1 value, received 2"),
        (_SEVERAL, {"label_value": [1, 2]}, "wrong-type", None, "clip/label/value: expected 3 values, received 2"),
        (_SEVERAL, {"label_value": [1, np.inf, 2]}, "label-range", None, "expected a finite number, received inf"),
        (_PER_FRAME, {}, "missing-label", None, "image/label/value: expected a label for every frame, received none"),
        (_PER_FRAME, {"frame_label_value": [0, 1, np.nan, 3]}, "label-range", 2, "a finite number, received nan"),
    ],
)
def test_illegal_label_names_clip_and_frame(label, labels, reason, frame, message):
    example = encode_clip(np.zeros((4, 8, 8, 1), np.uint8), example_id="a", media_id="m", frame_rate=10, **labels)
    with pytest.raises(BadClip, match=re.escape(message)) as caught:
        check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=9)), label)
    assert (caught.value.reason, caught.value.frame, caught.value.clip) == (reason, frame, "a")


def test_too_few_frame_labels_are_rejected():
    frames = np.zeros((4, 8, 8, 1), np.uint8)
    example = encode_clip(frames, example_id="a", media_id="m", frame_rate=10, frame_label_value=[0, 1, 2, 3])
    del example.feature_lists.feature_list["image/label/value"].feature[2:]
    with pytest.raises(BadClip, match=r"image/label/value: expected 4 values, one per frame, received 2"):
        check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=9)), _PER_FRAME)


def test_optional_label_may_be_missing():
    example = encode_clip(np.zeros((4, 8, 8, 1), np.uint8), example_id="a", media_id="m", frame_rate=10)
    optional = _PER_FRAME.model_copy(update={"required": False})
    check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=9)), optional)
