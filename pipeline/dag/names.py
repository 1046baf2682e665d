"""The components' names, in the order of running, for whoever asks for a part of the DAG."""

import difflib

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
# In the DAG only where the configuration asks for it.
OPTIONAL = ("Tuner", "BulkInference")


def check_component(name: str, names: tuple[str, ...] = (*COMPONENTS, *OPTIONAL)) -> None:
    """Refuses what is no component's name.

    Raises:
        ValueError: Naming the closest.
    """
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"component: expected one of {', '.join(names)}, received {name}{hint}")
