"""Tests stores without names of dimensions, several recordings in a file, and files that cannot be read."""

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray
import zarr

from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ConvertSpec
from tests.clips.convert.sources.reading import RNG, read_only_source, read_sources


@pytest.mark.parametrize("seed", range(250))
def test_random_stores_without_names_read_back_equal(tmp_path, seed):
    rng = np.random.default_rng(seed)
    axes = "".join(rng.permutation(list(rng.choice(["THW", "THWC", "NTHW", "NTHWC"]))))
    sizes = dict(zip("NTHWC", rng.integers(2, 8, 5), strict=True))
    shape = [sizes[letter] for letter in axes]
    values = (rng.random(shape) * 100).astype(rng.choice(["u1", "<u2", ">u2", "i2", "i8", "f4", ">f4", "f8"]))
    chunks = tuple(int(rng.integers(1, size + 1)) for size in shape)
    kind = rng.choice(["zarr", "zarr group", "h5", "h5 contiguous"])
    if kind == "zarr":
        zarr.save(str(tmp_path / "a.zarr"), values)
    elif kind == "zarr group":
        zarr.open_group(str(tmp_path / "a.zarr"), mode="w").require_group("set")["field"] = values
    else:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("set/field", data=values, chunks=None if "contiguous" in kind else chunks)
    variable = None if "zarr" in kind else "set/field"
    read = read_sources(tmp_path, variable=variable, axes=axes)
    expected = np.einsum(f"{axes}->{''.join(each for each in 'NTHWC' if each in axes)}", values)
    expected = expected if "N" in axes else expected[None]
    expected = expected if "C" in axes else expected[..., None]
    assert np.array_equal([[frame.values for frame in frames] for _, frames in read.values()], expected)


def test_zeros_of_plain_zarr_are_values(tmp_path):
    zarr.save(str(tmp_path / "a.zarr"), np.zeros((9, 6, 8), "f4"))
    recording, _, _ = read_only_source(tmp_path)
    assert recording.encoding.fill == ()


def test_dimension_names_of_single_zarr_array_are_used(tmp_path):
    values = RNG.random((9, 8, 6)).astype("f4")
    zarr.save(str(tmp_path / "a.zarr"), values)
    zarr.open(str(tmp_path / "a.zarr"), mode="r+").attrs["_ARRAY_DIMENSIONS"] = ["time", "lon", "lat"]
    _, _, read = read_only_source(tmp_path)
    assert np.array_equal(read[..., 0], values.transpose(0, 2, 1))


def test_pattern_takes_each_hdf5_dataset_as_recording(tmp_path):
    values = RNG.integers(0, 256, (3, 9, 6, 8)).astype("u1")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for index, clip in enumerate(values):
            file[f"event_{index}/frames"] = clip
        file["about"] = np.zeros((2, 2))
    found = read_sources(tmp_path, variable="event_*/frames")
    assert list(found) == [f"a.h5/event_{index}/frames" for index in range(3)]
    for (_, frames), expected in zip(found.values(), values, strict=True):
        assert np.array_equal([frame.values[..., 0] for frame in frames], expected)
    with pytest.raises(BadSource, match=r"no variable matches x\* \(--variable\); the file has about, event_0/frames"):
        read_sources(tmp_path, variable="x*")


def _write_steps(folder, numbers):
    for number in numbers:
        values = np.full((1, 6, 8), number, "f4")
        time = [pd.Timestamp("2020") + pd.Timedelta(hours=number)]
        data = xarray.Dataset({"p": (("time", "y", "x"), values)}, coords={"time": time})
        data.to_netcdf(folder / f"p_{number}.nc", engine="netcdf4")


def test_single_steps_with_gap_are_one_recording(tmp_path):
    _write_steps(tmp_path, [0, 1, 2, 3, 20, 21, 22])
    _, frames, values = read_only_source(tmp_path)
    assert values[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 20, 21, 22]
    assert np.diff([frame.time for frame in frames]).tolist() == [
        3_600_000_000 * hours for hours in (1, 1, 1, 17, 1, 1)
    ]


