"""Tests frames, times and encoding of every kind of source against its library, and the errors for bad files."""

import fractions

import av
import h5py
import numpy as np
import pytest
import tensorflow as tf
import xarray
from PIL import Image

from framecast.clips import image_codec
from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.records import write_records

_RNG = np.random.default_rng(0)
_GRAY = _RNG.integers(0, 256, (12, 10, 14), np.uint8)


def _read(*paths, **read):
    """Returns `{name: (recording, frames)}`."""
    found = find_sources([str(path) for path in paths], ConvertSpec.model_validate({"read": read}))
    return {
        recording.name: (recording, list(recording.frames))
        for source in found.sources
        for recording in source.recordings()
    }


def _only(*paths, **read):
    ((recording, frames),) = _read(*paths, **read).values()
    return recording, frames, np.stack([frame.values for frame in frames])


def _write_video(path, frames, codec="ffv1", layout="gray", rate=25, **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = layout
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format={3: "rgb24"}.get(pixels.ndim, layout))
            frame.pts, frame.time_base = index, fractions.Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(("suffix", "layout"), [("mkv", "gray"), ("avi", "gray"), ("mkv", "gray16le")])
def test_lossless_video_is_exact(tmp_path, suffix, layout):
    frames = _GRAY if layout == "gray" else _GRAY.astype(np.uint16) * 257 + 3
    _write_video(tmp_path / f"a.{suffix}", frames, layout=layout)
    recording, _, values = _only(tmp_path / f"a.{suffix}")
    assert np.array_equal(values[..., 0], frames)
    assert recording.name == f"a.{suffix}"


def test_video_count_rate_and_times_match_pyav(tmp_path):
    path = tmp_path / "a.mp4"
    _write_video(path, np.repeat(_GRAY[:, :, :, None], 3, -1), codec="mpeg4", layout="yuv420p", rate=30)
    recording, frames, values = _only(tmp_path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        expected = list(container.decode(stream))
        assert len(frames) == len(expected) == stream.frames == 12
        assert recording.rate == float(stream.average_rate) == 30
        assert [frame.time for frame in frames] == [round(frame.pts * stream.time_base * 10**6) for frame in expected]
        assert np.array_equal(values[5], expected[5].to_ndarray(format="rgb24"))


def test_gif_is_read_as_video(tmp_path):
    pages = [Image.fromarray(frame) for frame in _GRAY]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=40)
    _, frames, values = _only(tmp_path)
    assert [frame.time for frame in frames] == [40_000 * index for index in range(12)]
    assert np.array_equal(values[..., 1], _GRAY)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_truncated_video_is_named(tmp_path, suffix, share):
    path = tmp_path / f"cut.{suffix}"
    frames = np.repeat(_RNG.integers(0, 256, (60, 64, 64, 1), np.uint8), 3, -1)
    _write_video(path, frames, codec="mpeg4", layout="yuv420p")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(BadSource, match=rf"cut\.{suffix}"):
        _read(path)


def test_non_video_file_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(BadSource, match=r"a\.mp4: cannot open the video"):
        _read(tmp_path)


def _write_folder(folder, frames, name="frame{}.png"):
    folder.mkdir(parents=True)
    for index, pixels in enumerate(frames):
        (folder / name.format(index)).write_bytes(
            image_codec.encode_png(pixels[..., None] if pixels.ndim == 2 else pixels)
        )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_in_natural_order_and_lossless(tmp_path, dtype, channels):
    frames = _RNG.integers(0, np.iinfo(dtype).max + 1, (12, 8, 9, channels)).astype(dtype)
    _write_folder(tmp_path / "root" / "storm", frames)
    recording, _, values = _only(tmp_path / "root")
    assert recording.name == "storm"
    assert values.dtype == dtype
    assert np.array_equal(values, frames)


