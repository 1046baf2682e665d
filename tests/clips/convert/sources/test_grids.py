"""Tests HDF5, NetCDF and Zarr files against h5py and xarray."""

import h5py
import numpy as np
import pytest
import xarray

from framecast.clips.convert.sources.source import BadSource
from tests.clips.convert.sources.reading import GRAY, read_only_source, read_sources


def test_hdf5_file_per_time_step(tmp_path):
    for index, frame in enumerate(GRAY):
        with h5py.File(tmp_path / f"R_2010082600{5 * index:02d}.h5", "w") as file:
            dataset = file.create_dataset("image1/image_data", data=frame.astype(np.uint16) * 3)
            dataset.attrs.update(scale_factor=0.01, add_offset=1.0, units="mm", _FillValue=np.uint16(65535))
    recording, frames, values = read_only_source(tmp_path, variable="image1/image_data", time_format="%Y%m%d%H%M")
    assert np.array_equal(values[..., 0], GRAY.astype(np.uint16) * 3)
    assert recording.encoding.__dict__ == {"scale": 0.01, "offset": 1.0, "unit": "mm", "fill": (65535.0,)}
    assert np.diff([frame.time for frame in frames]).tolist() == [300_000_000] * 11
    with pytest.raises(BadSource, match=r"variable nothing is missing; the file has image1/image_data"):
        read_sources(tmp_path, variable="nothing")
    with pytest.raises(BadSource, match=r"set --variable to the path of a dataset, such as image1/image_data"):
        read_sources(tmp_path)


def _dataset():
    times = np.datetime64("2020-01-01T00:00", "ns") + np.arange(12) * np.timedelta64(10, "m")
    data = xarray.Dataset({"rain": (("time", "y", "x"), GRAY.astype(np.int16))}, coords={"time": times})
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
    recording, frames, values = read_only_source(tmp_path, variable=variable)
    assert np.array_equal(values[..., 0], GRAY)
    assert np.diff([frame.time for frame in frames]).tolist() == [600_000_000] * 11
    assert frames[0].time == int(np.datetime64("2020-01-01", "us").astype(int))
    assert recording.encoding.__dict__ == {"scale": 0.5, "offset": -1.0, "unit": "mm/h", "fill": (-99.0,)}


def test_netcdf_file_per_step_uses_stored_times(tmp_path):
    data = _dataset()
    for index in range(4):
        data.isel(time=index).to_netcdf(tmp_path / f"{index}.nc", engine="netcdf4")
    _, frames, values = read_only_source(tmp_path)
    assert np.array_equal(values[..., 0], GRAY[:4])
    assert np.diff([frame.time for frame in frames]).tolist() == [600_000_000] * 3


def test_broken_grid_file_is_named(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"?")
    with pytest.raises(BadSource, match=r"a\.h5: expected an HDF5 file"):
        read_sources(tmp_path, variable="x")
    (tmp_path / "a.h5").rename(tmp_path / "a.nc")
    with pytest.raises(BadSource, match=r"a\.nc: expected a NetCDF-4 file or a Zarr store"):
        read_sources(tmp_path, variable="x")
