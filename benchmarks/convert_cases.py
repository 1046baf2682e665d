"""Makes the files of `convert.py`, and decodes them with the libraries alone."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

_PART = (600, 700, 256, 256)  # Top, left, height, width of the part of a large field that is read.
_CROP = ("--crop", *map(str, _PART))


@dataclasses.dataclass(frozen=True)
class Case:
    """Files and what is read from them.

    Args:
        make: Writes the files of a size to a folder.
        decode: Yields the pixels `(height, width, channel)` of each frame to encode.
        options: Options of `framecast data convert`.
        sizes: The sizes to measure.
        unit: What the sizes count.
    """

    make: Callable[[pathlib.Path, int], None]
    decode: Callable[[str], Iterator[np.ndarray]]
    options: tuple[str, ...]
    sizes: tuple[int, ...]
    unit: str = "frames"


def _texture(height: int, width: int, scale: int, seed: int = 0) -> np.ndarray:
    """Returns a smooth random field from 0 to 1."""
    from scipy.ndimage import gaussian_filter, zoom

    field = np.random.default_rng(seed).normal(size=(height // scale + 1, width // scale + 1))
    field = zoom(gaussian_filter(field, 2, mode="wrap"), scale, order=1)[:height, :width]
    return (field - field.min()) / np.ptp(field)


def _make_video(folder: pathlib.Path, frames: int) -> None:
    """Encodes a moving scene with some noise by libx264."""
    import av

    folder.mkdir()
    scene = np.stack([_texture(900, 1600, scale, scale) for scale in (4, 8, 16)], -1) * 255
    noise = np.random.default_rng(0).normal(0, 8, (720, 1280, 3))
    with av.open(str(folder / "video.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for index in range(frames):
            # The noise moves too, as textures do.
            top, left = index % 180, 2 * index % 320
            picture = scene[top : top + 720, left : left + 1280] + np.roll(noise, (-top, -left), (0, 1))
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _decode_video(path: str, gray: bool) -> Iterator[np.ndarray]:
    import av

    with av.open(f"{path}/video.mp4") as container:
        for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="gray" if gray else "rgb24")
            yield pixels[..., None] if gray else pixels


def _make_tiff(folder: pathlib.Path, frames: int) -> None:
    import tifffile

    folder.mkdir()
    field = _texture(1024, 1024, 4)
    noise = np.random.default_rng(0).normal(0, 20, (1024, 1024))
    with tifffile.TiffWriter(folder / "stack.tif") as file:
        for index in range(frames):
            page = 1000 + 40000 * np.roll(field, index, 1) + np.roll(noise, 31 * index, 0)
            file.write(np.clip(page, 0, 65535).astype(np.uint16), contiguous=True)


def _decode_tiff(path: str) -> Iterator[np.ndarray]:
    import tifffile

    with tifffile.TiffFile(f"{path}/stack.tif") as file:
        (series,) = file.series
        for index in range(len(series.pages)):
            yield series.pages[index].aspage().asarray()[..., None]


def _make_netcdf(folder: pathlib.Path, steps: int) -> None:
    """Writes a field of 1440x2880 packed as int16: 8.3 MB a step before compression."""
    import netCDF4

    folder.mkdir()
    field = _texture(1440, 2880, 8)
    with netCDF4.Dataset(folder / "field.nc", "w") as file:
        for name, size in (("time", steps), ("lat", 1440), ("lon", 2880)):
            file.createDimension(name, size)
        times = file.createVariable("time", "i4", ("time",))
        times.units = "hours since 2020-01-01"
        times[:] = np.arange(steps)
        options = {"compression": "zlib", "complevel": 1, "chunksizes": (1, 360, 360), "fill_value": -32768}
        variable = file.createVariable("t2m", "i2", ("time", "lat", "lon"), **options)
        variable.set_auto_maskandscale(False)
        variable.setncatts({"units": "K", "scale_factor": 0.01, "add_offset": 273.15})
        for step in range(steps):
            variable[step] = (3000 * np.roll(field, 5 * step, 1)).astype(np.int16)


def _decode_netcdf(path: str) -> Iterator[np.ndarray]:
    import xarray

    top, left, height, width = _PART
    with xarray.open_dataset(f"{path}/field.nc", mask_and_scale=False, decode_times=False) as data:
        part = data["t2m"].isel(lat=slice(top, top + height), lon=slice(left, left + width))
        for step in range(len(part)):
            values = part[step].values
            kelvin = np.where(values == -32768, np.nan, values * 0.01 + 273.15)
            yield np.rint((kelvin - 270) / 35 * 255).astype(np.uint8)[..., None]


def _make_moving_mnist(folder: pathlib.Path, clips: int) -> None:
    """Writes the layout of the published file, `(20, clips, 64, 64)`, with 500 different clips."""
    from framecast.clips.demo import moving_digits

    folder.mkdir()
    digits = moving_digits.source_digits(None)
    rng = np.random.default_rng(0)
    shape = (20, clips, 64, 64)
    array = np.lib.format.open_memmap(folder / "mnist_test_seq.npy", "w+", np.uint8, shape)
    different = min(clips, 500)
    for clip in range(different):
        moving = [(digits[rng.integers(len(digits))], path) for path in moving_digits.digit_paths(rng, 20)]
        for step, frame in enumerate(moving_digits.draw_digits(moving, 20, 64)):
            array[step, clip::different] = frame[..., 0]
    array.flush()


def _decode_moving_mnist(path: str) -> Iterator[np.ndarray]:
    array = np.load(f"{path}/mnist_test_seq.npy", mmap_mode="r")
    for clip in range(array.shape[1]):
        for frame in np.ascontiguousarray(array[:, clip]):
            yield frame[..., None]


def _make_composites(folder: pathlib.Path, count: int) -> None:
    """Writes files in the layout of OPERA's composites: 2200x1900 float64, two values for no data."""
    import h5py

    folder.mkdir()
    field = 90 * _texture(2200, 1900, 8) - 40
    for index in range(count):
        clock = f"{index // 4:02d}{index % 4 * 15:02d}00"
        values = np.round(np.roll(field, 6 * index, 1), 1)
        values = np.where(values < 0, -8888000.0, values)
        values[:100] = -9999000.0
        with h5py.File(folder / f"T_PAAH21_C_EUOC_20260101{clock}.h5", "w") as file:
            file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_2")
            what = {"object": "COMP", "version": "H5rad 2.2", "date": "20260101", "time": clock}
            file.create_group("what").attrs.update({name: np.bytes_(text) for name, text in what.items()})
            data = file.create_group("dataset1/data1")
            scale = {"gain": 1.0, "offset": 0.0, "nodata": -9999000.0, "undetect": -8888000.0}
            data.create_group("what").attrs.update({"quantity": np.bytes_("DBZH"), **scale})
            data.create_dataset("data", data=values, chunks=(138, 119), compression="gzip")


