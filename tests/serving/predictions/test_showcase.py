"""Selection of example clips, for a model with known errors."""

import numpy as np
import tensorflow as tf
from PIL import Image

from framecast.clips.codec import encode_clip
from framecast.schemas.clip_spec import ClipSpec
from framecast.serving.predictions import showcase

_HORIZON = 2
_SPEC = ClipSpec(frames={"min": 3, "max": 12})


class _Model:
    """Forecasts black frames; returns the given squared errors of model and persistence, one pair per call."""

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


def test_best_median_and_worst_moving_clips_are_selected():
    # c0, c4 and c5 hardly change; their skills would be the largest and the smallest.
    errors = [(0.0, 1.0), (20.0, 40.0), (36.0, 40.0), (4.0, 40.0), (9.0, 1.0), (0.0, 0.0)]
    records = _records(len(errors))
    selected, scored = showcase.choose(_Model(errors), lambda: records, _SPEC)
    assert scored == 6
    assert [(clip.role, clip.clip) for clip in selected] == [("typical", "c1"), ("best", "c3"), ("worst", "c2")]
    assert [round(clip.skill_persistence, 6) for clip in selected] == [0.5, 0.9, 0.1]
    assert selected[1].mse == 4.0 / 100.0


def test_short_clips_are_skipped_and_scoring_is_bounded():
    errors = [(None, 0.0), *[(10.0 + place, 40.0) for place in range(30)]]
    records = _records(len(errors))
    selected, scored = showcase.choose(_Model(errors), lambda: records, _SPEC)
    assert scored == showcase.CLIPS
    assert "c0" not in {clip.clip for clip in selected}


def test_no_clips_and_one_clip_are_selected_once():
    assert showcase.choose(_Model([]), lambda: [], _SPEC) == ([], 0)
    records = _records(1)
    selected, _ = showcase.choose(_Model([(1.0, 2.0)]), lambda: records, _SPEC)
    assert [clip.clip for clip in selected] == ["c0"]


def test_animation_of_large_clip_stays_small(tmp_path):
    records = _records(1, size=(640, 560), frames=12)
    (clip,), _ = showcase.choose(_Model([(1.0, 2.0)]), lambda: records, _SPEC, frame_rate=1 / 300)
    assert clip.stride > 1
    assert len(clip.gif) <= 2_000_000
    (tmp_path / "a.gif").write_bytes(clip.gif)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 12
