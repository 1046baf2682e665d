"""The `kubeflow` section of the configuration: resources and volumes of tasks on Kubeflow Pipelines."""

import re
from typing import Literal

import pydantic

from framecast.pipeline.component_names import COMPONENTS, OPTIONAL, check_component
from framecast.schemas.section import Section

# The component that finds the input files on a cluster; the local runner has none.
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
    """Parses a Kubernetes quantity such as `500m`, `2` or `8Gi`.

    Raises:
        ValueError: If the text is not a quantity.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a Kubernetes quantity such as 500m, 2 or 8Gi, received {text}")
    return float(match[1]) * _SCALES[match[2] or ""]


class Toleration(Section):
    """A toleration of a task's pod, with the keys of Kubernetes."""

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
    """A mounted persistent volume claim.

    Args:
        claim: Name of the claim, which must exist in the namespace of the run.
        path: Mount path.
    """

    claim: str
    path: str = pydantic.Field(pattern="^/.+")

    def contains(self, path: str) -> bool:
        """Returns whether a path is on this volume."""
        return f"{path.rstrip('/')}/".startswith(f"{self.path.rstrip('/')}/")


class Secret(Section):
    """A secret whose values become environment variables of a task.

    Args:
        name: Name of the secret, which must exist in the namespace of the run.
        env: Key of the secret by environment variable, such as `{AWS_ACCESS_KEY_ID: access-key}`.
    """

    name: str
    env: dict[str, str] = pydantic.Field(min_length=1)


class TaskSpec(Section):
    """Resources and environment of a task. Keys that are not set come from `kubeflow.default`.

    Args:
        cpu: Requested CPUs, a Kubernetes quantity.
        cpu_limit: CPU limit.
        memory: Requested memory.
        memory_limit: Memory limit.
        gpus: Number of accelerators.
        accelerator: Resource name of the accelerators.
        node_selector: Required labels of the node.
        tolerations: Tolerated taints.
        volumes: Mounted claims.
        secrets: Secrets in the environment.
        env: Environment variables.
        retries: Number of retries after a failure; the first follows after half a minute.
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
    """Settings of a pipeline compiled for Kubeflow Pipelines; the local runner ignores them.

    Args:
        state: Folder on a volume that keeps the Trainer's checkpoints, the Tuner's trials and the statistics of spans
            between runs.
        default: Settings of every task.
        components: Settings of single tasks, by component, such as `Trainer`; they replace the defaults.
    """

    state: str | None = pydantic.Field(default=None, pattern="^/.+")
    default: TaskSpec = TaskSpec()
    components: dict[str, TaskSpec] = {}

    @pydantic.field_validator("state", mode="before")
    @classmethod
    def _on_volume(cls, state: object) -> object:
        if isinstance(state, str) and "://" in state:
            raise ValueError(
                f"expected a folder on a volume, received {state}: complete checkpoints are renamed, which an object "
                "store cannot do"
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
        """Returns the settings of a component's task: its own keys, else the defaults."""
        own = self.components.get(component, TaskSpec())
        return TaskSpec.model_validate({**self.default.model_dump(), **own.model_dump(include=own.model_fields_set)})
