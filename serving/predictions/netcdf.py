"""Forecasts as CF NetCDF: in the unit of their values, at their valid times."""

import datetime
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from framecast.schemas.units import REFLECTIVITY
from framecast.serving.predictions.prediction import Prediction

_CONVENTIONS = "CF-1.8"
_EPOCH = "seconds since 1970-01-01 00:00:00"
_MICROSECONDS = 1_000_000
_MISSING = np.float32(np.nan)
# Units that only one quantity of the CF standard name table has.
_STANDARD_NAMES = {REFLECTIVITY: "equivalent_reflectivity_factor"}


def check_installed() -> None:
    """Raises ValueError when what writes NetCDF is not installed."""
    for package in ("netCDF4", "xarray"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"NetCDF: expected {package} to be installed, with the extra framecast[media]")


def write_netcdf(path: str | os.PathLike[str], answers: Sequence[Prediction], *, model: str) -> None:
    """Writes forecasts by the CF conventions, version 1.8.

    Variables, all float32 with NaN for no value: `forecast` `(clip, lead_time, y, x)`, with `channel` before `y` where
    there are several, and `observation` shaped as it where the truth is known. Coordinates: `lead_time` (forecast
    period in seconds), `forecast_reference_time` `(clip)` and `time` `(clip, lead_time)` in seconds since 1970,
    `example_id` and `media_id` `(clip)`.

    Args:
        path: File to write.
        answers: Forecasts of clips of one size, interval and unit.
        model: Name of the model.

    Raises:
        ValueError: When a clip differs from the first in what all must share; it is named.
    """
    import xarray as xr

    for answer in answers:
        _check_alike(answer, answers[0])
    forecasts = np.stack([answer.forecast_values() for answer in answers])
    fields = {"forecast": (forecasts, "forecast")}
    truths = [truth for truth in (answer.true_values() for answer in answers) if truth is not None]
    if len(truths) == len(answers):
        fields["observation"] = (np.stack(truths), "observation at the time of the forecast")
    # CF recommends that y and x come last.
    dimensions: tuple[str, ...] = ("clip", "lead_time", "channel", "y", "x")
    fields = {name: (np.moveaxis(values, -1, 2), text) for name, (values, text) in fields.items()}
    if forecasts.shape[-1] == 1:
        dimensions = ("clip", "lead_time", "y", "x")
        fields = {name: (values[:, :, 0], text) for name, (values, text) in fields.items()}
    attributes = _value_attributes(answers[0])
    dataset = xr.Dataset(
        {name: (dimensions, values, {"long_name": text, **attributes}) for name, (values, text) in fields.items()},
        coords=_coordinates(answers),
        attrs={
            "Conventions": _CONVENTIONS,
            "title": f"Forecasts of {model}",
            "history": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ} forecast by {model}",
            "source": f"framecast model {model}, version {_versions(answers)}",
            "model_name": model,
            "model_version": _versions(answers),
        },
    )
    # CF allows no missing coordinates, and xarray gives every float a fill value.
    encoding: dict[str, dict[str, Any]] = {str(name): {"_FillValue": None} for name in dataset.coords}
    for name in fields:
        encoding[name] = {"_FillValue": _MISSING, "dtype": "float32", "zlib": True, "complevel": 4}
    dataset.to_netcdf(path, engine="netcdf4", format="NETCDF4", encoding=encoding)


def _coordinates(answers: Sequence[Prediction]) -> dict[str, Any]:
    starts = np.array([answer.times[-1] for answer in answers])
    periods = np.array(answers[0].forecast_times) - starts[0]
    origin = "where a clip has no dates, its times count from an origin of its own"
    return {
        "lead_time": (
            "lead_time",
            periods / _MICROSECONDS,
            {"standard_name": "forecast_period", "long_name": "time since the last frame known", "units": "s"},
        ),
        "forecast_reference_time": (
            "clip",
            starts / _MICROSECONDS,
            {"standard_name": "forecast_reference_time", "units": _EPOCH, "calendar": "standard", "comment": origin},
        ),
        "time": (
            ("clip", "lead_time"),
            (starts[:, None] + periods) / _MICROSECONDS,
            {"standard_name": "time", "units": _EPOCH, "calendar": "standard", "comment": origin},
        ),
        "example_id": (
            "clip",
            np.array([answer.name for answer in answers], object),
            {"long_name": "name of the clip"},
        ),
        "media_id": (
            "clip",
            np.array([answer.media_id for answer in answers], object),
            {"long_name": "recording that the clip was cut from"},
        ),
    }


def _value_attributes(answer: Prediction) -> dict[str, str]:
    if answer.value is None:
        return {"units": "1"}
    unit = answer.value.unit
    return {"units": unit, **({"standard_name": _STANDARD_NAMES[unit]} if unit in _STANDARD_NAMES else {})}


def _versions(answers: Sequence[Prediction]) -> str:
    return ", ".join(map(str, sorted({answer.version for answer in answers})))


def alike(answers: Sequence[Prediction]) -> list[list[Prediction]]:
    """Returns the answers in groups of which each fits into one file."""
    groups: list[list[Prediction]] = []
    for answer in answers:
        for group in groups:
            if _difference(answer, group[0]) is None:
                group.append(answer)
                break
        else:
            groups.append([answer])
    return groups


def _check_alike(answer: Prediction, first: Prediction) -> None:
    """Raises ValueError when two clips do not fit the same dimensions."""
    if (difference := _difference(answer, first)) is not None:
        expected, received = difference
        raise ValueError(
            f"clip {answer.name}: expected {expected}, as clip {first.name} has, since one NetCDF file has one, "
            f"received {received}"
        )


def _difference(answer: Prediction, first: Prediction) -> tuple[str, str] | None:
    shape, expected = answer.outputs["forecast"].shape, first.outputs["forecast"].shape
    unit, expected_unit = _value_attributes(answer)["units"], _value_attributes(first)["units"]
    if shape != expected:
        return f"a forecast (lead time, height, width, channel) {expected}", f"{shape}"
    if unit != expected_unit:
        return f"the unit {expected_unit}", unit
    if abs(answer.interval - first.interval) > 1:  # Microsecond: what times as integers are rounded by.
        return f"an interval of {first.interval / 1e6:g} s", f"{answer.interval / 1e6:g} s"
    return None
