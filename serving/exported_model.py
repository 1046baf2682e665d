"""Finds an exported model and reads the contract on its card.

model = find_model("work/serving/radar")
model.version, model.clip, model.task
"""

import dataclasses
import json
import os
from typing import Any

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import registry
from framecast.models.spec import parse_task
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec
from framecast.serving import versions


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """An exported model and its contract.

    Args:
        folder: Folder of the SavedModel.
        clip: The clip contract, with the intervals between frames that the model was trained on.
        task: The task it was trained for, a `framecast.models.spec.TaskSpec`.
        events: The events that its `evaluate` signature counts; None for none.
        contract: The contract as stored on the card: clip, task, events, summed outputs and slicing features. Two
            models are comparable if their contracts match.
        frame_rate: Frames per second; None if unknown.
    """

    folder: str
    clip: ClipSpec
    task: Any
    events: EventsSpec | None
    contract: dict[str, Any]
    frame_rate: float | None

    @property
    def horizon(self) -> int:
        """Number of lead times of a forecast; 0 for other tasks."""
        return self.task.horizon

    @property
    def min_served_frames(self) -> int:
        """Fewest frames of a clip that the model accepts."""
        return self.task.min_served_frames

    @property
    def version(self) -> int:
        """Version number; 0 if the folder's name is no number."""
        number = os.path.basename(os.path.normpath(self.folder))
        return int(number) if number.isdigit() else 0

    @property
    def name(self) -> str:
        """Name of the folder of versions; of the model's folder if it is not in one."""
        parent, name = os.path.split(os.path.normpath(self.folder))
        return os.path.basename(parent) if self.version else name


def find_model(path: str) -> ExportedModel:
    """Finds a model and reads its card.

    Args:
        path: Folder of an exported model, or a folder of numbered versions for the newest complete one.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If the card has no contract, or the model was exported by an incompatible Framecast version, which
            sums other outputs or slices by other features.
    """
    folder = path
    if not versions.is_model(path):
        version = versions.newest(path)
        if version is None:
            raise FileNotFoundError(f"{path}: expected an exported model or a folder of versions, received none")
        folder = versions.path(path, version)
    card = versions.read_card(folder)
    card_path = os.path.join(folder, versions.CARD)
    if "contract" not in card:
        raise ValueError(f"{card_path}: expected the contract of a model exported by Framecast, received none")
    contract = json.loads(card["contract"])
    clip = ClipSpec.model_validate({**contract["clip"], "intervals": versions.intervals(card)})
    task = parse_task(contract["task"])
    events = EventsSpec.model_validate(contract["events"]) if contract["events"] else None
    for key, expected in (("outputs", registry.outputs_of(task.kind, events)), ("slices", features.SLICES)):
        received = contract.get(key, [])
        if received != list(expected):
            differing = ", ".join(sorted(set(expected) ^ set(received))) or "their order"
            raise ValueError(
                f"{card_path}: exported by an incompatible Framecast version; export it again ({key} differ in "
                f"{differing})"
            )
    return ExportedModel(folder, clip, task, events, contract, card.get("frame_rate"))
