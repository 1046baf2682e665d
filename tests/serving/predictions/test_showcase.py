"""Which clips are shown, by a model whose errors are known."""

import numpy as np
import tensorflow as tf
from PIL import Image

from framecast.clips.codec import encode_clip
from framecast.schemas.clip_spec import ClipSpec
from framecast.serving.predictions import showcase

_HORIZON = 2
_SPEC = ClipSpec(frames={"min": 3, "max": 12})


class _Model:
    """Answers black frames; its squared errors and those of persistence are given by clip, in the order of asking."""

    def __init__(self, errors):
        self._errors = iter(errors)
        self.signatures = {"evaluate": self._evaluate, "serving_default": self._serve}

    def _evaluate(self, examples):
        error, persistence = next(self._errors)
        counted = 0.0 if error is None else 100.0
        sums = {"pixels": counted, "squared_error": error or 0.0, "squared_error_persistence": persistence}
        return {name: tf.constant([[value / _HORIZON] * _HORIZON]) for name, value in sums.items()}

    def _serve(self, frames, length):
        return {"forecast": tf.zeros([1, _HORIZON, *frames.shape[2:]])}


def _records(count, size=(16, 16), frames=6):
    draw = np.random.default_rng(0)
    return [
        encode_clip(
            draw.integers(0, 256, (frames, *size, 1), np.uint8), example_id=f"c{n}", media_id=f"m{n}", frame_rate=10.0
        ).SerializeToString()
        for n in range(count)
    ]


def test_of_the_half_in_which_most_changes_the_best_the_median_and_the_worst_are_shown():
    # c0, c4 and c5 hardly change: their skills would be the largest and the smallest.
    errors = [(0.0, 1.0), (20.0, 40.0), (36.0, 40.0), (4.0, 40.0), (9.0, 1.0), (0.0, 0.0)]
    records = _records(len(errors))
    shown, asked = showcase.choose(_Model(errors), lambda: records, _SPEC)
    assert asked == 6
    assert [(clip.role, clip.clip) for clip in shown] == [("typical", "c1"), ("best", "c3"), ("worst", "c2")]
    assert [round(clip.skill_persistence, 6) for clip in shown] == [0.5, 0.9, 0.1]
    assert shown[1].mse == 4.0 / 100.0


def test_clips_too_short_to_be_evaluated_are_passed_over_and_the_number_asked_is_bounded():
    errors = [(None, 0.0), *[(10.0 + place, 40.0) for place in range(30)]]
    records = _records(len(errors))
    shown, asked = showcase.choose(_Model(errors), lambda: records, _SPEC)
    assert asked == showcase.CLIPS
    assert "c0" not in {clip.clip for clip in shown}


def test_no_clip_is_no_animation_and_one_is_shown_once():
    assert showcase.choose(_Model([]), lambda: [], _SPEC) == ([], 0)
    records = _records(1)
    shown, _ = showcase.choose(_Model([(1.0, 2.0)]), lambda: records, _SPEC)
    assert [clip.clip for clip in shown] == ["c0"]


def test_an_animation_has_a_frame_each_and_stays_small_however_large_the_clip(tmp_path):
    records = _records(1, size=(640, 560), frames=12)
    (clip,), _ = showcase.choose(_Model([(1.0, 2.0)]), lambda: records, _SPEC, frame_rate=1 / 300)
    assert clip.stride > 1
    assert len(clip.gif) <= 2_000_000
    (tmp_path / "a.gif").write_bytes(clip.gif)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 12
