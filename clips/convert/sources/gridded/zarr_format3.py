"""Opens stores of Zarr format 3 where zarr 2 is installed, which cannot read them.

Only stack A needs this module, because zarr 3 requires Python 3.11. Remove it, and tensorstore, together with stack A.
tensorstore reads numbers; it has no data types for text and dates, which are decoded here. Consolidated metadata is not
used, because it is a copy. https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html
"""

import base64
import binascii
import contextlib
import dataclasses
import functools
import itertools
import json
import pathlib
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import google_crc32c
import numcodecs
import numpy as np
import tensorstore
import xarray
from xarray.backends.common import BackendArray
from xarray.core import indexing

from framecast.clips.convert.sources.gridded.variable import listed
from framecast.clips.convert.sources.source import BadSource

_FIX = "use Framecast on Python 3.11, or store it again as NetCDF or in Zarr format 2 (zarr_format=2)"
_NUMBERS = re.compile(r"bool|u?int\d+|b?float\d+|complex\d+")
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Format3Array:
    """An array of a store.

    Args:
        place: The store and the array, for messages.
        shape: Size of each dimension.
        dtype: Dtype of the values; `object` for text of any length, void for values that cannot be read.
        chunks: Size of the chunks that are read; in a shard, of the chunks in it.
        attrs: The attributes.
        dimension_names: Name of each dimension, None for one without; empty if none has a name.
        values: Returns what reads the values when it is indexed.
    """

    place: str
    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...]
    attrs: Mapping[str, Any]
    dimension_names: tuple[str | None, ...]
    values: Callable[[], Any]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        """Reads a part of the array.

        Raises:
            BadSource: If it cannot be read.
        """
        index = tuple(
            slice(*part.indices(size)) if isinstance(part, slice) else part for part, size in zip(index, self.shape)
        )
        try:
            part = self.values()[index]
            return part.read().result() if isinstance(part, tensorstore.TensorStore) else np.asarray(part)
        except BadSource:
            raise
        except _DAMAGED as error:
            raise BadSource(self.place, _cause(error)) from error


class _LazyArray(BackendArray):
    """Lets xarray read parts of an array."""

    def __init__(self, array: Format3Array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self.array.__getitem__
        )


def open_arrays(path: str) -> dict[str, Format3Array]:
    """Returns the arrays of a store by their paths; that of a store of one array is empty.

    Raises:
        BadSource: If the store or an array cannot be opened.
    """
    return dict(_arrays(path, _root(path), ""))


def open_dataset(path: str, group: str, **options: Any) -> xarray.Dataset:
    """Returns the arrays of a group as xarray opens those of other formats.

    Args:
        path: The store.
        group: Path of the group; empty for the root.
        options: Options of `xarray.decode_cf`.

    Raises:
        BadSource: If the group or an array cannot be opened.
    """
    folder = _root(path) / group if group else _root(path)
    if not (folder / "zarr.json").exists() or _metadata(path, folder)["node_type"] == "array":
        raise BadSource(path, f"group {group} is missing; the store has {listed(open_arrays(path))}")
    attributes = _metadata(path, folder).get("attributes", {})
    try:
        variables = {
            name: xarray.Variable(
                # A name of its own, because a dimension without a name has nothing to do with those of other arrays.
                [dim or f"{name}_{place}" for place, dim in enumerate(array.dimension_names or [None] * array.ndim)],
                # xarray reads text of any length at once, to find its type.
                array[()] if array.dtype.kind == "O" else indexing.LazilyIndexedArray(_LazyArray(array)),
                dict(array.attrs),
                {"chunks": array.chunks},
            )
            for name, array in _arrays(path, folder, "", deep=False)
        }
        return xarray.decode_cf(xarray.Dataset(variables, attrs=attributes), **options)
    except BadSource:
        raise
    except ValueError as error:
        raise BadSource(path, f"expected a group of arrays with the same dimensions, received: {error}") from error


