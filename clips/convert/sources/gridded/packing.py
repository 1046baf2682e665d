"""Reads scale, offset, unit and values for no data from attributes: CF and NUG, ODIM_H5, KNMI's HDF5.

https://docs.unidata.ucar.edu/nug/current/attribute_conventions.html
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from framecast.clips.convert.sources.source import BadSource, ValueEncoding, ValueLimits

Attributes = Mapping[str, Any]

_SCALE = ("scale_factor", "gain", "slope")
_OFFSET = ("add_offset", "offset", "intercept")
_FILL = ("_fillvalue", "missing_value", "fillvalue", "fill_value", "codemissingvalue", "nodata", "no_data")
_VALID = ("valid_range", "valid_min", "valid_max")
_UNDETECT = ("undetect",)
_UNIT = ("units", "unit")
# Units of ODIM_H5's quantities.
_ODIM_UNITS = {
    **dict.fromkeys(("TH", "TV", "DBZH", "DBZV", "UDBZH", "UDBZV"), "dBZ"),
    "ZDR": "dB", "RATE": "mm/h", "ACRR": "mm", "VRAD": "m/s", "VRADH": "m/s", "VRADV": "m/s", "WRAD": "m/s",
    "KDP": "degree/km", "PHIDP": "degree", "HGHT": "km", "HGHTDEV": "km", "SNR": "dB", "VIL": "kg/m2",
}  # fmt: skip
_KNMI_UNITS = {"DBZ": "dBZ", "MM": "mm", "MM/H": "mm/h"}
_FORMULA = re.compile(r"\s*GEO\s*=\s*([-+.\dE]+)\s*\*\s*PV\s*(?:\+?\s*([-+.\dE]+))?\s*", re.IGNORECASE)


def text_of(value: Any) -> str:
    """Returns an attribute of text, without padding; empty if it is missing."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else None
    if value is None or not isinstance(value, bytes | str):
        return ""
    return (value.decode(errors="replace") if isinstance(value, bytes) else value).strip("\0 ")


def read_encoding(
    scopes: Sequence[Attributes], stored: np.dtype, place: str
) -> tuple[ValueEncoding, ValueLimits, np.dtype]:
    """Reads how values are stored.

    Args:
        scopes: Attributes of the variable, then of the groups that describe it, nearest first. The first with an
            attribute has precedence.
        stored: Dtype of the file's values.
        place: File and variable, for messages.

    Returns:
        The encoding, which values are measurements, and the dtype that the values must be viewed as (`_Unsigned`).

    Raises:
        BadSource: If an attribute is no number, or has several different ones.
    """
    lower = [{name.lower(): value for name, value in scope.items()} for scope in scopes]
    view = _view(_first(lower, ("_unsigned",)), stored)
    scale_value, offset_value = _first(lower, _SCALE), _first(lower, _OFFSET)
    scale, offset = _one(scale_value, "scale", place, 1.0), _one(offset_value, "offset", place, 0.0)
    if not scale or not math.isfinite(scale) or not math.isfinite(offset):
        raise BadSource(place, f"expected a scale other than 0, received scale {scale:g} and offset {offset:g}")
    unpacked = [np.asarray(value).dtype for value in (scale_value, offset_value) if value is not None]

    def stored_values(pairs: Iterable[tuple[float, np.dtype]]) -> set[float]:
        found = set()
        for value, given in pairs:
            packed = _stored(value, given, stored, view)
            # Some writers give the unpacked value. One that an integer cannot hold does not occur.
            for candidate in (packed, round((value - offset) / scale, 3)) if math.isfinite(value) else (packed,):
                if view.kind == "f" or (
                    candidate.is_integer() and np.iinfo(view).min <= candidate <= np.iinfo(view).max
                ):
                    found.add(candidate)
                    break
        return found

    fill = stored_values(
        pair
        for scope in lower[: 1 + _depth(lower, _FILL)]
        for name in _FILL
        for pair in _numbers(scope.get(name), name, place)
    )
    undetect = stored_values(_numbers(_first(lower, _UNDETECT), "undetect", place))
    finite = sorted(value for value in fill if not math.isnan(value))
    encoding = ValueEncoding(
        scale=scale,
        offset=offset,
        unit=text_of(_first(lower, _UNIT)) or None,
        # One NaN object, so that the encodings of two files compare equal.
        fill=(*finite, *([math.nan] if len(finite) < len(fill) and view.kind == "f" else [])),
    )
    valid = _valid(lower, view, stored, unpacked, scale, offset, place)
    return encoding, ValueLimits(valid, tuple(sorted(undetect - fill))), view


def odim_scope(groups: Sequence[Attributes]) -> Attributes:
    """Returns the attributes of ODIM_H5's `what` groups under CF's names.

    Args:
        groups: Attributes of the `what` groups, nearest first; a nearer one has precedence.
    """
    merged = {name: value for group in reversed(groups) for name, value in group.items()}
    scope = {name: merged[name] for name in ("gain", "offset", "nodata", "undetect") if name in merged}
    unit = _ODIM_UNITS.get(text_of(merged.get("quantity")).upper())
    return scope | ({"units": unit} if unit else {})


