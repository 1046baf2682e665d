"""Tests files as known products have them: dimensions, attributes, packing. xarray and h5py say what is right."""

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray

from framecast.clips.convert.sources.gridded.steps import physical_values
from tests.clips.convert.sources.reading import read_only_source, read_sources

_RNG = np.random.default_rng(0)
_T, _Y, _X = 9, 6, 8
_TIMES = pd.date_range("2024-05-01", periods=_T, freq="h")


def _field(*shape):
    values = _RNG.uniform(250, 300, shape or (_T, _Y, _X)).astype("f4")
    values[..., 0, 0] = np.nan
    return values


def _check(path, expected, times, **read):
    """Compares values and times of the only recording; `expected` is `(time, row, column)`, NaN for missing."""
    recording, frames, values = read_only_source(path, **read)
    found = physical_values(values[..., 0], recording.encoding, recording.limits)
    assert np.allclose(found, expected, rtol=1e-5, equal_nan=True)
    stamps = np.asarray(times).astype("datetime64[us]").astype(np.int64)
    assert [frame.time for frame in frames] == stamps.tolist()
    return recording


_PACKED = {"dtype": "i2", "scale_factor": 0.0012, "add_offset": 280.0, "_FillValue": np.int16(-32767)}


def _era5_hours_since_1900(path):
    coords = {
        "time": _TIMES,
        "latitude": np.linspace(60, 58.75, _Y, dtype="f4"),
        "longitude": np.arange(_X, dtype="f4"),
    }
    data = xarray.Dataset({"t2m": (("time", "latitude", "longitude"), _field(), {"units": "K"})}, coords=coords)
    data.latitude.attrs["units"], data.longitude.attrs["units"] = "degrees_north", "degrees_east"
    units = {"units": "hours since 1900-01-01 00:00:00.0", "dtype": "i4", "calendar": "gregorian"}
    data.to_netcdf(path, engine="netcdf4", format="NETCDF3_64BIT", encoding={"t2m": _PACKED, "time": units})
    return {}


def _era5_valid_time_with_expver_text(path):
    coords = {
        "valid_time": ("valid_time", _TIMES, {"standard_name": "time"}),
        "latitude": (
            "latitude",
            np.linspace(60, 58.75, _Y),
            {"units": "degrees_north", "stored_direction": "decreasing"},
        ),
        "longitude": ("longitude", np.arange(_X) * 0.25, {"units": "degrees_east"}),
        "number": ((), 0, {"units": "1", "standard_name": "realization"}),
        "expver": ("valid_time", np.array(["0001"] * 5 + ["0005"] * 4)),
    }
    data = xarray.Dataset({"tp": (("valid_time", "latitude", "longitude"), _field(), {"units": "m"})}, coords=coords)
    units = {"units": "seconds since 1970-01-01", "dtype": "i8"}
    data.to_netcdf(path, engine="netcdf4", encoding={"valid_time": units, "tp": {"_FillValue": np.float32(np.nan)}})
    return {}


def _era5_pressure_levels(path):
    coords = {
        "valid_time": ("valid_time", _TIMES, {"standard_name": "time"}),
        "pressure_level": ("pressure_level", [850.0, 500.0], {"units": "hPa", "positive": "down"}),
        "latitude": ("latitude", np.linspace(60, 58.75, _Y), {"units": "degrees_north"}),
        "longitude": ("longitude", np.arange(_X) * 0.25, {"units": "degrees_east"}),
    }
    dims = ("valid_time", "pressure_level", "latitude", "longitude")
    xarray.Dataset({"t": (dims, _field(_T, 2, _Y, _X))}, coords=coords).to_netcdf(path, engine="netcdf4")
    return {"select": ["pressure_level=500"]}


@pytest.mark.parametrize("build", [_era5_hours_since_1900, _era5_valid_time_with_expver_text, _era5_pressure_levels])
def test_era5_equals_xarray(tmp_path, build):
    read = build(tmp_path / "era5.nc")
    with xarray.open_dataset(tmp_path / "era5.nc") as data:
        (name,) = data.data_vars
        values = data[name]
        if "select" in read:
            values = values.sel(pressure_level=500)
        _check(tmp_path / "era5.nc", values.values, data[values.dims[0]].values, **read)


