"""Packs the component's settings and input patterns into TFX's execution properties, and reads them back."""

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from tfx.proto import example_gen_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

FILES = "files"  # Execution property: the output of InputFiles, which replaces the component's own patterns.


def pack_settings(settings: dict[str, Any]) -> example_gen_pb2.CustomConfig:
    """Returns settings as TFX's custom configuration of an ExampleGen."""
    custom_config = example_gen_pb2.CustomConfig()
    custom_config.custom_config.Pack(json_format.ParseDict({"json": json.dumps(settings)}, struct_pb2.Struct()))
    return custom_config


def read_settings(exec_properties: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings that `pack_settings` packed."""
    custom = proto_utils.json_to_proto(
        exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], example_gen_pb2.CustomConfig()
    )
    struct = struct_pb2.Struct()
    custom.custom_config.Unpack(struct)
    return json.loads(struct["json"])


def input_splits(name: str, patterns: str | Mapping[Any, str]) -> list[example_gen_pb2.Input.Split]:
    """Returns one input split, or one per span.

    TFX fingerprints the files of each input split, so its cache notices new files.
    """
    if isinstance(patterns, str):
        return [example_gen_pb2.Input.Split(name=name, pattern=patterns)]
    return [example_gen_pb2.Input.Split(name=f"{name}-{span}", pattern=pattern) for span, pattern in patterns.items()]


def read_inputs(exec_properties: dict[str, Any]) -> tuple[list[example_gen_pb2.Input.Split], str]:
    """Returns the pattern of each input split and span, and the folder that the patterns are relative to."""
    if FILES in exec_properties:
        patterns = json.loads(exec_properties[FILES])["patterns"]
        return [split for name, of_split in patterns.items() for split in input_splits(name, of_split)], ""
    inputs = proto_utils.json_to_proto(
        exec_properties[standard_component_specs.INPUT_CONFIG_KEY], example_gen_pb2.Input()
    )
    return list(inputs.splits), exec_properties[standard_component_specs.INPUT_BASE_KEY]