def test_image_folders_are_recordings_other_files_ignored(tmp_path):
    for name in ("a/x", "a/y", "b"):
        _write_folder(tmp_path / name, _GRAY[:3])
    (tmp_path / "a" / "notes.txt").write_text("?")
    found = find_sources([str(tmp_path)], ConvertSpec())
    assert [source.name for source in found.sources] == ["a/x", "a/y", "b"]
    assert found.ignored == [str(tmp_path / "a" / "notes.txt")]


def test_tiff_pages_pgm_and_palette_images(tmp_path):
    pages = [Image.fromarray(frame.astype(np.uint16) * 200) for frame in _GRAY]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    _, frames, values = _only(tmp_path / "stack.tif")
    assert np.array_equal(values[..., 0], _GRAY.astype(np.uint16) * 200)
    assert frames[4].place.endswith("stack.tif, page 4")
    Image.fromarray(_GRAY[0]).save(tmp_path / "b.pgm")
    assert np.array_equal(_only(tmp_path / "b.pgm")[2][0, ..., 0], _GRAY[0])
    colours = Image.fromarray(_RNG.integers(0, 256, (5, 6, 3), np.uint8)).quantize(8)
    colours.save(tmp_path / "c.png")
    assert np.array_equal(_only(tmp_path / "c.png")[2][0], np.asarray(colours.convert("RGB")))


def test_times_are_read_from_file_names(tmp_path):
    _write_folder(tmp_path / "RAD25", _GRAY[:4], "RAD_5min_20100826000{}_v2.png")
    recording, frames, _ = _only(tmp_path / "RAD25", time_format="%Y%m%d%H%M")
    start = int(np.datetime64("2010-08-26T00:00", "us").astype(int))
    assert [frame.time for frame in frames] == [start + 60_000_000 * index for index in range(4)]
    assert recording.rate == pytest.approx(1 / 60)
    _write_folder(tmp_path / "plain", _GRAY[:1], "0.png")
    with pytest.raises(BadSource, match=r"0\.png: expected one time of format %Y in the file name, received none"):
        _read(tmp_path / "plain", time_format="%Y")
    with pytest.raises(ValueError, match=r"time format %B: expected .* received %B"):
        _read(tmp_path / "RAD25", time_format="%B")


def test_broken_image_is_named(tmp_path):
    _write_folder(tmp_path / "storm", _GRAY)
    path = tmp_path / "storm" / "frame3.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadSource, match=r"storm/frame3\.png: cannot read the image: expected an IEND chunk"):
        _read(tmp_path / "storm")


_ARRAYS = {
    "THW": (12, 10, 14),
    "THWC": (12, 10, 14, 3),
    "NTHW": (5, 12, 10, 14),
    "NTHWC": (5, 12, 10, 14, 2),
}


@pytest.mark.parametrize("axes", [*_ARRAYS, "TNHW", "CTHW"])
@pytest.mark.parametrize("npz", [False, True])
def test_array_axes_are_detected_or_given(tmp_path, axes, npz):
    values = _RNG.integers(0, 256, _ARRAYS.get(axes, (4, 6, 10, 14))).astype(np.uint8)
    if npz:
        np.savez_compressed(tmp_path / "a.npz", other=np.zeros(3), clips=values)
    else:
        np.save(tmp_path / "a.npy", values)
    read = _read(tmp_path, variable="clips" if npz else None, axes=None if axes in _ARRAYS else axes)
    expected = np.einsum(f"{axes}->{''.join(letter for letter in 'NTHWC' if letter in axes)}", values)
    expected = expected if "N" in axes else expected[None]
    expected = expected if "C" in axes else expected[..., None]
    assert len(read) == len(expected)
    for (_, frames), wanted in zip(read.values(), expected, strict=True):
        assert np.array_equal([frame.values for frame in frames], wanted)


