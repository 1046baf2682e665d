"""Tests stores of Zarr format 3 against what tensorstore (where zarr 2 is installed) or zarr 3 has written."""

import base64
import json
import shutil
import struct

import numcodecs
import numpy as np
import pytest
import zarr

from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ConvertSpec
from tests.clips.convert.sources.reading import RNG, read_only_source, read_sources

_ZARR_2 = zarr.__version__.startswith("2.")
_CODECS = {
    "none": [],
    "gzip": [{"name": "gzip", "configuration": {"level": 1}}],
    "zstd": [{"name": "zstd", "configuration": {"level": 1, "checksum": True}}],
    "blosc": [
        {
            "name": "blosc",
            "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 4, "blocksize": 0},
        }
    ],
}
_KEYS = {"name": "default", "configuration": {"separator": "/"}}
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_TIME = {"units": "hours since 2020-01-01"}


def _write_group(folder, consolidated=False):
    """Writes the metadata of a group, whose arrays are there already."""
    metadata = {"zarr_format": 3, "node_type": "group", "attributes": {"title": "a group"}}
    if consolidated:
        arrays = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/zarr.json")}
        metadata["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": arrays}
    (folder / "zarr.json").write_text(json.dumps(metadata))


def _write(path, values, chunks, *, shards=None, codec="none", names=None, attributes=None):
    """Writes an array; floating-point ones are NaN where no chunk is stored."""
    fill = "NaN" if values.dtype.kind == "f" else 0
    if not _ZARR_2:
        options = {"shards": shards, "compressors": _CODECS[codec] or None, "dimension_names": names}
        zarr.create_array(path, data=values, chunks=chunks, fill_value=float(fill), attributes=attributes, **options)
        return
    import tensorstore

    codecs = [_BYTES, *_CODECS[codec]]
    if shards is not None:
        codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": chunks, "codecs": codecs}}]
    metadata = {
        "shape": values.shape,
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shards or chunks}},
        "codecs": codecs,
        "fill_value": fill,
        "attributes": attributes or {},
        **({"dimension_names": names} if names else {}),
    }
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "metadata": metadata}
    tensorstore.open(spec, create=True).result().write(values).result()


