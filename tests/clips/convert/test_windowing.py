"""Tests that segments have no gaps, legal lengths and even spacing, and that every frame is counted."""

import collections

import numpy as np
import pytest

from framecast.clips.convert import frame_times
from framecast.clips.convert.sources.source import BadSource, Frame, Recording
from framecast.clips.convert.spec import CutSpec
from framecast.clips.convert.windowing import cut


def _frames(times):
    return [
        Frame(np.full((1, 1, 1), index % 256, np.uint8), time, f"frame {index}") for index, time in enumerate(times)
    ]


def _cut(times, fps=None, rate=None, resolution=0.0, **spec):
    tally = collections.Counter()
    recording = Recording("recording", iter(_frames(times)), rate=rate, resolution=resolution)
    return list(cut(recording, fps=fps, spec=CutSpec(**spec), tally=tally)), tally


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


@pytest.mark.parametrize(("missing", "gaps"), [(1, 0), (3, 0), (7, 1), (20, 1)])
def test_resampled_frame_is_within_half_interval(missing, gaps):
    times = [index * 40_000 for index in range(100) if not 41 <= index < 41 + missing]
    segments, tally = _cut(times, rate=25.0, fps=5.0, frames={"min": 1, "max": 100})
    assert tally["gaps"] == gaps
    for segment in segments:
        assert np.abs([times[index] for index in _indices(segment)] - np.asarray(segment.times)).max() <= 110_000


def test_last_resampled_frame_is_not_stretched():
    (segment,), _ = _cut(range(0, 40 * 40_000, 40_000), rate=25.0, fps=12.5, frames={"min": 1, "max": 100})
    assert segment.times == list(range(0, 1_560_000, 80_000))


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


def _even_clips(segments):
    """Checks the clip contract's spacing, and returns rate and length of each segment."""
    for segment in segments:
        spacings = np.diff(segment.times)
        assert np.all(np.abs(spacings - 1e6 / segment.rate) <= 0.01 * 1e6 / segment.rate + 1)
    return [(round(segment.rate, 6), len(segment.frames)) for segment in segments]


@pytest.mark.parametrize("period", [1, 20, 40_000, 33_333, 300_000_000, 86_400_000_000])
def test_pause_cuts_and_loses_nothing(period):
    times = [*range(0, 40 * period, period), *range(75 * period, 115 * period, period)]
    segments, tally = _cut(times, frames={"min": 1, "max": 1000})
    assert [len(segment.frames) for segment in segments] == [40, 40]
    assert np.allclose([segment.rate for segment in segments], 1e6 / period, rtol=1e-6)
    assert [time for segment in segments for time in segment.times] == times
    assert tally["gaps"] == 1
    assert not tally[frame_times.EVENED]


@pytest.mark.parametrize(
    ("delays", "rate"),
    [
        ([10, *[7, 7, 6] * 13], 15),  # The first frame is longer.
        ([7, 7, 6] * 13, 15),
        ([3, 3, 4] * 20, 30),
        ([3, 3, 3, 3, 4, 3, 3, 3, 4] * 8, 1e2 / (29 / 9)),
        ([8, 9, 8, 8] * 20, 12),
        ([4] * 30, 25),
        ([2] * 30, 50),
    ],
)
def test_gif_delays_are_one_rate(delays, rate):
    times = np.cumsum([0, *delays]) * 10_000
    segments, tally = _cut(times.tolist(), resolution=1e4, rate=round(rate), frames={"min": 1, "max": 24})
    found = _even_clips(segments)
    assert sum(count for _, count in found) == len(times) == tally["frames"]
    assert tally["gaps"] == 0
    assert all(abs(clip_rate - rate) < 0.02 * rate for clip_rate, _ in found)
    even = np.concatenate([segment.times for segment in segments])
    assert np.abs(even - times).max() <= 0.5 * 1e6 / rate + 10_000


@pytest.mark.parametrize("fps", [None, 30.0])
@pytest.mark.parametrize("jitter", [0.001, 0.003, 0.01])
@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_jitter_keeps_every_frame_once(fps, jitter, seed):
    signs = (-1.0) ** np.arange(200) if seed is None else np.random.default_rng(seed).uniform(-1, 1, 200)
    times = np.round((np.arange(200) / 30 + (jitter * signs if seed is None else jitter / 2 * signs)) * 1e6).astype(int)
    segments, tally = _cut(times.tolist(), rate=30.0, fps=fps, frames={"min": 1, "max": 24})
    assert [index for segment in segments for index in _indices(segment)] == list(range(200))
    assert tally["gaps"] == 0
    assert {rate for rate, _ in _even_clips(segments)} == {30.0}
    even = np.concatenate([segment.times for segment in segments])
    assert np.abs(even - times).max() <= 0.5 * 1e6 / 30
    assert tally[frame_times.EVENED] > 10


@pytest.mark.parametrize("fps", [None, 30.0])
def test_drift_against_nominal_rate_loses_nothing(fps):
    times = np.round(np.arange(5000) * 1001 / 30).astype(int) * 1000  # 29.97 in milliseconds.
    segments, tally = _cut(times.tolist(), rate=30.0, resolution=1000, fps=fps, frames={"min": 1, "max": 24})
    assert sum(count for _, count in _even_clips(segments)) == 5000
    assert tally["gaps"] == 0
    assert max(abs(segment.times[0] - times[segment.index]) for segment in segments) <= 0.5 * 1e6 / 30


