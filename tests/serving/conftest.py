"""A toy forecaster as a SavedModel, and helpers to serve it."""

import pathlib
import shutil
import time
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

HORIZON = 2
CHANNELS = 1


class ToyForecaster(tf.Module):
    """Repeats each clip's last frame, blurred and scaled: a forecast with a convolution and a length check in it."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = tf.Variable(scale)
        self.kernel = tf.Variable(np.random.default_rng(0).random((3, 3, 1, 1), np.float32) / 9)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, None, CHANNELS], tf.uint8, "frames"),
            tf.TensorSpec([None], tf.int32, "length"),
        ]
    )
    def serve(self, frames, length):
        """Returns `forecast` `(batch, HORIZON, height, width, channel)`."""
        check = tf.debugging.assert_less_equal(length, tf.shape(frames)[1], "length: expected at most the frames given")
        with tf.control_dependencies([check]):  # Else the gather below may be the first to fail.
            length = tf.identity(length)
        last = tf.gather(tf.cast(frames, tf.float32) / 255, length - 1, batch_dims=1)
        blurred = tf.nn.conv2d(last, self.kernel, 1, "SAME") * self.scale
        return {"forecast": tf.repeat(blurred[:, None], HORIZON, axis=1), "last": last}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve_examples(self, examples):
        """Returns what `serve` does for clips of PNG frames."""
        _, sequences, _lengths = tf.io.parse_sequence_example(
            examples, sequence_features={"image/encoded": tf.io.RaggedFeature(tf.string)}
        )
        spec = tf.TensorSpec([None, None, CHANNELS], tf.uint8)
        encoded = sequences["image/encoded"].merge_dims(1, 2)
        shape = tf.shape(tf.io.decode_png(encoded[0, 0], channels=CHANNELS))

        def decode(image):
            if tf.equal(image, ""):
                return tf.zeros(shape, tf.uint8)
            return tf.io.decode_png(image, channels=CHANNELS)

        flat = encoded.to_tensor(default_value="")
        frames = tf.map_fn(decode, tf.reshape(flat, [-1]), fn_output_signature=spec)
        frames = tf.reshape(frames, tf.concat([tf.shape(flat), shape], 0))
        return self.serve(frames, tf.cast(encoded.row_lengths(), tf.int32))


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Callable[[float], pathlib.Path]:
    """Returns the folder of a SavedModel whose forecasts are scaled by the argument."""
    made = {}

    def export(scale: float) -> pathlib.Path:
        if scale not in made:
            made[scale] = tmp_path_factory.mktemp("exported") / "model"
            toy = ToyForecaster(scale)
            signatures = {"serving_default": toy.serve, "serve_examples": toy.serve_examples}
            tf.saved_model.save(toy, str(made[scale]), signatures=signatures)
        return made[scale]

    return export


@pytest.fixture
def publish(exported, tmp_path) -> Callable[..., pathlib.Path]:
    """Puts a toy model at `tmp_path/toy/<version>`, complete at once, and returns that folder."""

    def put(version: int, scale: float | None = None) -> pathlib.Path:
        target = tmp_path / "toy" / str(version)
        copy = tmp_path / f"copy-{version}"
        shutil.copytree(exported(float(version) if scale is None else scale), copy)
        target.parent.mkdir(exist_ok=True)
        copy.rename(target)
        return target

    return put


@pytest.fixture
def base_path(publish) -> str:
    """A folder with version 1."""
    return str(publish(1).parent)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Returns as soon as a condition holds, and fails the test when it does not in time."""

    def wait(condition: Callable[[], bool], *, what: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: did not happen within {seconds} s"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def random_clip() -> Callable[..., np.ndarray]:
    """Makes random uint8 frames `(time, height, width, channel)`."""

    def make(seed: int, frames: int = 3, height: int = 8, width: int = 6) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (frames, height, width, CHANNELS), np.uint8)

    return make