def test_unreadable_first_file_does_not_hide_variable(tmp_path):
    _write_steps(tmp_path, range(1, 5))
    (tmp_path / "p_0.nc").write_bytes(b"?")
    with pytest.raises(BadSource, match=r"p_0\.nc: expected a NetCDF-4 file"):
        read_sources(tmp_path)


def test_file_without_variable_is_named(tmp_path):
    _write_steps(tmp_path, range(3))
    xarray.Dataset({"mask": (("y", "x"), np.zeros((6, 8)))}).to_netcdf(tmp_path / "mask.nc", engine="netcdf4")
    with pytest.raises(BadSource, match=r"mask\.nc: variable p is missing; the file has mask"):
        read_sources(tmp_path, variable="p")


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_bounds_and_text_are_no_frames(tmp_path, suffix):
    times = pd.date_range("2020", periods=9, freq="h")
    data = xarray.Dataset(
        {
            "p": (("time", "y", "x"), RNG.random((9, 6, 8))),
            "time_bnds": (("time", "nv"), np.zeros((9, 2))),
            "lat": (("y", "x"), np.zeros((6, 8))),
            "label": (("y", "x"), np.full((6, 8), "a")),
        },
        coords={"time": times},
    )
    data.time.attrs["bounds"] = "time_bnds"
    data = data.set_coords("lat")
    data.to_zarr(tmp_path / "a.zarr") if suffix == "zarr" else data.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    _, _, values = read_only_source(tmp_path)
    assert np.array_equal(values[..., 0], data.p)


def test_coordinates_in_group_above_are_used(tmp_path):
    times = pd.date_range("2020", periods=9, freq="h")
    xarray.Dataset(coords={"time": times}).to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    data = xarray.Dataset({"p": (("time", "lon", "lat"), RNG.random((9, 8, 6)))})
    data.to_netcdf(tmp_path / "a.nc", engine="netcdf4", group="low", mode="a")
    _, frames, values = read_only_source(tmp_path, variable="low/p")
    assert np.array_equal(values[..., 0], data.p.transpose("time", "lat", "lon"))
    assert np.diff([frame.time for frame in frames]).tolist() == [3_600_000_000] * 8


def test_single_steps_of_any_names_are_one_recording(tmp_path):
    _write_steps(tmp_path, range(4))
    for number, name in enumerate(("jan", "feb", "mar", "apr")):
        (tmp_path / f"p_{number}.nc").rename(tmp_path / f"{name}.nc")
    _, _, values = read_only_source(tmp_path)
    assert values[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_prefixes_are_separate_unless_joined(tmp_path):
    _write_steps(tmp_path, range(6))
    for number in range(3, 6):
        (tmp_path / f"p_{number}.nc").rename(tmp_path / f"q_{number}.nc")
    found = find_sources([str(tmp_path)], ConvertSpec()).sources
    assert [len(list(recording.frames)) for source in found for recording in source.recordings()] == [3, 3]
    _, _, values = read_only_source(tmp_path, join=True)
    assert values[:, 0, 0, 0].tolist() == list(range(6))


def test_zipped_store_is_read(tmp_path):
    values = RNG.random((9, 6, 8)).astype("f4")
    values[:, 0] = np.nan
    data = xarray.Dataset(
        {"p": (("time", "y", "x"), values, {"units": "K"})}, coords={"time": pd.date_range("2020", periods=9, freq="h")}
    )
    with zarr.storage.ZipStore(str(tmp_path / "a.zarr.zip"), mode="w") as store:
        data.to_zarr(store, consolidated=False)
    recording, frames, read = read_only_source(tmp_path / "a.zarr.zip")
    assert np.array_equal(read[..., 0], values, equal_nan=True)
    assert (recording.encoding.unit, np.isnan(recording.encoding.fill)) == ("K", True)
    assert np.diff([frame.time for frame in frames]).tolist() == [3_600_000_000] * 8


def test_plain_zipped_array_is_read(tmp_path):
    values = RNG.integers(0, 256, (9, 6, 8)).astype("u1")
    with zarr.storage.ZipStore(str(tmp_path / "a.zarr.zip"), mode="w") as store:
        zarr.open_group(store, mode="w").require_group("set")["field"] = values
    _, _, read = read_only_source(tmp_path / "a.zarr.zip", axes="THW")
    assert np.array_equal(read[..., 0], values)