def test_moving_mnist_file_is_divided(tmp_path):
    shape = (20, 10_000, 64, 64)
    values = np.lib.format.open_memmap(tmp_path / "mnist_test_seq.npy", "w+", np.uint8, shape)
    values[:, 9_999] = 7
    found = find_sources([str(tmp_path)], ConvertSpec())
    *_, last = list(found.sources[-1].recordings())
    frames = list(last.frames)
    assert len(frames) == 20
    assert all((frame.values == 7).all() for frame in frames)
    assert len(found.sources) > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"?"), r"a\.npy: expected a NumPy array, received"),
        (
            lambda path: np.save(path, np.zeros((2, 2))),
            r"expected an array with the axes .* received the shape \(2, 2\)",
        ),
        (lambda path: np.save(path, np.zeros((0, 4, 4))), r"expected frames, received the shape \(0, 4, 4\)"),
        (lambda path: np.save(path, np.array([None])), r"expected a"),
    ],
)
def test_array_without_frames_is_named(tmp_path, make, message):
    make(tmp_path / "a.npy")
    with pytest.raises(BadSource, match=message):
        _read(tmp_path)


def test_npz_with_several_arrays_needs_variable(tmp_path):
    np.savez(tmp_path / "a.npz", one=_GRAY, two=_GRAY)
    with pytest.raises(BadSource, match=r"expected one array, received one, two; set --variable"):
        _read(tmp_path)


def test_hdf5_file_per_time_step(tmp_path):
    for index, frame in enumerate(_GRAY):
        with h5py.File(tmp_path / f"R_2010082600{5 * index:02d}.h5", "w") as file:
            dataset = file.create_dataset("image1/image_data", data=frame.astype(np.uint16) * 3)
            dataset.attrs.update(scale_factor=0.01, add_offset=1.0, units="mm", _FillValue=np.uint16(65535))
    recording, frames, values = _only(tmp_path, variable="image1/image_data", time_format="%Y%m%d%H%M")
    assert np.array_equal(values[..., 0], _GRAY.astype(np.uint16) * 3)
    assert recording.encoding.__dict__ == {"scale": 0.01, "offset": 1.0, "unit": "mm", "fill": (65535.0,)}
    assert np.diff([frame.time for frame in frames]).tolist() == [300_000_000] * 11
    with pytest.raises(BadSource, match=r"variable nothing is missing; the file has image1/image_data"):
        _read(tmp_path, variable="nothing")
    with pytest.raises(BadSource, match=r"set --variable to the path of a dataset, such as image1/image_data"):
        _read(tmp_path)


def _dataset():
    times = np.datetime64("2020-01-01T00:00", "ns") + np.arange(12) * np.timedelta64(10, "m")
    data = xarray.Dataset({"rain": (("time", "y", "x"), _GRAY.astype(np.int16))}, coords={"time": times})
    data.rain.attrs.update(units="mm/h", scale_factor=0.5, add_offset=-1.0, _FillValue=np.int16(-99))
    return data


@pytest.mark.parametrize("kind", ["nc", "zarr", "nc in a group"])
def test_time_axis_in_netcdf_and_zarr(tmp_path, kind):
    variable = None
    if kind == "zarr":
        _dataset().to_zarr(tmp_path / "a.zarr")
    elif kind == "nc":
        _dataset().to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    else:
        _dataset().to_netcdf(tmp_path / "a.nc", engine="netcdf4", group="radar/low")
        variable = "radar/low/rain"
    recording, frames, values = _only(tmp_path, variable=variable)
    assert np.array_equal(values[..., 0], _GRAY)
    assert np.diff([frame.time for frame in frames]).tolist() == [600_000_000] * 11
    assert frames[0].time == int(np.datetime64("2020-01-01", "us").astype(int))
    assert recording.encoding.__dict__ == {"scale": 0.5, "offset": -1.0, "unit": "mm/h", "fill": (-99.0,)}


def test_netcdf_file_per_step_uses_stored_times(tmp_path):
    data = _dataset()
    for index in range(4):
        data.isel(time=index).to_netcdf(tmp_path / f"{index}.nc", engine="netcdf4")
    _, frames, values = _only(tmp_path)
    assert np.array_equal(values[..., 0], _GRAY[:4])
    assert np.diff([frame.time for frame in frames]).tolist() == [600_000_000] * 3


