"""Starts training from the weights of an exported model, if the new model has the same architecture.

    start = begin(model, "artifacts/ServingModel/model/7/Format-Serving")
    start.note  # warm start from version 1795526739

An exported model is a plain `tf.Module` without Keras objects. Its checkpoint has the values in the order of
`keras.Model.weights`; its object graph has the names.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

NOTE = "serving.txt"  # Beside the copy of the serving model: its version, or why there is none.
VARIABLES = "_variables"  # Attribute of the exported module with the variables of `keras.Model.weights`.

_COUNTER = re.compile(r"_\d+$")


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight of an exported model.

    Args:
        path: Keras' path, without the counters that make layer names unique in a process.
        value: The value.
    """

    path: str
    value: np.ndarray


@dataclasses.dataclass(frozen=True)
class Start:
    """The weights that training starts from.

    Args:
        note: `warm start from ...`, or `cold start: ...` with the reason; empty if no warm start was requested.
        digest: Digest of the loaded weights; None for a cold start.
    """

    note: str = ""
    digest: str | None = None


def begin(model: keras.Model, exported: str | None) -> Start:
    """Loads the weights of an exported model into `model`, if the architecture is the same.

    Args:
        model: A built model.
        exported: Folder of a SavedModel, such as in an artifact of ServingModel; it may be None or missing.
    """
    name = _name(exported)
    if exported is None or not tf.io.gfile.exists(os.path.join(exported, "saved_model.pb")):
        return Start(f"cold start: {name}")
    try:
        weights = read_weights(exported)
    except ValueError as error:
        return Start(f"cold start: {error}")
    if difference := describe_difference(model, weights):
        return Start(f"cold start: {name} has another architecture: {difference}")
    model.set_weights([weight.value for weight in weights])
    total = hashlib.sha256()
    for weight in weights:
        total.update(weight.value.tobytes())
    return Start(f"warm start from {name}", total.hexdigest()[:16])


def read_weights(exported: str) -> list[Weight]:
    """Reads the weights of an exported model, in the order of `keras.Model.weights`.

    Raises:
        ValueError: If the SavedModel was not exported by Framecast.
    """
    saved = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(os.path.join(exported, "saved_model.pb"), "rb") as file:
        saved.ParseFromString(file.read())
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    lists = [child.node_id for child in nodes[0].children if child.local_name == VARIABLES] if nodes else []
    if not lists:
        raise ValueError(f"{exported}: expected a model exported by Framecast, received one without {VARIABLES}")
    names = {child.local_name: nodes[child.node_id].variable.name for child in nodes[lists[0]].children}
    checkpoint = tf.train.load_checkpoint(os.path.join(exported, "variables", "variables"))
    return [
        Weight(
            without_counters(names[str(number)]),
            checkpoint.get_tensor(f"{VARIABLES}/{number}/.ATTRIBUTES/VARIABLE_VALUE"),
        )
        for number in range(len(names))
    ]


def describe_difference(model: keras.Model, weights: Sequence[Weight]) -> str:
    """Returns the first weight whose name or shape differs, as expected and received; empty if none differs.

    Names are compared too, because two layers may have weights of the same shapes.
    """
    own = [(without_counters(weight.path), tuple(weight.shape)) for weight in model.weights]
    others = [(weight.path, weight.value.shape) for weight in weights]
    for expected, received in zip(own, others):
        if expected != received:
            return f"expected {_describe(expected)}, received {_describe(received)}"
    if len(own) != len(others):
        return f"expected {len(own)} weights, received {len(others)}"
    return ""


def _name(exported: str | None) -> str:
    """Returns the name of an exported model, or why there is none."""
    if exported is None:
        return "no serving model was given"
    note = os.path.join(os.path.dirname(exported), NOTE)
    if not tf.io.gfile.exists(note):
        return exported
    with tf.io.gfile.GFile(note) as file:
        return file.read().strip()


def without_counters(path: str) -> str:
    """Returns `rnn/conv_lstm_cell/kernel` for `rnn_3/conv_lstm_cell_4/kernel`, because Keras counts per process."""
    return "/".join(_COUNTER.sub("", part) for part in path.partition(":")[0].split("/"))


def _describe(weight: tuple[str, tuple[int, ...]]) -> str:
    path, shape = weight
    return f"{path} {'x'.join(map(str, shape)) or 'scalar'}"