def _root(path: str) -> Any:
    """Returns the folder of a store, or that in a ZIP file.

    Raises:
        BadSource: If it is not a ZIP file.
    """
    if not path.lower().endswith(".zip"):
        return pathlib.Path(path)
    try:
        return zipfile.Path(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadSource(path, f"expected a Zarr store in a ZIP file, received: {error}") from error


def _metadata(path: str, folder: Any) -> dict[str, Any]:
    try:
        found = json.loads((folder / "zarr.json").read_bytes())
    except _DAMAGED as error:
        raise BadSource(path, f"cannot read {folder / 'zarr.json'}: {error}") from error
    if not isinstance(found, dict) or found.get("zarr_format") != 3 or found.get("node_type") not in ("array", "group"):
        raise BadSource(path, f"{folder / 'zarr.json'}: expected a group or an array of Zarr format 3")
    return found


def _arrays(path: str, folder: Any, name: str, deep: bool = True) -> Iterator[tuple[str, Format3Array]]:
    """Yields path and array of a group, and of the groups in it."""
    metadata = _metadata(path, folder)
    if metadata["node_type"] == "array":
        yield name, _open_array(path, folder, name, metadata)
        return
    for inner in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if (inner / "zarr.json").exists() and (deep or _metadata(path, inner)["node_type"] == "array"):
            yield from _arrays(path, inner, f"{name}/{inner.name}" if name else inner.name, deep)


def _open_array(path: str, folder: Any, name: str, metadata: Mapping[str, Any]) -> Format3Array:
    place = f"{path}, {name}" if name else path
    try:
        dtype, values = _values(path, folder, place, metadata)
        chunks = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        codec = metadata["codecs"][0]
        if codec["name"] == "sharding_indexed":
            chunks = codec["configuration"]["chunk_shape"]
        attributes = dict(metadata.get("attributes", {}))
        if "_FillValue" in attributes:
            attributes["_FillValue"] = _fill_value(attributes["_FillValue"], dtype)
        names = metadata.get("dimension_names") or ()
        return Format3Array(place, tuple(metadata["shape"]), dtype, tuple(chunks), attributes, tuple(names), values)
    except _DAMAGED as error:
        raise BadSource(place, f"cannot open the array: {_cause(error)}; {_FIX}") from error


def _values(path: str, folder: Any, place: str, metadata: Mapping[str, Any]) -> tuple[np.dtype, Callable[[], Any]]:
    """Returns the dtype of an array, and what returns its values."""
    given = metadata["data_type"]
    if isinstance(given, str) and _NUMBERS.fullmatch(given):
        store: dict[str, Any] = {"driver": "file", "path": str(folder)}
        if path.lower().endswith(".zip"):
            store = {"driver": "zip", "base": {"driver": "file", "path": path}, "path": folder.at}
        array = tensorstore.open({"driver": "zarr3", "kvstore": store}, open=True, read=True).result()
        return array.dtype.numpy_dtype, lambda: array
    kind = given if isinstance(given, str) else given["name"]
    if kind == "string":
        dtype = np.dtype(object)
    elif kind == "fixed_length_utf32":
        dtype = np.dtype(f"U{given['configuration']['length_bytes'] // 4}")
    elif kind == "null_terminated_bytes":
        dtype = np.dtype(f"S{given['configuration']['length_bytes']}")
    elif kind == "numpy.datetime64":
        dtype = np.dtype(f"M8[{given['configuration']['scale_factor']}{given['configuration']['unit']}]")
    else:
        return np.dtype("V1"), functools.partial(_refuse, place, kind)
    return dtype, functools.partial(_decode, folder, metadata, dtype)


def _refuse(place: str, kind: str) -> Any:
    raise BadSource(place, f"expected numbers, text or dates, received the data type {kind}; {_FIX}")


def _decode(folder: Any, metadata: Mapping[str, Any], dtype: np.dtype) -> np.ndarray:
    """Reads an array of text or dates as a whole."""
    shape, chunks = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
    keys = metadata["chunk_key_encoding"]
    separator = keys.get("configuration", {}).get("separator", "/" if keys["name"] == "default" else ".")
    first, *packed = metadata["codecs"]
    if metadata["chunk_grid"]["name"] != "regular" or first["name"] != ("vlen-utf8" if dtype.kind == "O" else "bytes"):
        raise ValueError(f"{metadata['data_type']} in {first['name']} is not supported; {_FIX}")
    empty = metadata["fill_value"]
    values = np.full(shape, base64.b64decode(empty) if dtype.kind == "S" else empty, dtype)
    for place in itertools.product(*(range(-(-size // chunk)) for size, chunk in zip(shape, chunks, strict=True))):
        names = [str(number) for number in place]
        key = separator.join(["c", *names] if keys["name"] == "default" else names or ["0"])
        file = folder.joinpath(*key.split("/"))
        if not file.exists():
            continue
        data = functools.reduce(_unpack, reversed(packed), file.read_bytes())
        if dtype.kind == "O":
            chunk = numcodecs.VLenUTF8().decode(data)
        else:
            big = first.get("configuration", {}).get("endian") == "big"
            chunk = np.frombuffer(data, dtype.newbyteorder(">" if big else "<"))
        start = [number * size for number, size in zip(place, chunks, strict=True)]
        part = values[tuple(slice(at, at + size) for at, size in zip(start, chunks, strict=True))]
        part[...] = chunk.reshape(chunks)[tuple(slice(size) for size in part.shape)]
    return values


def _unpack(data: bytes, codec: Mapping[str, Any]) -> bytes:
    if codec["name"] == "crc32c":
        if google_crc32c.value(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise ValueError("the checksum of a chunk is wrong")
        return data[:-4]
    if codec["name"] not in ("blosc", "gzip", "zstd"):
        raise ValueError(f"the codec {codec['name']} is not supported for text and dates; {_FIX}")
    return bytes(numcodecs.get_codec({"id": codec["name"]}).decode(data))


def _fill_value(value: Any, dtype: np.dtype) -> Any:
    """Returns the attribute `_FillValue`; xarray writes a floating-point one as its eight bytes in base64."""
    if isinstance(value, str) and dtype.kind == "f":
        with contextlib.suppress(binascii.Error, struct.error):
            return struct.unpack("<d", base64.b64decode(value, validate=True))[0]
    return value


def _cause(error: Exception) -> str:
    """Returns the message of an error, without the places in tensorstore's own code."""
    return re.sub(r" \[(source locations|tensorstore_spec)=.*", "", str(error), flags=re.DOTALL)
