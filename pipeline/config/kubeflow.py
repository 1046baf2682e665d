"""What the tasks of a run on Kubeflow Pipelines are given: the `kubeflow` section of the configuration."""

import re
from typing import Literal

import pydantic

from framecast.pipeline.component_names import COMPONENTS, OPTIONAL, check_component
from framecast.schemas.section import Section

# Where input files are looked for on a cluster; the local runner has no such component.
INPUT_FILES = "InputFiles"

_TASKS = (INPUT_FILES, *COMPONENTS, *OPTIONAL)
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|[kMGTPE]|[KMGTPE]i)?")
_SCALES = {
    "m": 1e-3,
    "": 1,
    **{unit: 1000**power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTPE", 1)},
}


def quantity(text: str) -> float:
    """Returns what a Kubernetes quantity such as `500m`, `2` or `8Gi` stands for.

    Raises:
        ValueError: When it is none.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a Kubernetes quantity such as 500m, 2 or 8Gi, received {text}")
    return float(match[1]) * _SCALES[match[2] or ""]


class Toleration(Section):
    """A taint that a task's pod puts up with, as Kubernetes writes it."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None

    @pydantic.model_validator(mode="after")
    def _complete(self) -> "Toleration":
        if self.operator == "Exists" and self.value is not None:
            raise ValueError(f"value: expected none where operator is Exists, received {self.value}")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("key: expected a value where operator is Equal, received none")
        return self


class Volume(Section):
    """A persistent volume claim, mounted.

    Args:
        claim: Name of the claim, which must exist in the namespace of the run.
        path: Where it is mounted.
    """

    claim: str
    path: str = pydantic.Field(pattern="^/.+")

    def holds(self, path: str) -> bool:
        """Returns whether a path lies on this volume."""
        return f"{path.rstrip('/')}/".startswith(f"{self.path.rstrip('/')}/")


class Secret(Section):
    """A secret whose values are given to a task as environment variables.

    Args:
        name: Name of the secret, which must exist in the namespace of the run.
        env: Key of the secret by environment variable, such as `{AWS_ACCESS_KEY_ID: access-key}`.
    """

    name: str
    env: dict[str, str] = pydantic.Field(min_length=1)


class TaskSpec(Section):
    """What one task is given. A key that is not set is that of `kubeflow.default`.

    Args:
        cpu: CPUs requested, as a Kubernetes quantity.
        cpu_limit: CPUs at most.
        memory: Memory requested.
        memory_limit: Memory at most.
        gpus: How many accelerators.
        accelerator: Name of the resource that they are counted as.
        node_selector: Labels of the nodes that will do.
        tolerations: Taints that are put up with.
        volumes: Claims that are mounted.
        secrets: Secrets in the environment.
        env: Environment variables.
        retries: How often a task that failed is tried again, at first after half a minute.
    """

    cpu: str | None = None
    cpu_limit: str | None = None
    memory: str | None = None
    memory_limit: str | None = None
    gpus: int = pydantic.Field(default=0, ge=0)
    accelerator: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    volumes: tuple[Volume, ...] = ()
    secrets: tuple[Secret, ...] = ()
    env: dict[str, str] = {}
    retries: int = pydantic.Field(default=0, ge=0)

    @pydantic.field_validator("cpu", "cpu_limit", "memory", "memory_limit", mode="before")
    @classmethod
    def _quantity(cls, value: object) -> object:
        text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        if isinstance(text, str):
            quantity(text)
        return text

    @pydantic.model_validator(mode="after")
    def _limits_hold_requests(self) -> "TaskSpec":
        for name, request, limit in (
            ("cpu", self.cpu, self.cpu_limit),
            ("memory", self.memory, self.memory_limit),
        ):
            if request and limit and quantity(request) > quantity(limit):
                raise ValueError(f"{name}: expected at most {name}_limit ({limit}), received {request}")
        return self


class KubeflowSpec(Section):
    """How a compiled pipeline runs on Kubeflow Pipelines; the local runner reads none of it.

    Args:
        state: Folder on a volume, where the Trainer's checkpoints, the Tuner's trials and the statistics of spans
            outlive runs.
        default: What every task is given.
        components: What single tasks are given in place of that, by component, such as `Trainer`.
    """

    state: str | None = pydantic.Field(default=None, pattern="^/.+")
    default: TaskSpec = TaskSpec()
    components: dict[str, TaskSpec] = {}

    @pydantic.field_validator("state", mode="before")
    @classmethod
    def _on_volume(cls, state: object) -> object:
        if isinstance(state, str) and "://" in state:
            raise ValueError(
                f"expected a folder on a volume, received {state}: checkpoints are renamed once they are whole, and an "
                "object store renames nothing"
            )
        return state

    @pydantic.field_validator("components")
    @classmethod
    def _known(cls, components: dict[str, TaskSpec]) -> dict[str, TaskSpec]:
        for name in components:
            check_component(name, _TASKS)
        return components

    @pydantic.model_validator(mode="after")
    def _each_complete(self) -> "KubeflowSpec":
        for name in self.components:
            try:
                self.task(name)
            except pydantic.ValidationError as error:
                raise ValueError(f"components.{name}: {error.errors()[0]['ctx']['error']}") from error
        return self

    def task(self, component: str) -> TaskSpec:
        """Returns what a component's task is given."""
        own = self.components.get(component, TaskSpec())
        return TaskSpec.model_validate({**self.default.model_dump(), **own.model_dump(include=own.model_fields_set)})
