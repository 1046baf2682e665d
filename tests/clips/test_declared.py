"""What clips declare about themselves is compared with the contract and among the clips of a run."""

import numpy as np
import pytest

from framecast.clips.codec import BadClip, encode_clip
from framecast.clips.declared import check_mixture, declared_by, first_clips, frame_interval, not_compared
from framecast.clips.records import write_records
from framecast.clips.validation import check_clip, read_frames
from framecast.schemas.clip_spec import ANY_LENGTH, ClipSpec, PixelValue

_DBZ = PixelValue(unit="dBZ", scale=0.5, offset=-10)
_RAIN = PixelValue(unit="mm/h", scale=0.5, offset=-10)


def _clip(seconds=300, frames=4, name="a", **given):
    times = [round(seconds * 1e6 * number) for number in range(frames)]
    pixels = np.zeros((frames, 8, 8, 1), np.uint8)
    return encode_clip(pixels, example_id=name, media_id="m", frame_rate=1 / seconds, timestamps=times, **given)


def _spec(**given):
    return ClipSpec(frames=ANY_LENGTH, **given)


def test_interval_comes_from_timestamps_then_rate():
    clip, single = _clip(), _clip(frames=1)
    del clip.context.feature["image/frame_rate"]
    assert frame_interval(clip) == 300
    assert frame_interval(single) == pytest.approx(300)
    del single.context.feature["image/frame_rate"]
    assert frame_interval(single) is None
    check_clip(single.SerializeToString(), _spec(intervals=[300]))


@pytest.mark.parametrize("read", [check_clip, read_frames])
def test_other_interval_says_both_and_what_helps(read):
    read(_clip(302).SerializeToString(), _spec(intervals=[60, 300]))
    with pytest.raises(BadClip) as caught:
        read(_clip(600, name="storm").SerializeToString(), _spec(intervals=[300]))
    assert caught.value.reason == "frame-interval"
    assert str(caught.value) == (
        "clip storm: image/timestamp: expected 300 s between frames, received 600 s (configuration or model); convert "
        "the source again with --fps 0.00333333, or train a model of such clips"
    )


def test_missing_frame_rate_is_derived_from_timestamps():
    clip = _clip(60)
    del clip.context.feature["image/frame_rate"]
    checked = check_clip(clip.SerializeToString(), _spec())
    np.testing.assert_allclose(checked.context.feature["image/frame_rate"].float_list.value, [1 / 60], rtol=1e-6)


def test_facts_that_a_model_lacks_are_listed():
    clip = _clip(value=_DBZ)
    assert not_compared(clip, _spec()) == ["interval between frames 300 s", "pixel value 0.5 * pixel -10 dBZ"]
    assert not_compared(clip, _spec(intervals=[300], value=_DBZ)) == []
    assert not_compared(_clip(), _spec(intervals=[300])) == []


def test_mixed_intervals_and_values_are_refused():
    fives, tens = declared_by(_clip(), "a, record 0"), declared_by(_clip(600, name="b"), "b, record 7")
    expected = r"received 300 s \(a, record 0: clip a\); 600 s \(b, record 7: clip b\)\..*clip.intervals=\[300, 600\]"
    with pytest.raises(ValueError, match=expected):
        check_mixture([fives, declared_by(_clip(303), "c"), tens], _spec())
    assert check_mixture([fives, tens], _spec(intervals=[300, 600])) == []
    echo, rain = declared_by(_clip(value=_DBZ), "a"), declared_by(_clip(value=_RAIN), "b")
    with pytest.raises(ValueError, match=r"received 0.5 \* pixel -10 dBZ \(a: clip a\); 0.5 \* pixel -10 mm/h"):
        check_mixture([echo, rain], _spec())
    (warning,) = check_mixture([fives, echo], _spec())
    assert warning.startswith("clip.value is not set, but clips declare 0.5 * pixel -10 dBZ")
    assert check_mixture([fives, echo], _spec(value=_DBZ)) == []


def test_first_clips_skip_unreadable_files(tmp_path):
    write_records(tmp_path / "good", [_clip(name=name).SerializeToString() for name in "ab"])
    write_records(tmp_path / "foreign", [b"\xff\xff"])
    (tmp_path / "damaged").write_bytes(b"0" * 40)
    paths = [str(tmp_path / name) for name in ("damaged", "foreign", "gone", "good")]
    ((place, clip),) = first_clips(paths)
    assert (place, clip) == (f"{tmp_path}/good, record 0", _clip(name="a"))