def test_broken_grid_file_is_named(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"?")
    with pytest.raises(BadSource, match=r"a\.h5: expected an HDF5 file"):
        _read(tmp_path, variable="x")
    (tmp_path / "a.h5").rename(tmp_path / "a.nc")
    with pytest.raises(BadSource, match=r"a\.nc: expected a NetCDF-4 file or a Zarr store"):
        _read(tmp_path, variable="x")


def _example(frames, **extra):
    def of(value):
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    feature = {"video": [image_codec.encode_png(frame[..., None]) for frame in frames], **extra}
    return tf.train.Example(
        features=tf.train.Features(feature={name: of(value) for name, value in feature.items()})
    ).SerializeToString()


def test_tensorflow_datasets_examples_are_read(tmp_path):
    write_records(
        tmp_path / "v.tfrecord-00000-of-00001", [_example(_GRAY, label=3), _example(_GRAY[::-1], label=b"up")]
    )
    (first, frames), (second, _) = _read(tmp_path).values()
    assert np.array_equal([frame.values[..., 0] for frame in frames], _GRAY)
    assert (first.label_index, second.label) == (3, "up")
    assert first.name == "v.tfrecord-00000-of-00001/000000"


def test_bad_example_names_record_and_frame(tmp_path):
    path = tmp_path / "v.tfrecord"
    write_records(path, [_example(_GRAY), _example(_GRAY, other=[b"a", b"b"])])
    with pytest.raises(
        BadSource, match=r"record 1: expected one list of encoded frames .* received lists in other, vid"
    ):
        _read(path)
    write_records(path, [_example(_GRAY, video=[b"a", b"b"])])
    with pytest.raises(BadSource, match=r"record 0, frame 0: expected a PNG or JPEG image"):
        _read(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BadSource, match=r"v\.tfrecord: record 0"):
        _read(path)


def _write_idx(path, count=100):
    path.write_bytes(b"\x00\x00\x08\x03" + np.array([count, 28, 28], ">u4").tobytes() + _RNG.bytes(count * 784))


def test_digit_clips_are_reproducible_and_grouped(tmp_path):
    _write_idx(tmp_path / "train-images-idx3-ubyte")
    read = _read(tmp_path, digits={"clips": 600, "canvas": 40})
    assert len(read) == 600
    lengths = {len(frames) for _, frames in read.values()}
    assert lengths == set(range(8, 25))
    assert len({recording.media_id for recording, _ in read.values()}) == 50
    again = _read(tmp_path, digits={"clips": 600, "canvas": 40})
    assert all(
        np.array_equal(a.values, b.values) for a, b in zip(list(read.values())[7][1], list(again.values())[7][1])
    )
    assert next(iter(read.values()))[1][0].values.shape == (40, 40, 1)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03")
    with pytest.raises(BadSource, match="expected an idx file of images"):
        _read(tmp_path)


def test_mixed_kinds_need_kind_option(tmp_path):
    np.save(tmp_path / "a.npy", _GRAY)
    _write_folder(tmp_path / "storm", _GRAY)
    with pytest.raises(ValueError, match=r"expected sources of one kind, received arrays and images; set --kind"):
        _read(tmp_path)
    assert list(_read(tmp_path, kind="arrays")) == ["a.npy"]
    with pytest.raises(FileNotFoundError, match="nowhere: expected files, received none"):
        _read(tmp_path / "nowhere")


def test_duplicate_source_names_are_rejected(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", _GRAY)
    with pytest.raises(ValueError, match=r"a\.npy: expected unique source names, but 2 sources have this name"):
        _read(tmp_path / "x", tmp_path / "y")
    assert list(_read(tmp_path)) == ["x/a.npy", "y/a.npy"]
