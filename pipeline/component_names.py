"""Names the pipeline's components, in the order in which they run."""

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
# Only in the pipeline if the configuration has `tune` or `infer`.
OPTIONAL = ("Tuner", "BulkInference")


def check_component(name: str, names: tuple[str, ...] = (*COMPONENTS, *OPTIONAL)) -> None:
    """Checks that a component has this name.

    Raises:
        ValueError: If none has; the message suggests the closest name.
    """
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"component: expected one of {', '.join(names)}, received {name}{hint}")
