"""Tests files as cameras, microscopes and other tools write them, end to end against outside readers."""

import gzip
import io
from fractions import Fraction

import av
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tifffile
import xarray
from PIL import Image

from tests.clips.convert.converting import converted_clips

_RNG = np.random.default_rng(0)
_ANY = {"frames": {"min": 1, "max": 100}}


def _write_video(path, times, ticks=12800, rate=25, bframes=0, gop=10):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        context = stream.codec_context
        context.time_base, context.gop_size, context.max_b_frames = Fraction(1, ticks), gop, bframes
        for index, time in enumerate(times):
            pixels = np.zeros((48, 64, 3), np.uint8)
            pixels[:, :32] = index * 3, 60, 200
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time * ticks), Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_pages(path, delays, **options):
    pages = [Image.fromarray(np.full((32, 40, 3), index * 6, np.uint8)) for index in range(len(delays))]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=delays, loop=0, **options)


def _write_trimmed(path):
    """Copies packets from 0.6 s on, as `ffmpeg -ss 0.6 -c copy` does."""
    whole = path.with_name("whole.mp4")
    _write_video(whole, np.arange(60) / 25, gop=30)
    with av.open(str(whole)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        target = new.add_stream_from_template(stream)
        cut = round(0.6 / stream.time_base)
        for packet in old.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - cut, packet.dts - cut, target
                new.mux(packet)


def _decoded(path):
    """Returns pixels and microseconds as PyAV decodes them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        return pixels, np.array([round(frame.pts * stream.time_base * 10**6) for frame in frames])


_PAUSE = [*np.arange(40) / 25, *(3 + np.arange(40) / 25)]
_JITTER = [index / 30 + (-1) ** index * 0.003 for index in range(60)]
_SLOWER = [*np.arange(60) / 30, *(2 + np.arange(50) / 5)]


@pytest.mark.parametrize(
    ("name", "write", "fps", "runs"),
    [
        ("pause.mp4", lambda path: _write_video(path, _PAUSE), None, [(40, 25), (40, 25)]),
        ("a.gif", lambda path: _write_pages(path, [100, *[70, 70, 60] * 13, 70]), None, [(41, 15)]),
        ("last.gif", lambda path: _write_pages(path, [100] * 19 + [2000]), None, [(20, 10)]),
        ("zero.gif", lambda path: _write_pages(path, [0] * 20), None, [(20, 10)]),
        ("jitter.mp4", lambda path: _write_video(path, _JITTER, rate=30), 30, [(60, 30)]),
        ("a.mkv", lambda path: _write_video(path, _SLOWER, 1000, 30), None, [(61, 30), (49, 5)]),
        ("trim.mp4", _write_trimmed, None, [(45, 25)]),
        ("a.avi", lambda path: _write_video(path, np.arange(60) / 25, 25, bframes=2), 25, [(60, 25)]),
    ],
)
def test_video_clips_equal_pyav(tmp_path, name, write, fps, runs):
    write(tmp_path / name)
    manifest, clips = converted_clips(tmp_path / name, tmp_path / "out", read={"fps": fps}, cut=_ANY)
    pixels, times = _decoded(tmp_path / name)
    assert [(len(values), round(1e6 / np.diff(stamps).mean(), 1)) for _, values, stamps in clips] == runs
    assert np.array_equal(np.concatenate([values for _, values, _ in clips]), pixels)
    if "avi" not in name:  # AVI has no times of display.
        found = np.concatenate([stamps for _, _, stamps in clips])
        assert np.abs(found - times).max() <= 0.5e6 / runs[0][1] + 1
    assert manifest["left_out"].get("gaps", 0) == len(runs) - 1


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_nan_is_missing_without_option(tmp_path, suffix):
    values = _RNG.uniform(0, 1, (12, 16, 16)).astype("f4")
    values[:, 0, 0] = values[3, 5] = np.nan
    data = xarray.Dataset(
        {"p": (("time", "y", "x"), values)}, coords={"time": pd.date_range("2020", periods=12, freq="h")}
    )
    path = tmp_path / f"a.{suffix}"
    data.to_zarr(path) if suffix == "zarr" else data.to_netcdf(path, engine="netcdf4")
    manifest, ((_, pixels, _),) = converted_clips(path, tmp_path / "out", value={"low": 0, "high": 1})
    clip = manifest["clip"]
    known = ~np.isnan(values)
    assert np.array_equal(pixels[..., 0] != clip["missing"], known)
    physical = pixels[..., 0] * clip["value"]["scale"] + clip["value"]["offset"]
    assert np.abs(physical - values)[known].max() <= 1 / 255


def _write_tiff(path, pixels, **options):
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, pixels, **{"metadata": None, "photometric": "minisblack", **options})


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((12, 32, 32, 3), {"photometric": "rgb"}),
        ((12, 2, 32, 32), {"imagej": True, "metadata": {"axes": "TCYX"}}),
        ((12, 2, 32, 32), {"ome": True, "metadata": {"axes": "TCYX"}}),
        ((12, 1, 2, 32, 32), {"imagej": True, "metadata": {"axes": "TZCYX"}}),
    ],
)
def test_deep_tiff_clip_equals_array(tmp_path, shape, options):
    values = _RNG.integers(0, 4000, shape).astype(np.uint16)
    _write_tiff(tmp_path / "in" / "a.tif", values, **options)
    _, ((_, pixels, times),) = converted_clips(tmp_path / "in", tmp_path / "out", read={"fps": 10})
    expected = values if shape[-1] == 3 else np.moveaxis(values.reshape(12, 2, 32, 32), 1, -1)
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, expected)
    assert set(np.diff(times)) == {100_000}


@pytest.mark.parametrize("kind", ["stacks", "jpeg", "gif"])
def test_two_recordings_of_folder_stay_apart(tmp_path, kind):
    (tmp_path / "in").mkdir()
    expected = {}
    for name in ("cell1", "cell2"):
        frames = _RNG.integers(0, 256, (12, 32, 32)).astype(np.uint8)
        pages = [Image.fromarray(frame) for frame in frames]
        if kind == "stacks":
            _write_tiff(tmp_path / "in" / f"{name}.tif", frames)
            expected[f"{name}.tif"] = frames
        elif kind == "gif":
            path = tmp_path / "in" / f"{name}.gif"
            pages[0].save(path, save_all=True, append_images=pages[1:], duration=100)
            expected[f"{name}.gif"] = frames
        else:
            for index, page in enumerate(pages):
                page.save(tmp_path / "in" / f"{name}_{index:03}.jpg")
            files = sorted((tmp_path / "in").glob(f"{name}*"))
            expected[f"in/{name}"] = np.stack([np.asarray(Image.open(path)) for path in files])
    _, clips = converted_clips(tmp_path / "in", tmp_path / "out", read={"fps": 10})
    assert [name for name, _, _ in clips] == list(expected)
    for (_, pixels, _), frames in zip(clips, expected.values(), strict=True):
        assert np.array_equal(pixels[..., 0], frames)


@pytest.mark.parametrize("kind", ["png", "tif", "npy"])
def test_mask_has_white_255_in_any_format(tmp_path, kind):
    masks = np.stack([np.eye(32, k=index, dtype=bool) for index in range(9)])
    (tmp_path / "in").mkdir()
    for index, mask in enumerate(masks):
        if kind != "npy":
            Image.fromarray(mask).save(tmp_path / "in" / f"m{index}.{kind}", bits=1)
    if kind == "npy":
        np.save(tmp_path / "in" / "m.npy", masks)
    _, ((_, pixels, _),) = converted_clips(tmp_path / "in", tmp_path / "out", read={"fps": 10})
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[..., 0], masks * 255)


def test_camera_jpegs_make_upright_clip(tmp_path):
    (tmp_path / "in").mkdir()
    exif, expected = Image.Exif(), []
    exif[0x112] = 6
    for index in range(9):
        pixels = np.zeros((32, 64, 3), np.uint8) + np.arange(64, dtype=np.uint8)[:, None] * 3 + np.uint8(index)
        path = tmp_path / "in" / f"p{index}.jpg"
        Image.fromarray(pixels).save(path, exif=exif)
        expected.append(np.rot90(np.asarray(Image.open(path)), -1))
    _, ((_, pixels, _),) = converted_clips(tmp_path / "in", tmp_path / "out", read={"fps": 10})
    assert pixels.shape == (9, 64, 32, 3)
    assert np.array_equal(pixels, expected)


def test_hidden_copies_of_images_are_no_frames(tmp_path):
    (tmp_path / "in").mkdir()
    frames = _RNG.integers(0, 256, (12, 32, 32)).astype(np.uint8)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "in" / f"f{index}.png")
        (tmp_path / "in" / f"._f{index}.png").write_bytes(b"\0\5\26\7" + bytes(100))
    _, ((_, pixels, _),) = converted_clips(tmp_path / "in", tmp_path / "out", read={"fps": 10})
    assert np.array_equal(pixels[..., 0], frames)


@pytest.mark.parametrize("largest", [1023, 4095, 16383])
def test_graymap_clip_has_stored_values(tmp_path, largest):
    (tmp_path / "in").mkdir()
    values = _RNG.integers(0, largest + 1, (9, 32, 32)).astype(">u2")
    for index, frame in enumerate(values):
        (tmp_path / "in" / f"p{index}.pgm").write_bytes(b"P5\n32 32\n%d\n" % largest + frame.tobytes())
    _, ((_, pixels, _),) = converted_clips(tmp_path / "in", tmp_path / "out", read={"fps": 10})
    assert np.array_equal(pixels[..., 0], values)


def test_gzipped_graymaps_have_times_of_names(tmp_path):
    (tmp_path / "in").mkdir()
    values = _RNG.integers(0, 256, (9, 32, 32)).astype(np.uint8)
    for index, frame in enumerate(values):
        path = tmp_path / "in" / f"r_2024010100{5 * index:02d}.pgm.gz"
        path.write_bytes(gzip.compress(b"P5\n32 32\n255\n" + frame.tobytes()))
    read = {"time_format": "%Y%m%d%H%M"}
    _, ((_, pixels, times),) = converted_clips(tmp_path / "in", tmp_path / "out", read=read)
    assert np.array_equal(pixels[..., 0], values)
    expected = pd.date_range("2024", periods=9, freq="5min").values.astype("datetime64[us]").astype(int)
    assert times == expected.tolist()


def test_one_bad_frame_keeps_values_around(tmp_path):
    (tmp_path / "in").mkdir()
    values = _RNG.integers(0, 256, (40, 32, 32)).astype(np.uint8)
    for index, frame in enumerate(values):
        Image.fromarray(frame).save(tmp_path / "in" / f"f{index:03d}.png")
    bad = tmp_path / "in" / "f020.png"
    bad.write_bytes(bad.read_bytes()[:40])
    manifest, clips = converted_clips(tmp_path / "in", tmp_path / "out", skip_bad=True, read={"fps": 10}, cut=_ANY)
    (before, after) = (pixels[..., 0] for _, pixels, _ in clips)
    assert np.array_equal(before, values[:20])
    assert np.array_equal(after, values[21:])
    assert clips[1][2][0] - clips[0][2][-1] == 200_000
    assert manifest["bad"][0].startswith(f"{bad}: cannot read the image")


@pytest.mark.parametrize("disposal", [1, 2])
def test_sprite_moves_on_black(tmp_path, disposal):
    pages = []
    for index in range(12):
        pixels = np.zeros((32, 32, 4), np.uint8)
        pixels[8:16, index : index + 8] = 255
        pages.append(pixels)
    first, *rest = (Image.fromarray(pixels) for pixels in pages)
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=100, disposal=disposal, transparency=0)
    _, ((_, pixels, times),) = converted_clips(tmp_path / "a.gif", tmp_path / "out")
    expected = []
    with Image.open(tmp_path / "a.gif") as image:
        for index in range(image.n_frames):
            image.seek(index)
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            expected.append(np.asarray(Image.alpha_composite(black, image.convert("RGBA")))[..., :3])
    assert np.array_equal(np.broadcast_to(pixels, (12, 32, 32, 3)), expected)
    if disposal == 2:
        assert np.array_equal(pixels[..., 0], np.stack(pages)[..., 0])
    assert set(np.diff(times)) == {100_000}


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.apng"])
def test_animation_clip_equals_its_pages(tmp_path, name):
    options = {"format": "PNG" if "png" in name else "WEBP", "lossless": True}
    _write_pages(tmp_path / name, [100] * 12, **options)
    _, ((_, pixels, times),) = converted_clips(tmp_path / name, tmp_path / "out")
    expected = np.arange(12)[:, None, None, None] * 6 + np.zeros((12, 32, 40, 3))
    assert np.array_equal(pixels, expected)
    assert set(np.diff(times)) == {100_000}


def _bytes_feature(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def test_robot_push_records_are_recordings(tmp_path):
    values = _RNG.integers(0, 256, (2, 12, 64, 64, 3)).astype(np.uint8)
    with tf.io.TFRecordWriter(str(tmp_path / "push.tfrecord")) as writer:
        for frames in values:
            features = {f"{t}/image_aux1/encoded": _bytes_feature(frame.tobytes()) for t, frame in enumerate(frames)}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    read = {"variable": "{}/image_aux1/encoded", "raw_size": (64, 64), "fps": 5}
    _, clips = converted_clips(tmp_path / "push.tfrecord", tmp_path / "out", read=read)
    assert np.array_equal([pixels for _, pixels, _ in clips], values)
    assert all(set(np.diff(times)) == {200_000} for _, _, times in clips)


@pytest.mark.parametrize("compression", ["", "ZLIB", "GZIP"])
def test_sequence_examples_without_timestamps_equal_pillow(tmp_path, compression):
    expected = []
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord"), compression) as writer:
        for offset in (0, 90):
            example = tf.train.SequenceExample()
            for index in range(12):
                buffer = io.BytesIO()
                Image.fromarray(np.full((32, 32, 3), offset + index * 9, np.uint8)).save(buffer, "JPEG")
                frames = example.feature_lists.feature_list["image/encoded"].feature
                frames.add().bytes_list.value.append(buffer.getvalue())
                expected.append(np.asarray(Image.open(buffer)))
            writer.write(example.SerializeToString())
    _, clips = converted_clips(tmp_path / "a.tfrecord", tmp_path / "out", read={"fps": 5})
    assert len(clips) == 2
    assert np.array_equal(np.concatenate([pixels for _, pixels, _ in clips]), expected)
    assert all(set(np.diff(times)) == {200_000} for _, _, times in clips)