@pytest.mark.parametrize(("first", "second"), [(30, 5), (5, 30), (30, 24), (25, 50), (30, 20), (60, 59)])
def test_rate_change_makes_two_runs(first, second):
    times = [*(index / first for index in range(60)), *(60 / first + index / second for index in range(70))]
    segments, tally = _cut([round(time * 1e6) for time in times], frames={"min": 1, "max": 1000})
    (one, early), (two, late) = _even_clips(segments)
    assert (one, two) == (first, second)
    assert early + late == 130
    assert tally["gaps"] == 1
    even = np.concatenate([segment.times for segment in segments])
    assert np.abs(even - np.asarray(times) * 1e6).max() <= 0.5 * 1e6 / min(first, second)


def test_lost_frame_is_gap_despite_jitter():
    rng = np.random.default_rng(0)
    kept = [index for index in range(150) if index not in (30, 31, 80)]
    times = [round(index * 40_000 + rng.uniform(-3000, 3000)) for index in kept]
    for fps in (None, 25.0):
        segments, tally = _cut(times, rate=25.0, fps=fps, frames={"min": 1, "max": 1000})
        assert _even_clips(segments) == [(25.0, 30), (25.0, 48), (25.0, 69)]
        assert tally["gaps"] == 2


def test_parts_slower_than_fps_are_counted():
    times = [*range(0, 2_000_000, 40_000), *range(2_000_000, 8_000_000, 200_000), *range(8_000_000, 9_000_000, 40_000)]
    segments, tally = _cut(times, rate=25.0, fps=12.5, frames={"min": 1, "max": 1000})
    assert [round(rate, 3) for rate, _ in _even_clips(segments)] == [12.5] * len(segments)
    used = [index for segment in segments for index in _indices(segment)]
    assert len(set(used)) == len(used)
    assert len(used) + tally[frame_times.NOT_WANTED] + tally[frame_times.TOO_SLOW] == tally["frames"] == len(times)
    assert 25 <= tally[frame_times.TOO_SLOW] <= 30


@pytest.mark.parametrize("seed", range(60))
def test_random_times_lose_no_frame_uncounted(seed):
    rng = np.random.default_rng(seed)
    spacings = [20_000] * 30  # Fast enough for every --fps.
    for _ in range(rng.integers(1, 6)):
        period, jitter = rng.uniform(5_000, 300_000), rng.choice([0, 0.05, 0.2, 0.4])
        even = np.arange(rng.integers(2, 80)) * period + rng.uniform(-0.5, 0.5, 1) * jitter * period
        spacings += [*np.diff(even + rng.uniform(-0.5, 0.5, len(even)) * jitter * period), rng.uniform(2, 9) * period]
    times = np.cumsum([0, *np.maximum(np.round(spacings), 1)]).astype(int)
    fps = rng.choice([None, 5.0, 20.0])
    most = int(rng.integers(2, 30))
    stride = rng.choice([None, most // 2 + 1])
    resolution = float(rng.choice([0, 1000]))
    segments, tally = _cut(
        times.tolist(), fps=fps, resolution=resolution, frames={"min": 2, "max": most}, stride=stride
    )
    _even_clips(segments)
    used = {index for segment in segments for index in _indices(segment)}
    lost = tally["frames of no clip"] + tally[frame_times.NOT_WANTED] + tally[frame_times.TOO_SLOW]
    assert tally["frames"] == len(times)
    # A resampled frame can be in a clip and, repeated, in none.
    assert len(used) + lost - tally[frame_times.REPEATED] <= len(times) <= len(used) + lost
    if fps is None:
        assert len(used) + lost == len(times)
    for segment in segments:
        shown = np.asarray([times[index] for index in _indices(segment)])
        assert np.abs(shown - segment.times).max() <= 0.75e6 / segment.rate + 1000


def test_irregular_times_are_resampled():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.integers(20_000, 90_000, 400))
    (segment,), _ = _cut(times.tolist(), fps=10.0, frames={"min": 1, "max": 1000})
    nearest = np.abs(times[None] - np.asarray(segment.times)[:, None]).argmin(1)
    assert _indices(segment) == nearest.tolist()
    assert np.all(np.diff(segment.times) == 100_000)


def test_frames_before_damaged_frame_make_clips():
    def frames():
        yield from _frames(range(0, 30_000, 1000))
        raise BadSource("frame 30", "damaged")

    found = []
    spec = CutSpec(frames={"min": 1, "max": 10})
    segments = cut(Recording("recording", frames()), fps=None, spec=spec, tally=collections.Counter())
    with pytest.raises(BadSource, match="frame 30: damaged"):
        found += (index for segment in segments for index in _indices(segment))
    assert found == list(range(30))


def test_large_frames_limit_reading_ahead(monkeypatch):
    monkeypatch.setattr(frame_times, "_AHEAD_BYTES", 10)
    read = []

    def frames():
        for frame in _frames(range(0, 200_000, 1000)):
            read.append(frame)
            yield frame

    segments = cut(Recording("recording", frames()), fps=None, spec=CutSpec(), tally=collections.Counter())
    next(segments)
    assert len(read) <= 26
