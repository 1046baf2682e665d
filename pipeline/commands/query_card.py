"""Reads model cards (`assets.extra/framecast.json`) by version, for `framecast query --card`."""

import json
import os
from typing import Any

import pydantic

from framecast.clips.filesystem import open_path
from framecast.schemas.clip_spec import DType, PixelValue
from framecast.schemas.section import Section
from framecast.serving import versions


class ModelCard(Section):
    """The fields of a model card that a query needs; see `framecast.models.export.module.save`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")

    channels: int
    dtype: DType
    forecast_channels: tuple[int, ...] | None = None
    missing: float | None = None
    value: PixelValue | None = None
    frame_rate: float | None = None
    intervals: tuple[float, ...] = ()


class ModelCards:
    """Reads model cards by version.

    Args:
        path: A `framecast.json`, the folder of a version, or a folder of versions.
    """

    def __init__(self, path: str):
        self._path = path
        self._found: dict[int, ModelCard] = {}

    def of(self, version: int) -> ModelCard:
        """Returns the card of a version; always the same card if the path names one card.

        Raises:
            ValueError: If the card is missing or invalid.
        """
        if version not in self._found:
            self._found[version] = self._card(version)
        return self._found[version]

    def _card(self, version: int) -> ModelCard:
        try:
            found = self._read(version)
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"{self._path}: expected a framecast.json, received: {error}") from error
        if not found:
            tried = os.path.join(versions.path(self._path, version), versions.CARD)
            raise ValueError(
                f"{self._path}: expected a framecast.json, the folder of a version with {versions.CARD}, or a folder "
                f"of versions; {tried} does not exist"
            )
        try:
            return ModelCard.model_validate(found)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise ValueError(
                f"{self._path}: expected the card of a model exported by Framecast, received {problem}"
            ) from error

    def _read(self, version: int) -> dict[str, Any]:
        if self._path.endswith(".json"):
            with open_path(self._path, "rb") as file:
                return json.loads(file.read())
        return versions.read_card(self._path) or versions.read_card(versions.path(self._path, version))
