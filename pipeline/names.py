"""The components' names, in the order of running, for whoever asks for a part of the DAG."""

import difflib

from framecast.pipeline.config import ConfigError

COMPONENTS = (
    "ClipExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "ValidationGate",
    "Transform",
    "Trainer",
    "ServingModel",
    "Evaluator",
    "SavedModelInfraValidator",
    "Pusher",
    "Report",
)


def check_component(name: str | None) -> None:
    """Raises ConfigError when `name` is given and is no component's, naming the closest."""
    if name is None or name in COMPONENTS:
        return
    close = difflib.get_close_matches(name, COMPONENTS, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ConfigError(f"component: expected one of {', '.join(COMPONENTS)}, received {name}{hint}")
