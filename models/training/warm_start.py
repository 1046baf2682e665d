"""Starts training from the weights of an exported model: all of them, or those that match.

    start = begin(model, "artifacts/ServingModel/model/7/Format-Serving")
    start.note  # warm start from version 1795526739
    start = load_matching(model, "serving/radar/1795526739")
    start.note  # 12 of 14 weights from serving/radar/1795526739; random: conv2d/kernel 1x1x6x16, conv2d/bias 16

An exported model is a plain `tf.Module` without Keras objects. Its checkpoint has the values in the order of
`keras.Model.weights`; its object graph has the names.
"""

import collections
import contextlib
import dataclasses
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from framecast.clips import filesystem

NOTE = "serving.txt"  # Beside the copy of the serving model: its version, or why there is none.
VARIABLES = "_variables"  # Attribute of the exported module with the variables of `keras.Model.weights`.

_LISTED = 5  # Weights that a note names.
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
        note: `warm start from ...`, or `cold start: ...` with the reason, or how many weights of `train.init_from` were
            loaded; empty if neither was requested.
        digest: Digest of the loaded weights; None for a cold start.
        random: The model's weights that `train.init_from` did not load, with their shapes.
        unused: The weights of `train.init_from` that match none of the model's, with their shapes.
    """

    note: str = ""
    digest: str | None = None
    random: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


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
    return Start(f"warm start from {name}", _digest(weight.value.tobytes() for weight in weights))


def load_matching(model: keras.Model, exported: str) -> Start:
    """Loads the weights of an exported model whose names and shapes match weights of `model`: `train.init_from`.

    Layers without a name of their own share one; of these, the first matches the first, the second the second.

    Args:
        model: A built model.
        exported: Folder of a SavedModel.

    Raises:
        ValueError: If there is no model that Framecast exported, or no weight matches.
    """
    with _local_files(exported) as folder:
        if not tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
            raise ValueError(
                "train.init_from: expected the folder of an exported model (of one version, in a compiled pipeline), "
                f"found none at {exported}"
            )
        try:
            weights = read_weights(folder)
        except ValueError as error:
            raise ValueError(f"train.init_from: {str(error).replace(folder, exported)}") from error
    own = dict(zip(_distinct(without_counters(weight.path) for weight in model.weights), model.weights))
    others = dict(zip(_distinct(weight.path for weight in weights), weights))
    loaded = [key for key in own if key in others and tuple(own[key].shape) == others[key].value.shape]
    random = tuple(_describe((key[0], tuple(own[key].shape))) for key in own if key not in loaded)
    unused = tuple(_describe((key[0], others[key].value.shape)) for key in others if key not in loaded)
    if not loaded:
        raise ValueError(
            f"train.init_from: expected weights with names and shapes of the model ({_some(random)}), "
            f"received {_some(unused)} at {exported}"
        )
    for key in loaded:
        own[key].assign(others[key].value)
    rest = f"; random: {_some(random)}" if random else ""
    values = (f"{key}".encode() + others[key].value.tobytes() for key in loaded)
    return Start(f"{len(loaded)} of {len(own)} weights from {exported}{rest}", _digest(values), random, unused)


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


@contextlib.contextmanager
def _local_files(exported: str) -> Iterator[str]:
    """Yields a folder that TensorFlow can read: a temporary copy of a model in an object store."""
    if not filesystem.is_remote(exported):
        yield exported
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in filesystem.list_below(exported):
            if name == "saved_model.pb" or name.startswith("variables/"):
                filesystem.copy(os.path.join(exported, name), os.path.join(folder, name))
        yield folder


def _distinct(paths: Iterable[str]) -> list[tuple[str, int]]:
    """Returns each path and how many equal ones precede it."""
    seen: collections.Counter[str] = collections.Counter()
    found = []
    for path in paths:
        found.append((path, seen[path]))
        seen[path] += 1
    return found


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()[:16]


def _some(weights: Sequence[str]) -> str:
    """Lists the first weights, and the number of the others."""
    more = [f"and {len(weights) - _LISTED} more"] if len(weights) > _LISTED else []
    return ", ".join([*weights[:_LISTED], *more])


def _describe(weight: tuple[str, tuple[int, ...]]) -> str:
    path, shape = weight
    return f"{path} {'x'.join(map(str, shape)) or 'scalar'}"
