"""Tests the axes of gridded variables against xarray's transpose, and the errors for axes that are left over."""

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray

from framecast.clips.convert.sources.source import BadSource
from tests.clips.convert.sources.reading import read_only_source, read_sources

_RNG = np.random.default_rng(0)
_SIZES = {"T": 9, "H": 6, "W": 8, "Z": 3}


def _write(path, dims, roles, attributes=None, coordinates=(), **more):
    """Writes random values of named dimensions, and returns the array."""
    shape = [_SIZES.get(role, 1) for role in roles]
    array = xarray.DataArray(_RNG.random(shape).astype("f4"), dims=dims, name="p")
    for dim, role in zip(dims, roles, strict=True):
        if role == "T":
            array = array.assign_coords({dim: pd.date_range("2020", periods=9, freq="h")})
        elif dim in (attributes or {}) or dim in coordinates:
            array = array.assign_coords({dim: np.arange(_SIZES.get(role, 1), dtype="f4")})
            array[dim].attrs.update((attributes or {}).get(dim, {}))
    array.to_netcdf(path, engine="netcdf4", **more)
    return array


@pytest.mark.parametrize(
    ("dims", "roles", "attributes"),
    [
        (("time", "lon", "lat"), "TWH", {}),
        (("lat", "lon", "time"), "HWT", {}),
        (("longitude", "time", "latitude"), "WTH", {}),
        (("time", "height", "lat", "lon"), "TZ1HW", {}),
        (("valid_time", "number", "latitude", "longitude"), "T1HW", {}),
        (("Time", "bottom_top", "south_north", "west_east"), "T1HW", {}),
        (("time", "x", "y"), "TWH", {}),
        (("time", "rlon", "rlat"), "TWH", {}),
        (("time", "a", "b"), "TWH", {"a": {"axis": "X"}, "b": {"axis": "Y"}}),
        (("time", "a", "b"), "TWH", {"a": {"standard_name": "projection_x_coordinate"}}),
        (("time", "a", "b"), "TWH", {"a": {"units": "degrees_east"}, "b": {"units": "degrees_north"}}),
        (("time", "west_east_stag", "south_north"), "TWH", {}),
        (("width", "height", "time"), "WHT", {}),
        (("u", "time", "v"), "HTW", {}),
    ],
)
@pytest.mark.parametrize("suffix", ["nc", "h5", "zarr"])
def test_dimensions_are_matched_by_metadata(tmp_path, dims, roles, attributes, suffix):
    roles = list(roles.replace("Z1", "1"))
    array = _write(tmp_path / "a.nc", dims, roles, attributes)
    if suffix == "h5":
        (tmp_path / "a.nc").rename(tmp_path / "a.h5")
    elif suffix == "zarr":
        array.to_dataset().to_zarr(tmp_path / "a.zarr")
        (tmp_path / "a.nc").unlink()
    order = [dims[roles.index(letter)] for letter in "THW"]
    expected = array.squeeze([dim for dim, role in zip(dims, roles, strict=True) if role == "1"]).transpose(*order)
    _, frames, values = read_only_source(tmp_path, variable="p")
    assert np.array_equal(values[..., 0], expected)
    assert np.diff([frame.time for frame in frames]).tolist() == [3_600_000_000] * 8


@pytest.mark.parametrize("suffix", ["nc", "h5"])
def test_extra_dimension_is_named_and_selected(tmp_path, suffix):
    array = _write(tmp_path / f"a.{suffix}", ("time", "level", "lat", "lon"), "TZHW", coordinates=("level",))
    with pytest.raises(
        BadSource,
        match=r"p: dimension level is no axis of a frame \(3 values: 0\.0, 1\.0, 2\.0\); set --select level=VALUE, "
        r"or --axes TCHW to read its values as channels; received time \(9\), level \(3\)",
    ):
        read_sources(tmp_path, variable="p")
    _, _, values = read_only_source(tmp_path, variable="p", select=("level=2",))
    assert np.array_equal(values[..., 0], array.sel(level=2))
    _, _, values = read_only_source(tmp_path, variable="p", axes="TCHW")
    assert np.array_equal(values, array.transpose("time", "lat", "lon", "level"))
    for select, message in (("level=7", "expected a value of level: 3 values: 0"), ("z=1", "time, level, lat, lon")):
        with pytest.raises(BadSource, match=rf"--select {select}: .*{message}"):
            read_sources(tmp_path, variable="p", select=(select,))


def test_era5_versions_and_levels_are_selected(tmp_path):
    array = _write(tmp_path / "a.nc", ("time", "expver", "latitude", "longitude"), "TZHW")
    array = array.assign_coords(expver=[b"0001", b"0005", b"0006"])
    array.astype("f4").to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    with pytest.raises(BadSource, match=r"dimension expver .*\(3 values: 0001, 0005, 0006\); set --select expver=VAL"):
        read_sources(tmp_path)
    _, _, values = read_only_source(tmp_path, select=("expver=5",))
    assert np.array_equal(values[..., 0], array[:, 1])


def test_dimension_without_coordinate_is_selected_by_index(tmp_path):
    array = _write(tmp_path / "a.nc", ("Time", "soil_layers_stag", "south_north", "west_east"), "TZHW")
    with pytest.raises(BadSource, match=r"soil_layers_stag is no axis of a frame \(3 values, 0 to 2\)"):
        read_sources(tmp_path)
    _, _, values = read_only_source(tmp_path, select=("soil_layers_stag=1",))
    assert np.array_equal(values[..., 0], array[:, 1])