def _wrf(path, times, coordinates):
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (
            ("Time", None),
            ("DateStrLen", 19),
            ("south_north", _Y),
            ("west_east", _X),
            ("bottom_top", 3),
        ):
            file.createDimension(name, size)
        text = file.createVariable("Times", "S1", ("Time", "DateStrLen"))
        text[:] = np.array([list(f"{time:%Y-%m-%d_%H:%M:%S}") for time in times], "S1")
        if coordinates:
            xtime = file.createVariable("XTIME", "f4", ("Time",))
            xtime.units, xtime.description = "minutes since 2024-05-01 00:00:00", "minutes since 2024-05-01 00:00:00"
            xtime[:] = (times - _TIMES[0]).total_seconds() / 60
            for name in ("XLAT", "XLONG"):
                file.createVariable(name, "f4", ("Time", "south_north", "west_east"))[:] = 1
        values = file.createVariable("T2", "f4", ("Time", "south_north", "west_east"))
        values.setncatts({"FieldType": np.int32(104), "MemoryOrder": "XY ", "units": "K", "stagger": ""})
        if coordinates:
            values.coordinates = "XLONG XLAT XTIME"
        values[:] = _field(len(times), _Y, _X)
        deep = file.createVariable("QVAPOR", "f4", ("Time", "bottom_top", "south_north", "west_east"))
        deep[:] = _field(len(times), 3, _Y, _X)


@pytest.mark.parametrize("coordinates", [False, True])
@pytest.mark.parametrize(("variable", "select"), [("T2", ()), ("QVAPOR", ("bottom_top=1",))])
def test_wrf_equals_xarray(tmp_path, coordinates, variable, select):
    path = tmp_path / "wrfout_d01_2024-05-01_00:00:00"
    _wrf(path, _TIMES, coordinates)
    with xarray.open_dataset(path, engine="netcdf4", decode_times=False) as data:
        expected = data[variable].values[:, 1] if select else data[variable].values
    _check(path, expected, _TIMES, variable=variable, select=select)


def test_wrf_file_per_step_is_joined(tmp_path):
    for time in _TIMES:
        _wrf(tmp_path / f"wrfout_d01_{time:%Y-%m-%d_%H:%M:%S}", pd.DatetimeIndex([time]), True)
    paths = sorted(tmp_path.iterdir())
    expected = np.concatenate([xarray.open_dataset(path, engine="netcdf4", decode_times=False).T2 for path in paths])
    _check(tmp_path, expected, _TIMES, variable="T2")


@pytest.mark.parametrize("form", ["V06 HDF5", "V07 HDF5", "netCDF"])
def test_imerg_equals_h5py(tmp_path, form):
    rain = _RNG.uniform(0, 30, (_T, 1, _X, _Y)).astype("f4")  # (time, lon, lat)
    rain[:, :, 0] = -9999.9
    name = "precipitationCal" if "V06" in form else "precipitation"
    for index, values in enumerate(rain):
        seconds = int(_TIMES[index].timestamp())
        suffix = "nc4" if form == "netCDF" else "HDF5"
        path = tmp_path / f"3B-HHR.MS.MRG.3IMERG.20240501-S{index:02d}0000.{suffix}"
        with h5py.File(path, "w") as file:
            group = file if form == "netCDF" else file.create_group("Grid")
            group["time"] = np.array([seconds], "i4")
            group["time"].attrs.update({"units": "seconds since 1970-01-01 00:00:00 UTC", "calendar": "standard"})
            group["lon"], group["lat"] = np.arange(_X, dtype="f4"), np.arange(_Y, dtype="f4")
            group["lon"].attrs["units"], group["lat"].attrs["units"] = "degrees_east", "degrees_north"
            data = group.create_dataset(name, data=values, chunks=(1, 4, _Y), compression="gzip")
            data.attrs.update({"units": "mm/hr", "_FillValue": np.float32(-9999.9), "CodeMissingValue": "-9999.9"})
            for number, dim in enumerate(("time", "lon", "lat")):
                group[dim].make_scale(dim)
                data.dims[number].attach_scale(group[dim])
            group.create_dataset("randomError", data=values)
    expected = np.where(rain[:, 0] == np.float32(-9999.9), np.nan, rain[:, 0]).transpose(0, 2, 1)
    read = {"variable": name if form == "netCDF" else f"Grid/{name}"}
    assert _check(tmp_path, expected, _TIMES, **read).encoding.unit == "mm/hr"


