"""Reads and checks the server's configuration: a ModelServerConfig, as TensorFlow Serving takes.

config = one_model("radar", "/models/radar")
config = read_model_config("models.config")
"""

import os

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from framecast.clips.filesystem import open_path
from framecast.serving.server import errors


def one_model(name: str, base_path: str) -> model_server_config_pb2.ModelServerConfig:
    """Returns the configuration that serves the newest version in a folder."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name=name,
        base_path=os.path.abspath(base_path) if "://" not in base_path else base_path,
        model_platform="tensorflow",
    )
    return config


def read_model_config(path: str) -> model_server_config_pb2.ModelServerConfig:
    """Reads a configuration file, as TensorFlow Serving takes with `--model_config_file`.

    Raises:
        ValueError: If the file is not the text of a ModelServerConfig.
    """
    with open_path(path, "rb") as file:
        text = file.read().decode()
    try:
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{path}: expected the text of a ModelServerConfig, received {error}") from error


def check_model_config(config: model_server_config_pb2.ModelServerConfig) -> None:
    """Checks a configuration, in TensorFlow Serving's order.

    Raises:
        ServingError: If the configuration is no list of models, repeats a name, or has a relative path or another
            platform than TensorFlow.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise errors.config_type()
    names = set()
    for model in config.model_config_list.config:
        if model.name in names:
            raise errors.config_repeats_model(model.name)
        names.add(model.name)
    for model in config.model_config_list.config:
        if "://" not in model.base_path and not os.path.isabs(model.base_path):
            raise errors.config_relative_path(model.name, model.base_path)
    for model in config.model_config_list.config:
        if model.model_platform != "tensorflow":
            raise errors.config_platform(model.name, model.model_platform)
