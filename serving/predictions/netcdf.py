"""Writes forecasts as CF NetCDF, in physical units and at their valid times."""

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
# CF standard names of units that belong to one quantity only.
_STANDARD_NAMES = {REFLECTIVITY: "equivalent_reflectivity_factor"}


def check_installed() -> None:
    """Raises ValueError if a package that NetCDF needs is not installed."""
    for package in ("netCDF4", "xarray"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"NetCDF: expected {package} to be installed; install the extra framecast[media]")


def write_netcdf(path: str | os.PathLike[str], predictions: Sequence[Prediction], *, model: str) -> None:
    """Writes forecasts by the CF conventions, version 1.8.

    Variables, float32 with NaN for missing values: `forecast` `(clip, lead_time, y, x)`, with a `channel` axis before
    `y` for several channels, and `observation` with the same shape if the truth is known. Coordinates: `lead_time`
    (forecast period in seconds), `forecast_reference_time` `(clip)` and `time` `(clip, lead_time)` in seconds since
    1970, `example_id` and `media_id` `(clip)`.

    Args:
        path: File to write.
        predictions: Forecasts with the same size, interval and unit.
        model: Name of the model.

    Raises:
        ValueError: If the size, interval or unit of a clip differs from that of the first clip.
    """
    import xarray as xr

    for prediction in predictions:
        _check_same(prediction, predictions[0])
    forecasts = np.stack([prediction.forecast_values() for prediction in predictions])
    fields = {"forecast": (forecasts, "forecast")}
    truths = [truth for truth in (prediction.true_values() for prediction in predictions) if truth is not None]
    if len(truths) == len(predictions):
        fields["observation"] = (np.stack(truths), "observation at the time of the forecast")
    # CF recommends y and x as the last axes.
    dimensions: tuple[str, ...] = ("clip", "lead_time", "channel", "y", "x")
    fields = {name: (np.moveaxis(values, -1, 2), text) for name, (values, text) in fields.items()}
    if forecasts.shape[-1] == 1:
        dimensions = ("clip", "lead_time", "y", "x")
        fields = {name: (values[:, :, 0], text) for name, (values, text) in fields.items()}
    attributes = _value_attributes(predictions[0])
    dataset = xr.Dataset(
        {name: (dimensions, values, {"long_name": text, **attributes}) for name, (values, text) in fields.items()},
        coords=_coordinates(predictions),
        attrs={
            "Conventions": _CONVENTIONS,
            "title": f"Forecasts of {model}",
            "history": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ} forecast by {model}",
            "source": f"framecast model {model}, version {_versions(predictions)}",
            "model_name": model,
            "model_version": _versions(predictions),
        },
    )
    # CF forbids fill values in coordinates, which xarray sets for every float.
    encoding: dict[str, dict[str, Any]] = {str(name): {"_FillValue": None} for name in dataset.coords}
    for name in fields:
        encoding[name] = {"_FillValue": _MISSING, "dtype": "float32", "zlib": True, "complevel": 4}
    dataset.to_netcdf(path, engine="netcdf4", format="NETCDF4", encoding=encoding)


def _coordinates(predictions: Sequence[Prediction]) -> dict[str, Any]:
    starts = np.array([prediction.times[-1] for prediction in predictions])
    periods = np.array(predictions[0].forecast_times) - starts[0]
    origin = "times of clips without dates have an arbitrary origin"
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
            np.array([prediction.name for prediction in predictions], object),
            {"long_name": "name of the clip"},
        ),
        "media_id": (
            "clip",
            np.array([prediction.media_id for prediction in predictions], object),
            {"long_name": "recording that contains the clip"},
        ),
    }


def _value_attributes(prediction: Prediction) -> dict[str, str]:
    if prediction.value is None:
        return {"units": "1"}
    unit = prediction.value.unit
    return {"units": unit, **({"standard_name": _STANDARD_NAMES[unit]} if unit in _STANDARD_NAMES else {})}


def _versions(predictions: Sequence[Prediction]) -> str:
    return ", ".join(map(str, sorted({prediction.version for prediction in predictions})))


def group_by_shape(predictions: Sequence[Prediction]) -> list[list[Prediction]]:
    """Groups forecasts by size, interval and unit: one NetCDF file has one of each."""
    groups: list[list[Prediction]] = []
    for prediction in predictions:
        for group in groups:
            if _difference(prediction, group[0]) is None:
                group.append(prediction)
                break
        else:
            groups.append([prediction])
    return groups


def _check_same(prediction: Prediction, first: Prediction) -> None:
    """Raises ValueError if two clips do not fit in one file."""
    if (difference := _difference(prediction, first)) is not None:
        expected, received = difference
        raise ValueError(
            f"clip {prediction.name}: expected {expected} as in clip {first.name}, because one NetCDF file has one, "
            f"received {received}"
        )


def _difference(prediction: Prediction, first: Prediction) -> tuple[str, str] | None:
    shape, expected = prediction.outputs["forecast"].shape, first.outputs["forecast"].shape
    unit, expected_unit = _value_attributes(prediction)["units"], _value_attributes(first)["units"]
    if shape != expected:
        return f"a forecast (lead time, height, width, channel) {expected}", f"{shape}"
    if unit != expected_unit:
        return f"the unit {expected_unit}", unit
    if abs(prediction.interval - first.interval) > 1:  # Microsecond: integer timestamps are rounded.
        return f"an interval of {first.interval / 1e6:g} s", f"{prediction.interval / 1e6:g} s"
    return None