def knmi_scope(image: Attributes, calibration: Attributes, place: str) -> Attributes:
    """Returns the attributes of an image of KNMI and of its `calibration` group under CF's names.

    Raises:
        BadSource: If the calibration formula is not linear.
    """
    scope: dict[str, Any] = {}
    formula = text_of(calibration.get("calibration_formulas"))
    if formula:
        found = _FORMULA.fullmatch(formula)
        if found is None:
            raise BadSource(place, f"expected a formula GEO = a * PV + b, received {formula!r}; set --scale, --offset")
        scope |= {"gain": float(found[1]), "offset": float(found[2] or 0)}
    names = ("calibration_out_of_image", "calibration_missing_data")
    values = [value for name in names for value, _ in _numbers(calibration.get(name), name, place)]
    # Products whose "missing" pixel is 0 use it wherever the radar sees no rain.
    scope |= {"_FillValue": [value for value in values if value], "undetect": [value for value in values if not value]}
    unit = re.search(r"\[(.+)\]", text_of(image.get("image_geo_parameter")))
    return scope | ({"units": _KNMI_UNITS.get(unit[1].upper(), unit[1])} if unit else {})


def _first(scopes: Sequence[Attributes], names: Sequence[str]) -> Any:
    return next((scope[name] for scope in scopes for name in names if name in scope), None)


def _depth(scopes: Sequence[Attributes], names: Sequence[str]) -> int:
    """Returns the index of the first scope with one of the attributes."""
    return next((index for index, scope in enumerate(scopes) if any(name in scope for name in names)), 0)


def _numbers(value: Any, name: str, place: str) -> Iterator[tuple[float, np.dtype]]:
    """Yields the numbers of an attribute with its dtype; text is parsed."""
    if value is None:
        return
    array = np.asarray(value).reshape(-1)
    for item in array:
        try:
            yield float(item), array.dtype
        except (TypeError, ValueError) as error:
            raise BadSource(place, f"attribute {name}: expected a number, received {str(item)!r}") from error


def _one(value: Any, name: str, place: str, default: float) -> float:
    numbers = [number for number, _ in _numbers(value, name, place)]
    if len(set(numbers)) > 1:
        received = ", ".join(f"{number:g}" for number in numbers[:4])
        raise BadSource(place, f"attribute {name}: expected one number, received {received}; set --{name}")
    return numbers[0] if numbers else default


def _view(unsigned: Any, stored: np.dtype) -> np.dtype:
    text = text_of(unsigned).lower()
    if stored.kind == "i" and text == "true":
        return np.dtype(stored.str.replace("i", "u"))
    if stored.kind == "u" and text == "false":
        return np.dtype(stored.str.replace("u", "i"))
    return stored


def _stored(value: float, given: np.dtype, stored: np.dtype, view: np.dtype) -> float:
    """Returns a value of an attribute as the viewed dtype holds it."""
    if view != stored and given.kind in "iu":
        bits = 2.0 ** (8 * stored.itemsize)
        return value + bits if view.kind == "u" and value < 0 else value - bits if value > np.iinfo(view).max else value
    if view.kind == "f" and math.isfinite(value):
        with np.errstate(over="ignore"):
            return float(view.type(value))  # -9999.9 as float32, for values of float32.
    return value


def _valid(
    scopes: Sequence[Attributes],
    view: np.dtype,
    stored: np.dtype,
    unpacked: Sequence[np.dtype],
    scale: float,
    offset: float,
    place: str,
) -> tuple[float, float]:
    """Returns the valid range of stored values.

    NUG: an attribute of the unpacked type, if this is wider than the stored one, is in unpacked units.
    """
    bounds: list[tuple[float, np.dtype] | None] = [None, None]
    both = list(_numbers(_first(scopes, _VALID[:1]), _VALID[0], place))
    if both:
        if len(both) != 2:
            raise BadSource(place, f"attribute valid_range: expected two numbers, received {len(both)}")
        bounds = [both[0], both[1]]
    else:
        for index, name in enumerate(_VALID[1:]):
            bounds[index] = next(_numbers(_first(scopes, (name,)), name, place), None)
    limits = [-math.inf, math.inf]
    physical = False
    for index, bound in enumerate(bounds):
        if bound is None or math.isnan(bound[0]):
            continue
        value, given = bound
        wider = view.kind in "iu" or given.itemsize > view.itemsize
        physical = given.kind == "f" and given in unpacked and wider
        limits[index] = (value - offset) / scale if physical else _stored(value, given, stored, view)
    if physical:
        limits.sort()
        # A bound between two stored values excludes neither by rounding.
        return limits[0] - 1e-3, limits[1] + 1e-3
    return limits[0], limits[1]