def test_bands_are_channels(tmp_path):
    array = _write(tmp_path / "a.nc", ("band", "time", "y", "x"), "ZTHW")
    _, _, values = read_only_source(tmp_path)
    assert np.array_equal(values, array.transpose("time", "y", "x", "band"))


def test_unknown_dimension_is_refused(tmp_path):
    _write(tmp_path / "a.nc", ("time", "quantile", "y", "x"), "TZHW")
    with pytest.raises(BadSource, match=r"dimension quantile .*--select quantile=VALUE, .*or --axes TCHW"):
        read_sources(tmp_path)
    _write(tmp_path / "a.nc", ("run", "y", "x"), "ZHW")
    with pytest.raises(BadSource, match=r"dimension run .*--axes THW to read its values as time steps"):
        read_sources(tmp_path)


def test_wrf_file_without_suffix_is_read(tmp_path):
    path = tmp_path / "wrfout_d01_2020-01-01_00_00_00"
    rain = _RNG.random((9, 6, 8)).astype("f4")
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("Time", None), ("DateStrLen", 19), ("south_north", 6), ("west_east", 8)):
            file.createDimension(name, size)
        text = [list(f"2020-01-01_0{hour}:00:00") for hour in range(9)]
        file.createVariable("Times", "S1", ("Time", "DateStrLen"))[:] = np.array(text, "S1")
        minutes = file.createVariable("XTIME", "f4", ("Time",))
        minutes[:] = np.arange(9) * 60.0
        minutes.units = "minutes since 2020-01-01 00:00:00"
        for name in ("XLAT", "XLONG"):
            file.createVariable(name, "f4", ("Time", "south_north", "west_east"))[:] = 0
        variable = file.createVariable("RAINNC", "f4", ("Time", "south_north", "west_east"))
        variable.setncatts({"units": "mm", "coordinates": "XLONG XLAT XTIME"})
        variable[:] = rain
    recording, frames, values = read_only_source(tmp_path)
    assert np.array_equal(values[..., 0], rain)
    assert recording.encoding.unit == "mm"
    assert frames[0].time == int(np.datetime64("2020-01-01", "us").astype(int))
    assert np.diff([frame.time for frame in frames]).tolist() == [3_600_000_000] * 8


@pytest.mark.parametrize("seed", range(250))
def test_random_dimension_order_reads_back_equal(tmp_path, seed):
    rng = np.random.default_rng(seed)
    names = [
        rng.choice(options) for options in (("time", "valid_time"), ("lat", "y"), ("lon", "x"), ("band", "channel"))
    ]
    number = int(rng.integers(3, 5))
    order = rng.permutation(number)
    sizes = rng.integers(2, 7, 4)
    dtype = rng.choice(["u1", "<i2", ">u2", "f4", "f8", "i4"])
    values = (rng.random([sizes[place] for place in order]) * 100).astype(dtype)
    array = xarray.DataArray(values, dims=[names[place] for place in order], name="p")
    array = array.assign_coords({names[0]: pd.date_range("2020", periods=sizes[0], freq="10min")})
    fill = values.flat[rng.integers(values.size)]
    array.attrs["missing_value"] = fill.astype(fill.dtype.newbyteorder("="))
    kind = rng.choice(["nc", "nc classic", "h5", "zarr"])
    if kind == "zarr":
        array.to_dataset().to_zarr(tmp_path / "a.zarr")
    else:
        classic = {"engine": "netcdf4"} if kind != "nc classic" or dtype == ">u2" else {"engine": "scipy"}
        array.to_netcdf(tmp_path / f"a.{kind[:2]}", **classic)
    recording, frames, read = read_only_source(tmp_path, variable="p")
    assert float(fill) in recording.encoding.fill
    expected = array.transpose(*[name for place, name in enumerate(names) if place in order])
    assert np.array_equal(read if number == 4 else read[..., 0], expected)
    assert np.diff([frame.time for frame in frames]).tolist() == [600_000_000] * int(sizes[0] - 1)


@pytest.mark.parametrize("attributes", [{}, {"units": "degrees_north"}])
def test_coordinates_beside_hdf5_dataset_name_its_axes(tmp_path, attributes):
    values = _RNG.random((9, 8, 6))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["field"] = values
        for name, size in (("lon", 8), ("lat", 6), ("quality", 9)):
            file[name] = np.arange(float(size))
        file["lat"].attrs.update(attributes)
    _, _, found = read_only_source(tmp_path, variable="field")
    assert np.array_equal(found[..., 0], values.transpose(0, 2, 1))


@pytest.mark.parametrize("names", [("lon", "lat"), ("longitude", "latitude"), ("x", "y")])
def test_coordinates_of_other_names_are_used(tmp_path, names):
    data = xarray.Dataset(
        {"p": (("time", "first", "second"), _RNG.random((9, 8, 6)))},
        coords={names[0]: ("first", np.arange(8.0)), names[1]: ("second", np.arange(6.0))},
    )
    data.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    _, _, values = read_only_source(tmp_path)
    assert np.array_equal(values[..., 0], data.p.transpose("time", "second", "first"))


def test_samples_can_be_recordings(tmp_path):
    array = _write(tmp_path / "a.nc", ("sample", "time", "y", "x"), "ZTHW")
    with pytest.raises(BadSource, match=r"dimension sample .*, or --axes NTHW to read its values as recordings, or"):
        read_sources(tmp_path)
    read = read_sources(tmp_path, axes="NTHW")
    assert np.array_equal([[frame.values[..., 0] for frame in frames] for _, frames in read.values()], array)
    assert all(np.diff([frame.time for frame in frames]).min() > 0 for _, frames in read.values())
