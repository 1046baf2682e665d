"""Assigns the axes of a TIFF series to recordings, frames and channels."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

_CHANNELS = "CS"
_SEQUENCE = "IQ"  # Pages in order, and an axis without a name.
_LETTER = {"Y": "H", "X": "W", "S": "C"}


@dataclasses.dataclass(frozen=True)
class Planes:
    """The planes of each frame.

    Args:
        numbers: Number of the plane by recording, frame and channel.
        timed: Whether an axis is time. If not, there is one frame.
        correlated: Whether the recordings are slices of one volume.
        described: The axes and their sizes, for messages.
    """

    numbers: np.ndarray
    timed: bool
    correlated: bool
    described: str


def arrange(
    axes: str, shape: Sequence[int], plane_axes: str, asked: str | None = None, select: Sequence[str] = ()
) -> Planes:
    """Arranges the planes of a series.

    Args:
        axes: Axes of the series, as tifffile names them.
        shape: Its shape.
        plane_axes: Axes of one plane.
        asked: One letter (`N`, `T`, `H`, `W` or `C`) per axis of more than one that is not selected; by default the
            file's.
        select: Index of an axis, such as `Z=3`.

    Raises:
        ValueError: If an axis is unknown, or `asked` or `select` does not fit.
    """
    outer = len(axes) - len(plane_axes)
    if outer < 0 or plane_axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"expected planes of YX, YXS or SYX, received {plane_axes} in {axes}")
    sizes = [(letter, size) for letter, size in zip(axes[:outer], shape[:outer], strict=True) if size > 1]
    inner = [(letter, size) for letter, size in zip(plane_axes, shape[outer:], strict=True)]
    described = " ".join(f"{letter}={size}" for letter, size in [*sizes, *inner])
    numbers = np.arange(math.prod(size for _, size in sizes)).reshape([size for _, size in sizes])
    for pair in select:
        numbers, sizes = _selected(numbers, sizes, pair, described)
    roles = _default(sizes, inner, described) if asked is None else _asked(asked, sizes, inner, described)
    order = [at for role in "NTC" for at, letter in enumerate(roles) if letter == role]
    lengths = [
        math.prod(size for (_, size), letter in zip(sizes, roles, strict=True) if letter == role) for role in "NTC"
    ]
    correlated = any(letter == "Z" for (letter, _), role in zip(sizes, roles, strict=True) if role == "N")
    return Planes(numbers.transpose(order).reshape(lengths), "T" in roles, correlated, described)


def _selected(
    numbers: np.ndarray, sizes: list[tuple[str, int]], pair: str, described: str
) -> tuple[np.ndarray, list[tuple[str, int]]]:
    letter, _, index = pair.partition("=")
    at = [known for known, _ in sizes].index(letter) if letter in dict(sizes) else None
    if at is None or not index.isdigit() or int(index) >= sizes[at][1]:
        raise ValueError(f"expected --select with an axis of {described} and an index from 0, received {pair}")
    return numbers.take(int(index), axis=at), [*sizes[:at], *sizes[at + 1 :]]


def _default(sizes: list[tuple[str, int]], inner: list[tuple[str, int]], described: str) -> list[str]:
    letters = [letter for letter, _ in sizes]
    timed = "T" in letters
    roles = []
    for letter in letters:
        sequence = letter in _SEQUENCE and not timed and sum(each in _SEQUENCE for each in letters) == 1
        role = "T" if letter == "T" or sequence else "C" if letter in _CHANNELS else None
        if role is None:
            example = _example(letters, inner)
            raise ValueError(
                f"the meaning of axis {letter} is unknown in {described}; set --axes with one of N (recordings), "
                f"T, C, H and W for each, such as {example}, or --select {letter}=0"
            )
        roles.append(role)
    return roles


def _example(letters: list[str], inner: list[tuple[str, int]]) -> str:
    known = ["C" if letter in _CHANNELS else letter if letter == "T" else "?" for letter in letters]
    if "T" not in known:
        known[known.index("?")] = "T"
    if "C" not in known and "?" in known and len(inner) == 2:
        known[known.index("?")] = "C"
    known = ["N" if letter == "?" else letter for letter in known]
    return "".join(known) + "".join(_LETTER[letter] for letter, _ in inner)


def _asked(asked: str, sizes: list[tuple[str, int]], inner: list[tuple[str, int]], described: str) -> list[str]:
    roles, rest = list(asked[: len(sizes)]), asked[len(sizes) :]
    if rest != "".join(_LETTER[letter] for letter, _ in inner) or not set(roles) <= set("NTC"):
        raise ValueError(f"expected --axes with a letter for each of {described}, received {asked}")
    return roles