@pytest.mark.parametrize("product", ["CMI_C13", "Rad", "RRQPE"])
def test_goes_equals_xarray(tmp_path, product):
    stored = _RNG.integers(0, 4095, (_T, _Y, _X)).astype("u2")
    stored[:, 0, 0] = 65535 if product != "Rad" else 4095
    expected = []
    for index, frame in enumerate(stored):
        path = tmp_path / f"OR_ABI-L2-{product}_G16_s2024122{index:02d}00000.nc"
        with netCDF4.Dataset(path, "w") as file:
            for name, size in (("y", _Y), ("x", _X), ("number_of_time_bounds", 2), ("band", 1)):
                file.createDimension(name, size)
            for name, axis in (("y", "Y"), ("x", "X")):
                variable = file.createVariable(name, "i2", (name,))
                variable.setncatts({"scale_factor": np.float32(-5.6e-05), "add_offset": np.float32(0.15), "axis": axis})
                variable.setncatts({"units": "rad", "standard_name": f"projection_{name}_coordinate"})
            time = file.createVariable("t", "f8", ())
            time.setncatts({"standard_name": "time", "units": "seconds since 2000-01-01 12:00:00", "axis": "T"})
            time[...] = (_TIMES[index] - pd.Timestamp("2000-01-01 12:00")).total_seconds()
            file.createVariable("time_bounds", "f8", ("number_of_time_bounds",))[:] = 0
            file.createVariable("goes_imager_projection", "i4", ())[...] = 1
            fill = np.int16(-1) if product != "Rad" else np.int16(4095)
            variable = file.createVariable(product, "i2", ("y", "x"), fill_value=fill)
            variable.set_auto_maskandscale(False)
            variable.setncatts(
                {"_Unsigned": "true", "scale_factor": np.float32(0.061), "add_offset": np.float32(89.62)}
            )
            variable.setncatts({"units": "K", "coordinates": "t y x", "grid_mapping": "goes_imager_projection"})
            variable.setncatts({"valid_range": np.array([0, 4095], "i2")})
            variable[:] = frame.view("i2")
            file.createVariable("DQF", "i1", ("y", "x"), fill_value=-1)[:] = 0
        with xarray.open_dataset(path) as data:
            expected.append(data[product].values)
    _check(tmp_path, np.array(expected), _TIMES, variable=product)


@pytest.mark.parametrize(("kind", "dtype"), [("vil", "u1"), ("ir069", "i2"), ("vis", "i2")])
def test_sevir_equals_h5py(tmp_path, kind, dtype):
    values = _RNG.integers(-9000 if dtype == "i2" else 0, 255, (3, 12, 12, 49)).astype(dtype)
    with h5py.File(tmp_path / f"SEVIR_{kind.upper()}_STORMEVENTS_2019.h5", "w") as file:
        file.create_dataset(kind, data=values, chunks=(1, 12, 12, 49), compression="gzip")
        file["id"] = np.array([b"S780562", b"S780563", b"R19010100"])
    found = read_sources(tmp_path, variable=kind, axes="NHWT", fps=1 / 300)
    assert [name.rpartition("/")[2] for name in found] == ["S780562", "S780563", "R19010100"]
    for (_, frames), event in zip(found.values(), values, strict=True):
        assert np.array_equal([frame.values[..., 0] for frame in frames], event.transpose(2, 0, 1))
