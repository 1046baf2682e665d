"""Tests that segments have no gaps, legal lengths and even spacing, and that every frame is counted."""

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
    segments = cut(frames, rate=rate, clip_rate=clip_rate, resolution=resolution, spec=CutSpec(**spec), tally=tally)
    return list(segments), tally


def _indices(segment):
    return [int(frame.place.removeprefix("frame ")) for frame in segment.frames]


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_is_used_or_counted(seed):
    rng = np.random.default_rng(seed)
    gaps = rng.random(200) < 0.05
    times = np.cumsum(40_000 * (1 + gaps * rng.integers(1, 9, 200)))
    most = int(rng.integers(3, 12))
    fewest = int(rng.integers(1, most + 1))
    segments, tally = _cut(times.tolist(), frames={"min": fewest, "max": most})
    used = [index for segment in segments for index in _indices(segment)]
    assert len(set(used)) == len(used)
    assert len(used) + tally["frames of no clip"] == tally["frames"] == 200
    for segment in segments:
        assert fewest <= len(segment.frames) <= most
        assert np.all(np.diff(segment.times) == 40_000)
        assert _indices(segment) == list(range(segment.index, segment.index + len(segment.frames)))
    # Unused stretches are shorter than the shortest clip.
    left = sorted(set(range(200)) - set(used))
    stretches = np.split(left, 1 + np.flatnonzero(np.diff(left) > 1)) if left else []
    starts = {0, *(1 + np.flatnonzero(np.diff(times) != 40_000)).tolist()}
    for stretch in stretches:
        pieces = np.split(stretch, [place for place, index in enumerate(stretch) if index in starts and place])
        assert all(len(piece) < fewest for piece in pieces)
    assert tally["gaps"] == len(starts) - 1


def test_stride_makes_overlap_and_last_clip_is_new():
    segments, tally = _cut(range(0, 30 * 1000, 1000), frames={"min": 4, "max": 10}, stride=5)
    assert [(segment.index, len(segment.frames)) for segment in segments] == [
        (0, 10),
        (5, 10),
        (10, 10),
        (15, 10),
        (20, 10),
    ]
    assert not tally["frames of no clip"]
    segments, _ = _cut(range(0, 33 * 1000, 1000), frames={"min": 4, "max": 10}, stride=5)
    assert (segments[-1].index, len(segments[-1].frames)) == (25, 8)


def test_frames_skipped_by_long_stride_are_counted():
    segments, tally = _cut(range(0, 30 * 1000, 1000), frames={"min": 4, "max": 4}, stride=10)
    assert [segment.index for segment in segments] == [0, 10, 20]
    assert tally["frames of no clip"] == 18


@pytest.mark.parametrize("fps", [10.0, 7.3, 12.0, 20.0, 3.0])
def test_resampling_takes_nearest_frames(fps):
    rng = np.random.default_rng(0)
    times = (np.arange(300) * 40_000 + rng.integers(-4000, 4000, 300)).astype(int)
    times[0] = 0
    segments, tally = _cut(times.tolist(), rate=25.0, fps=fps, frames={"min": 1, "max": 1000})
    (segment,) = segments
    wanted = np.round(np.arange(len(segment.frames)) * 1e6 / fps).astype(int)
    assert segment.times == wanted.tolist()
    nearest = np.abs(times[None] - wanted[:, None])
    chosen = nearest[np.arange(len(wanted)), _indices(segment)]
    assert np.array_equal(chosen, nearest.min(1))
    assert wanted[-1] >= times[-1] - 1e6 / fps
    assert tally["frames"] == 300 == len(set(_indices(segment))) + tally["frames not at the rate wanted"]


def test_hole_in_resampled_recording_is_gap():
    times = [*range(0, 1_000_000, 40_000), *range(2_000_000, 3_000_000, 40_000)]
    segments, tally = _cut(times, rate=25.0, fps=12.5, frames={"min": 1, "max": 100})
    assert [(segment.times[0], segment.times[-1]) for segment in segments] == [(0, 960_000), (2_000_000, 2_960_000)]
    assert tally["gaps"] == 1


def test_rounded_container_times_become_even():
    rounded = [round(index * 1000 / 30) * 1000 for index in range(60)]
    (segment,), tally = _cut(rounded, rate=30.0, resolution=1000.0, frames={"min": 2, "max": 60})
    assert np.allclose(np.diff(segment.times), 1e6 / 30, atol=1)
    assert not tally["gaps"]


def test_no_clip_spans_two_pieces():
    times = [index * 300_000_000 for index in range(92)]
    segments, _ = _cut(times, frames={"min": 4, "max": 10}, recording_seconds=3600)
    for segment in segments:
        assert {time // 3_600_000_000 for time in segment.times} == {segment.piece}
    assert [segment.piece for segment in segments] == sorted(segment.piece for segment in segments)
    assert {segment.piece for segment in segments} == set(range(8))


def test_decreasing_times_are_rejected():
    with pytest.raises(BadSource, match=r"^frame 3: expected a time after 2000 us, received 2000 us"):
        _cut([0, 1000, 2000, 2000], frames={"min": 1, "max": 4})


def test_frames_without_times_need_rate():
    with pytest.raises(BadSource, match=r"recording: the frames have no times; set their rate \(--fps\)"):
        _cut([None] * 5)
    (segment,), _ = _cut([None] * 5, fps=4.0, frames={"min": 1, "max": 9})
    assert segment.times == [0, 250_000, 500_000, 750_000, 1_000_000]


def test_rate_above_source_rate_is_rejected():
    with pytest.raises(BadSource, match=r"expected at least 50 frames per second \(--fps\), received 25"):
        _cut(range(0, 400_000, 40_000), fps=50.0)
