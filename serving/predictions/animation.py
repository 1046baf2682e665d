"""Draws an animated GIF of forecast, truth and persistence (or error) side by side.

write_gif("forecast.gif", [AnimationRow(context=context, truth=truth, forecast=forecast)])
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import IO, Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from framecast.clips.palette import DBZ_COLOURS, error_colours, frame_colours, unit_range
from framecast.schemas.clip_spec import PixelValue

_PANEL = 192  # Smallest height and width of a panel in pixels; smaller frames are enlarged by a whole factor.
_BORDER = 4
_GAP = 12
_LINE = 20  # Height of a line of text in pixels.
_BACKGROUND = (24, 24, 28)
_TEXT = (235, 235, 235)
_MUTED = (130, 130, 138)
_CONTEXT_COLOUR = (90, 90, 98)
_TRUTH_COLOUR = (80, 200, 120)
_FORECAST_COLOUR = (255, 160, 30)
_PERSISTENCE_COLOUR = (90, 160, 255)
_ERROR_COLOUR = (200, 200, 210)
_LAST_FRAME_MS = 1200


@dataclasses.dataclass(frozen=True)
class AnimationRow:
    """A clip and its forecast, drawn as one row of panels.

    Args:
        context: `(time, height, width, channel)`, uint8, uint16 or float32 in [0, 1]. Of clips with two or more than
            three channels the first channel is drawn.
        forecast: `(horizon, height, width, channel)` float32 in [0, 1].
        truth: True frames, with the shape of `forecast` and the dtype of `context`; None if unknown.
        label: Text above the row.
    """

    context: np.ndarray
    forecast: np.ndarray
    truth: np.ndarray | None = None
    label: str = ""


def write_gif(
    path: str | os.PathLike[str] | IO[bytes],
    rows: Sequence[AnimationRow],
    *,
    third: Literal["persistence", "error"] = "persistence",
    value: PixelValue | None = None,
    missing: float | None = None,
    interval: float | None = None,
    frame_ms: int = 250,
) -> None:
    """Writes the context frames and then the forecast, in three panels: truth, forecast, persistence or error.

    During the context, all panels except the error panel show it with grey borders; from the first forecast frame on,
    each panel has the colour of its title. Rows with shorter contexts start later, so that all forecasts start
    together.

    Args:
        path: File to write.
        rows: Clips, all with the same horizon.
        third: Content of the third panel: the last context frame (persistence), or forecast minus truth, blue where
            the forecast is too low and orange where it is too high, saturated at half of the pixel range.
        value: Physical value of a pixel in the clips' dtype. Frames in dBZ get radar colours and a scale, others are
            grey.
        missing: Pixel value reserved for "no data", drawn in a separate colour.
        interval: Minutes between frames, for lead times in minutes; None for lead times in frames.
        frame_ms: Duration of a frame in milliseconds.

    Raises:
        ValueError: If there is no row, or shapes do not match.
    """
    if not rows:
        raise ValueError("expected at least one row, received none")
    horizon = len(rows[0].forecast)
    for number, row in enumerate(rows):
        _check(number, row, horizon)
    longest = max(len(row.context) for row in rows)
    layout = _Layout(rows, value if value is not None and value.unit == "dBZ" else None, missing, third)
    images = []
    for step in range(-longest, horizon):
        lead = step + 1
        title = f"forecast  +{lead}" if lead > 0 else f"context  {lead}"
        if interval is not None:
            title += f"  ({lead * interval:+g} min)" if lead else "  (now)"
        images.append(layout.draw(rows, step, title))
    durations = [frame_ms] * (len(images) - 1) + [_LAST_FRAME_MS]
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)


class _Layout:
    """Computes the positions of panels and text, the same for all frames of the animation."""

    def __init__(self, rows: Sequence[AnimationRow], radar: PixelValue | None, missing: float | None, third: str):
        self._third = third
        self._radar = radar
        self._missing = missing
        self._scales = [max(1, -(-_PANEL // min(row.context.shape[1:3]))) for row in rows]
        shapes = [
            tuple(scale * size for size in row.context.shape[1:3])
            for scale, row in zip(self._scales, rows, strict=True)
        ]
        self._column = max(width for _, width in shapes) + 2 * _BORDER + _GAP
        self._tops = []
        top = 2 * _LINE + _GAP
        for row, (height, _) in zip(rows, shapes, strict=True):
            top += _LINE if row.label else 0
            self._tops.append(top)
            top += height + 2 * _BORDER + _GAP
        self._bottom = top
        self._size = (_GAP + 3 * self._column, top + (2 * _LINE if radar else 0))

    def draw(self, rows: Sequence[AnimationRow], step: int, title: str) -> Image.Image:
        """Draws one picture.

        Args:
            rows: Clips.
            step: Index of the forecast frame; negative for a context frame, counted from the end of the context.
            title: Text at the top.
        """
        image = Image.new("RGB", self._size, _BACKGROUND)
        pen = ImageDraw.Draw(image)
        forecasting = step >= 0
        pen.text((_GAP, _GAP // 2), title, _FORECAST_COLOUR if forecasting else _TEXT, ImageFont.load_default(16))
        font = ImageFont.load_default(13)
        names = ("truth" if forecasting else "context", "forecast", self._third)
        last = _ERROR_COLOUR if self._third == "error" else _PERSISTENCE_COLOUR
        colours = (_TRUTH_COLOUR, _FORECAST_COLOUR, last)
        for column, (name, colour) in enumerate(zip(names, colours, strict=True)):
            shown = colour if forecasting else _TEXT if column == 0 else _MUTED
            pen.text((_GAP + column * self._column, _LINE + _GAP // 2), name, shown, font)
        for row, scale, top in zip(rows, self._scales, self._tops, strict=True):
            if row.label:
                pen.text((_GAP, top - _LINE), row.label, _TEXT, font)
            for column, frame in enumerate(_panels(row, step, self._third)):
                height, width = (scale * size + 2 * _BORDER for size in row.context.shape[1:3])
                left = _GAP + column * self._column
                border = colours[column] if forecasting else _CONTEXT_COLOUR
                pen.rectangle((left, top, left + width - 1, top + height - 1), _BACKGROUND, border, _BORDER)
                if frame is None:
                    if forecasting:
                        pen.text((left + 3 * _BORDER, top + 3 * _BORDER), "not known", _MUTED, font)
                    continue
                if forecasting and column == 2 and self._third == "error":
                    assert row.truth is not None  # Otherwise the frame is None.
                    colours_of = error_colours(frame, row.truth[step], self._missing)
                else:
                    missing = None if forecasting and column == 1 else self._missing
                    colours_of = frame_colours(frame, row.context.dtype, self._radar, missing)
                picture = Image.fromarray(colours_of)
                picture = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)
                image.paste(picture, (left + _BORDER, top + _BORDER))
        if self._radar:
            self._draw_scale(pen, font)
        return image

    def _draw_scale(self, pen: ImageDraw.ImageDraw, font: Any) -> None:
        swatch = min(32, (self._size[0] - 2 * _GAP - 40) // len(DBZ_COLOURS))
        for number, (start, colour) in enumerate(DBZ_COLOURS[1:]):
            left = _GAP + number * swatch
            pen.rectangle((left, self._bottom, left + swatch - 1, self._bottom + _LINE // 2), colour)
            pen.text((left, self._bottom + _LINE // 2 + 1), f"{start}", _MUTED, font)
        end = _GAP + (len(DBZ_COLOURS) - 1) * swatch + 4
        pen.text((end, self._bottom + _LINE // 2 + 1), "dBZ", _MUTED, font)


def _check(number: int, row: AnimationRow, horizon: int) -> None:
    if row.context.ndim != 4 or len(row.context) == 0:
        raise ValueError(
            f"row {number}, context: expected (time, height, width, channel) with a frame, received {row.context.shape}"
        )
    expected = (horizon, *row.context.shape[1:])
    for name, frames in (("forecast", row.forecast), ("truth", row.truth)):
        if frames is not None and frames.shape != expected:
            raise ValueError(f"row {number}, {name}: expected shape {expected}, received {frames.shape}")


def _panels(row: AnimationRow, step: int, third: str) -> tuple[np.ndarray | None, ...]:
    """Returns the frames of the three panels; None for an empty panel."""
    if step >= 0:
        truth = None if row.truth is None else row.truth[step]
        error = None if truth is None else row.forecast[step] - unit_range(truth)
        return truth, row.forecast[step], error if third == "error" else row.context[-1]
    frame = row.context[step] if -step <= len(row.context) else None
    return frame, frame, None if third == "error" else frame