def _decode_composites(path: str) -> Iterator[np.ndarray]:
    import h5py

    top, left, height, width = _PART
    for name in sorted(pathlib.Path(path).iterdir()):
        with h5py.File(name) as file:
            values = file["dataset1/data1/data"][top : top + height, left : left + width]
        known, detected = values != -9999000.0, values != -8888000.0
        shares = np.clip(np.where(detected, values, -10) + 10, 0, 70) / 70
        yield np.where(known, np.rint(shares * 255), 255).astype(np.uint8)[..., None]


def _make_tiny(folder: pathlib.Path, frames: int) -> None:
    folder.mkdir()
    np.save(folder / "tiny.npy", np.zeros((frames, 8, 8), np.uint8))


_RADAR = ("--range", "-10", "60")
TINY = Case(_make_tiny, lambda _: iter(()), ("--fps", "1", "--axes", "THW"), (24,))
CASES = {
    "720p video to gray": Case(_make_video, lambda path: _decode_video(path, True), ("--gray",), (250, 500)),
    "720p video in RGB": Case(_make_video, lambda path: _decode_video(path, False), (), (250, 500)),
    "16-bit TIFF stack": Case(_make_tiff, _decode_tiff, ("--fps", "1"), (48, 192)),
    "part of NetCDF": Case(_make_netcdf, _decode_netcdf, (*_CROP, "--range", "270", "305"), (60, 240)),
    "Moving MNIST": Case(
        _make_moving_mnist, _decode_moving_mnist, ("--fps", "10", "--axes", "TNHW", "--frames", "20", "20"),
        (1000, 10000), "clips",
    ),
    "part of OPERA composites": Case(_make_composites, _decode_composites, (*_CROP, *_RADAR), (24, 96)),
}  # fmt: skip