def _write_text(folder, values, size, dim, kind):
    """Writes text or dates along one dimension, in chunks of a size."""
    length = {"length_bytes": values.itemsize}
    data_type, first, fill = {
        "string": ("string", {"name": "vlen-utf8"}, ""),
        "fixed_length_utf32": ({"name": kind, "configuration": length}, _BYTES, ""),
        "null_terminated_bytes": ({"name": kind, "configuration": length}, {"name": "bytes"}, ""),
        "numpy.datetime64": ({"name": kind, "configuration": {"unit": "s", "scale_factor": 1}}, _BYTES, "NaT"),
    }[kind]
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": values.shape,
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [size]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [first, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
        "fill_value": fill,
        "attributes": {},
        "dimension_names": [dim],
    }
    (folder / "c").mkdir(parents=True)
    (folder / "zarr.json").write_text(json.dumps(metadata))
    for number in range(-(-len(values) // size)):
        chunk = np.zeros(size, values.dtype) if values.dtype.kind != "O" else np.full(size, "", object)
        part = values[number * size : (number + 1) * size]
        chunk[: len(part)] = part
        data = numcodecs.VLenUTF8().encode(chunk) if kind == "string" else chunk.tobytes()
        (folder / f"c/{number}").write_bytes(numcodecs.Zstd(1).encode(data))


@pytest.mark.parametrize("seed", range(60))
def test_random_arrays_of_format_3_read_back_equal(tmp_path, seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(2, 8, int(rng.integers(3, 5)))
    values = (rng.random(shape) * 100).astype(rng.choice(["u1", "u2", "i2", "i8", "f2", "f4", "f8"]))
    chunks = [int(rng.integers(1, size + 1)) for size in shape]
    shards = [chunk * int(rng.integers(1, 4)) for chunk in chunks] if rng.random() < 0.5 else None
    named, zipped = rng.random(2) < 0.5
    names = ["time", "y", "x", "band"][: len(shape)] if named else None
    folder = tmp_path / "a.zarr"
    path = folder / ("p" if named else rng.choice(["", "p", "set/p"]))
    _write(path, values, chunks, shards=shards, codec=rng.choice(list(_CODECS)), names=names)
    for group in path.parents:
        if folder in (group, *group.parents):
            _write_group(group)
    if zipped:
        shutil.make_archive(str(folder), "zip", folder)
    read = {} if named else {"axes": "THWC"[: len(shape)]}
    _, _, found = read_only_source(f"{folder}.zip" if zipped else folder, **read)
    assert found.dtype == values.dtype
    assert np.array_equal(found, values if len(shape) == 4 else values[..., None])


@pytest.mark.parametrize("consolidated", [False, True])
def test_coordinates_and_fill_of_format_3_are_used(tmp_path, consolidated):
    values = RNG.random((9, 8, 6)).astype("f4")
    values[3:6, 1, 2] = values[6:] = np.nan
    fill = base64.b64encode(struct.pack("<d", np.nan)).decode()
    attributes = {"_FillValue": fill, "units": "K", "coordinates": "number"}
    folder = tmp_path / "a.zarr"
    _write(folder / "p", values, [3, 8, 6], names=["time", "lon", "lat"], attributes=attributes)
    _write(folder / "time", np.arange(9), [4], names=["time"], attributes=_TIME)
    _write(folder / "number", np.arange(48.0).reshape(8, 6), [8, 6], names=["lon", "lat"])
    _write_group(folder, consolidated)
    shutil.rmtree(folder / "p/c/2", ignore_errors=True)  # zarr does not write chunks of the fill value.
    recording, frames, found = read_only_source(folder)
    assert np.array_equal(found[..., 0], values.transpose(0, 2, 1), equal_nan=True)
    assert (recording.encoding.unit, np.isnan(recording.encoding.fill)) == ("K", True)
    assert np.diff([frame.time for frame in frames]).tolist() == [3_600_000_000] * 8


def test_single_array_of_format_3_keeps_dimension_names(tmp_path):
    values = RNG.random((9, 8, 6)).astype("f4")
    _write(tmp_path / "a.zarr", values, [9, 8, 6], names=["time", "lon", "lat"])
    _, _, found = read_only_source(tmp_path)
    assert np.array_equal(found[..., 0], values.transpose(0, 2, 1))


def test_fill_in_packed_units_of_format_3(tmp_path):
    values = RNG.integers(0, 99, (9, 6, 8)).astype("i2")
    attributes = {"_FillValue": -1, "scale_factor": 0.5}
    _write(tmp_path / "a.zarr/p", values, [9, 6, 8], names=["time", "y", "x"], attributes=attributes)
    _write_group(tmp_path / "a.zarr")
    recording, _, found = read_only_source(tmp_path)
    assert np.array_equal(found[..., 0], values)
    assert (recording.encoding.scale, recording.encoding.fill) == (0.5, (-1,))


def test_crop_of_format_3_reads_only_needed_chunks(tmp_path):
    values = RNG.random((9, 6, 8)).astype("f4")
    _write(tmp_path / "a.zarr/p", values, [1, 3, 4], codec="gzip", names=["time", "y", "x"])
    _write_group(tmp_path / "a.zarr")
    (tmp_path / "a.zarr/p/c/1/1/1").write_bytes(b"damaged")
    (source,) = find_sources([str(tmp_path)], ConvertSpec()).sources
    (recording,) = source.recordings()
    recording.crop = (0, 4, 3, 4)
    assert np.array_equal([frame.values[..., 0] for frame in recording.frames], values[:, :3, 4:])
    (recording,) = source.recordings()
    with pytest.raises(BadSource, match=r"a\.zarr, p, time step 1: cannot read the values: [^,]*$"):
        list(recording.frames)


@pytest.mark.parametrize("kind", ["string", "fixed_length_utf32", "null_terminated_bytes", "numpy.datetime64"])
def test_times_of_text_and_dates_are_read(tmp_path, kind):
    values = RNG.random((9, 6, 8)).astype("f4")
    dates = np.arange(9) * np.timedelta64(600, "s") + np.datetime64("2020-01-01T00:00:00")
    dtype = {"string": object, "fixed_length_utf32": "<U19", "null_terminated_bytes": "S19"}.get(kind, "<M8[s]")
    _write(tmp_path / "a.zarr/p", values, [9, 6, 8], names=["time", "y", "x"])
    times = dates if kind == "numpy.datetime64" else dates.astype("U19")
    _write_text(tmp_path / "a.zarr/time", times.astype(dtype), 4, "time", kind)
    _write_group(tmp_path / "a.zarr")
    _, frames, found = read_only_source(tmp_path)
    assert np.array_equal(found[..., 0], values)
    assert [frame.time for frame in frames] == dates.astype("M8[us]").astype(np.int64).tolist()


def test_missing_date_names_file_and_variable(tmp_path):
    _write(tmp_path / "a.zarr/p", np.zeros((2, 6, 8), "f4"), [2, 6, 8], names=["time", "y", "x"])
    _write_text(tmp_path / "a.zarr/time", np.array(["2020-01-01", "NaT"], "<M8[s]"), 2, "time", "numpy.datetime64")
    _write_group(tmp_path / "a.zarr")
    with pytest.raises(BadSource, match=r"a\.zarr, time: expected times, received NaT"):
        read_sources(tmp_path)


@pytest.mark.parametrize("kind", ["string", "fixed_length_utf32"])
def test_labels_of_format_3_can_be_selected(tmp_path, kind):
    values = RNG.random((9, 2, 6, 8)).astype("f4")
    _write(tmp_path / "a.zarr/p", values, [9, 1, 6, 8], names=["time", "polarisation", "y", "x"])
    bands = np.array(["HH", "Vé"], object if kind == "string" else None)
    _write_text(tmp_path / "a.zarr/polarisation", bands, 2, "polarisation", kind)
    _write_group(tmp_path / "a.zarr")
    _, _, found = read_only_source(tmp_path, select=["polarisation=Vé"])
    assert np.array_equal(found[..., 0], values[:, 1])


def _damage(folder, change):
    """Changes the metadata of an array."""
    metadata = json.loads((folder / "zarr.json").read_text())
    change(metadata)
    (folder / "zarr.json").write_text(json.dumps(metadata))


@pytest.mark.skipif(not _ZARR_2, reason="zarr 3 reads the store")
def test_unknown_codec_is_refused_with_what_to_do(tmp_path):
    _write(tmp_path / "a.zarr/p", np.ones((9, 6, 8), "f4"), [9, 6, 8], names=["time", "y", "x"])
    _write_group(tmp_path / "a.zarr")
    _write_text(tmp_path / "a.zarr/label", np.array(["a"], object), 1, "label", "string")
    text = tmp_path / "a.zarr/label"
    _damage(text, lambda metadata: metadata["codecs"].append({"name": "numcodecs.zlib"}))
    with pytest.raises(BadSource, match=r"a\.zarr, label: the codec numcodecs.zlib is not supported for text"):
        read_sources(tmp_path)
    shutil.rmtree(text)
    _damage(tmp_path / "a.zarr/p", lambda metadata: metadata["codecs"].append({"name": "numcodecs.zlib"}))
    fix = "use Framecast on Python 3.11, or store it again as NetCDF or in Zarr format 2"
    with pytest.raises(BadSource, match=rf'a\.zarr, p: cannot open .*"numcodecs.zlib" is not registered; {fix}'):
        read_sources(tmp_path)


@pytest.mark.skipif(not _ZARR_2, reason="the messages are those of the reader beside zarr 2")
def test_bad_stores_of_format_3_are_named(tmp_path):
    _write(tmp_path / "a.zarr/p", np.ones((9, 6, 8), "f4"), [9, 6, 8], names=["time", "y", "x"])
    _write_group(tmp_path / "a.zarr")
    with pytest.raises(BadSource, match=r"a\.zarr: group low is missing; the store has p"):
        read_sources(tmp_path, variable="low/p")
    with pytest.raises(BadSource, match=r"a\.zarr: group p is missing; the store has p"):
        read_sources(tmp_path, variable="p/p")
    _damage(tmp_path / "a.zarr/p", lambda metadata: metadata.update(data_type={"name": "struct", "configuration": {}}))
    with pytest.raises(BadSource, match=r"a\.zarr: p: expected numbers, received \|V1"):
        read_sources(tmp_path, variable="p")
    (tmp_path / "a.zarr/p/zarr.json").write_text("{")
    with pytest.raises(BadSource, match=r"a\.zarr: cannot read .*a\.zarr/p/zarr\.json: Expecting"):
        read_sources(tmp_path)
