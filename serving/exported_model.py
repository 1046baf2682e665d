"""An exported model found again: its folder, and the contract that its card says it was made under.

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
class Exported:
    """An exported model.

    Args:
        folder: Of the SavedModel.
        clip: The clip contract.
        task: What it was trained for (`framecast.models.spec.TaskSpec`).
        events: The events that its `evaluate` signature counts.
        contract: What two models must share to be compared, these three and what is summed, as the card has it.
        frame_rate: Frames a second; None when unknown.
    """

    folder: str
    clip: ClipSpec
    task: Any
    events: EventsSpec | None
    contract: dict[str, Any]
    frame_rate: float | None

    @property
    def horizon(self) -> int:
        """Lead times of a forecast; 0 for another task."""
        return getattr(self.task, "horizon", 0)

    @property
    def shortest(self) -> int:
        """Fewest frames of a clip that it answers about."""
        return self.task.context.min if self.task.kind == "forecast" else self.task.min_frames

    @property
    def version(self) -> int:
        """Number of the version; 0 for a model that is in no folder of versions."""
        number = os.path.basename(os.path.normpath(self.folder))
        return int(number) if number.isdigit() else 0

    @property
    def name(self) -> str:
        """What it is called: the folder of versions, or else its own."""
        parent, own = os.path.split(os.path.normpath(self.folder))
        return os.path.basename(parent) if self.version else own


def find_model(path: str) -> Exported:
    """Finds a model and reads its card.

    Args:
        path: An exported model, such as one version of it, or a folder of numbered versions, of which the newest
            complete one is taken.

    Raises:
        FileNotFoundError: When there is no model.
        ValueError: When its card lacks the contract, or it sums or is sliced by something else than this framecast is.
    """
    folder = path
    if not versions.is_model(path):
        version = versions.newest(path)
        if version is None:
            raise FileNotFoundError(f"{path}: expected an exported model or a folder of versions, received none")
        folder = versions.path(path, version)
    card = versions.read_card(folder)
    where = os.path.join(folder, versions.CARD)
    if "contract" not in card:
        raise ValueError(f"{where}: expected the contract of a model exported by framecast, received none")
    contract = json.loads(card["contract"])
    clip, task = ClipSpec.model_validate(contract["clip"]), parse_task(contract["task"])
    events = EventsSpec.model_validate(contract["events"]) if contract["events"] else None
    for key, expected in (("outputs", registry.outputs_of(task.kind, events)), ("slices", features.SLICES)):
        received = contract.get(key, [])
        if received != list(expected):
            differing = sorted(set(expected) ^ set(received))
            raise ValueError(
                f"{where}: {key}: expected a model that is evaluated as this framecast does, received one of another "
                f"framecast: {', '.join(differing) or 'another order'}"
            )
    return Exported(folder, clip, task, events, contract, card.get("frame_rate"))
