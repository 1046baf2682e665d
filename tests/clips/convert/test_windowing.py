"""Cutting: runs without a gap, within the lengths, evenly spaced, and every frame accounted for."""

import collections

import numpy as np
import pytest

from framecast.clips.convert.sources.source import BadSource, Frame
from framecast.clips.convert.spec import CutSpec
from framecast.clips.convert.windowing import cut, frame_rate


def _frames(times):
    return [
        Frame(np.full((1, 1, 1), index % 256, np.uint8), time, f"frame {index}") for index, time in enumerate(times)
    ]


def _cut(times, fps=None, rate=None, resolution=0.0, **spec):
    tally = collections.Counter()
    frames, rate, clip_rate = frame_rate(iter(_frames(times)), rate, fps, "recording")
    runs = cut(frames, rate=rate, clip_rate=clip_rate, resolution=resolution, spec=CutSpec(**spec), tally=tally)
    return list(runs), tally


def _indices(run):
    return [int(frame.place.removeprefix("frame ")) for frame in run.frames]


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_is_in_a_clip_or_counted(seed):
    rng = np.random.default_rng(seed)
    gaps = rng.random(200) < 0.05
    times = np.cumsum(40_000 * (1 + gaps * rng.integers(1, 9, 200)))
    most = int(rng.integers(3, 12))
    fewest = int(rng.integers(1, most + 1))
    runs, tally = _cut(times.tolist(), frames={"min": fewest, "max": most})
    used = [index for run in runs for index in _indices(run)]
    assert len(set(used)) == len(used)
    assert len(used) + tally["frames of no clip"] == tally["frames"] == 200
    for run in runs:
        assert fewest <= len(run.frames) <= most
        assert np.all(np.diff(run.times) == 40_000)
        assert _indices(run) == list(range(run.index, run.index + len(run.frames)))
    # What is left out is shorter than any clip may be.
    left = sorted(set(range(200)) - set(used))
    stretches = np.split(left, 1 + np.flatnonzero(np.diff(left) > 1)) if left else []
    starts = {0, *(1 + np.flatnonzero(np.diff(times) != 40_000)).tolist()}
    for stretch in stretches:
        pieces = np.split(stretch, [place for place, index in enumerate(stretch) if index in starts and place])
        assert all(len(piece) < fewest for piece in pieces)
    assert tally["gaps"] == len(starts) - 1


def test_clips_overlap_by_the_stride_and_the_last_shows_something_new():
    runs, tally = _cut(range(0, 30 * 1000, 1000), frames={"min": 4, "max": 10}, stride=5)
    assert [(run.index, len(run.frames)) for run in runs] == [(0, 10), (5, 10), (10, 10), (15, 10), (20, 10)]
    assert not tally["frames of no clip"]
    runs, _ = _cut(range(0, 33 * 1000, 1000), frames={"min": 4, "max": 10}, stride=5)
    assert (runs[-1].index, len(runs[-1].frames)) == (25, 8)


def test_a_stride_beyond_the_length_leaves_frames_out_and_counts_them():
    runs, tally = _cut(range(0, 30 * 1000, 1000), frames={"min": 4, "max": 4}, stride=10)
    assert [run.index for run in runs] == [0, 10, 20]
    assert tally["frames of no clip"] == 18


@pytest.mark.parametrize("fps", [10.0, 7.3, 12.0, 20.0, 3.0])
def test_another_rate_takes_the_nearest_frames(fps):
    rng = np.random.default_rng(0)
    times = (np.arange(300) * 40_000 + rng.integers(-4000, 4000, 300)).astype(int)
    times[0] = 0
    runs, tally = _cut(times.tolist(), rate=25.0, fps=fps, frames={"min": 1, "max": 1000})
    (run,) = runs
    wanted = np.round(np.arange(len(run.frames)) * 1e6 / fps).astype(int)
    assert run.times == wanted.tolist()
    nearest = np.abs(times[None] - wanted[:, None])
    chosen = nearest[np.arange(len(wanted)), _indices(run)]
    assert np.array_equal(chosen, nearest.min(1))
    assert wanted[-1] >= times[-1] - 1e6 / fps
    assert tally["frames"] == 300 == len(set(_indices(run))) + tally["frames not at the rate wanted"]


def test_a_hole_in_a_resampled_recording_is_a_gap():
    times = [*range(0, 1_000_000, 40_000), *range(2_000_000, 3_000_000, 40_000)]
    runs, tally = _cut(times, rate=25.0, fps=12.5, frames={"min": 1, "max": 100})
    assert [(run.times[0], run.times[-1]) for run in runs] == [(0, 960_000), (2_000_000, 2_960_000)]
    assert tally["gaps"] == 1


def test_times_that_a_container_rounds_are_made_even():
    rounded = [round(index * 1000 / 30) * 1000 for index in range(60)]
    (run,), tally = _cut(rounded, rate=30.0, resolution=1000.0, frames={"min": 2, "max": 60})
    assert np.allclose(np.diff(run.times), 1e6 / 30, atol=1)
    assert not tally["gaps"]


def test_pieces_are_of_the_length_and_no_clip_spans_two():
    times = [index * 300_000_000 for index in range(92)]
    runs, _ = _cut(times, frames={"min": 4, "max": 10}, recording_seconds=3600)
    for run in runs:
        assert {time // 3_600_000_000 for time in run.times} == {run.piece}
    assert [run.piece for run in runs] == sorted(run.piece for run in runs)
    assert {run.piece for run in runs} == set(range(8))


def test_times_must_increase():
    with pytest.raises(BadSource, match=r"^frame 3: expected a time after 2000 us, received 2000 us"):
        _cut([0, 1000, 2000, 2000], frames={"min": 1, "max": 4})


def test_a_rate_is_needed_where_there_are_no_times():
    with pytest.raises(BadSource, match=r"recording: expected frames with times, or .* \(--fps\), received neither"):
        _cut([None] * 5)
    (run,), _ = _cut([None] * 5, fps=4.0, frames={"min": 1, "max": 9})
    assert run.times == [0, 250_000, 500_000, 750_000, 1_000_000]


def test_frames_are_not_made_up():
    with pytest.raises(BadSource, match=r"expected at least the 50 frames a second wanted \(--fps\), received 25"):
        _cut(range(0, 400_000, 40_000), fps=50.0)
