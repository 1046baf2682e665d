"""Names and reads the custom properties that one component writes and another reads."""

from typing import Any

from google.protobuf import json_format

FIGURES = "figures"  # Of Evaluator's blessing: JSON of the candidate's metrics over all lead times.
NO_BASELINE = "no_baseline"  # Of Evaluator's blessing: why the serving model was not compared; empty if it was.
PRESENT = "present"  # Of ServingModel's model: 1 if a comparable model is serving, else 0.


def property_of(artifact: Any, name: str) -> Any:
    """Returns a custom property of an ML Metadata artifact; None if it has no property of that name."""
    if name not in artifact.custom_properties:
        return None
    value = artifact.custom_properties[name]
    kind = value.WhichOneof("value")
    if kind != "struct_value":
        return getattr(value, kind)
    # The form in a task on Kubeflow Pipelines; its JSON has no integers, and all our numbers are integers.
    (content,) = json_format.MessageToDict(value.struct_value).values()
    return int(content) if isinstance(content, float) else content
