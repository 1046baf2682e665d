"""Trains a small forecaster on clips of a moving column, for tests of the training loop."""

import io

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator

from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.optimizer_spec import OptimizerSpec
from framecast.models.spec import ForecastTask, TrainSpec
from framecast.models.tasks import define_task
from framecast.models.training.loop import fit

HORIZON = 2
OBJECTIVE = define_task(ForecastTask(horizon=HORIZON)).make_objective(TrainSpec(steps=1))
SPEC = {
    "frames": tf.TensorSpec([None, None, None, None, 1], tf.float32),
    "known": tf.TensorSpec([None, None, None, None, 1], tf.bool),
    "length": tf.TensorSpec([None], tf.int32),
}


def clips(count=8, time=6, seed=0):
    """Clips of a bright column that moves one pixel per frame and wraps around."""
    rng = np.random.default_rng(seed)
    frames = np.zeros((count, time, 8, 8, 1), "float32")
    for clip, start in enumerate(rng.integers(0, 8, count)):
        for t in range(time):
            frames[clip, t, :, (start + t) % 8] = 1
    return {"frames": frames, "known": np.ones_like(frames, bool), "length": rng.integers(4, time + 1, count, "int32")}


def batches(data, size=4):
    """Every clip once, in batches of unknown dimensions, like those of length buckets."""
    return unknown(tf.data.Dataset.from_tensor_slices(data).batch(size))


def shuffled(data):
    """Endless batches in a new order every epoch."""
    return unknown(tf.data.Dataset.from_tensor_slices(data).shuffle(8, seed=3).repeat().batch(4))


def unknown(dataset):
    return dataset.map(lambda batch: {name: tf.ensure_shape(batch[name], SPEC[name].shape) for name in SPEC})


def forecaster(dtype="float32"):
    keras.utils.set_random_seed(0)
    return FrameForecaster(channels=1, filters=(8,), kernel_size=3, patch=2, dtype=dtype)


def train(model, tmp_path, dataset=None, val=None, **changes):
    options = {"state_dir": tmp_path / "state", "log_dir": tmp_path / "logs"}
    settings = {"steps": 20, "learning_rate": 1e-2, "eval_every": 10}
    for name, value in changes.items():
        (settings if name in OptimizerSpec.model_fields else options)[name] = value
    objective = options.pop("objective", OBJECTIVE)
    spec = OptimizerSpec(**settings)
    return fit(model, dataset or shuffled(clips()), val or batches(clips(seed=1)), objective, spec, **options)


def summaries(folder):
    """`{tag: {step: value}}` as TensorBoard reads `folder`; of an image its pixels."""
    accumulator = EventAccumulator(str(folder), size_guidance={TENSORS: 0})
    accumulator.Reload()
    values = {}
    for tag in accumulator.Tags()["tensors"]:
        plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
        read = {"scalars": float, "images": image_of}[plugin]
        events = accumulator.Tensors(tag)
        values[tag] = {event.step: read(tf.make_ndarray(event.tensor_proto)) for event in events}
        assert len(values[tag]) == len(events), tag
    return values


def image_of(value):
    """Decodes an image summary, `[width, height, PNG]`, without TensorFlow."""
    width, height, png = value
    image = np.asarray(Image.open(io.BytesIO(png)))
    assert image.shape == (int(height), int(width), 3)
    return image


def drawing(model):
    """Draws a weight, which every step changes."""

    def draw():
        weight = model.get_weights()[0].ravel()[:12].view(np.uint8)
        return {"weight": weight.reshape(4, 4, 3), "weight/wide": weight.reshape(2, 8, 3)}

    return draw


def loss_of(model, data):
    """The mean squared error of every next frame, by NumPy."""
    predictions = np.asarray(model(data["frames"], data["length"] - HORIZON, steps=5))
    squares = np.square(predictions - data["frames"][:, 1:])
    return np.concatenate([clip[: length - 1] for clip, length in zip(squares, data["length"], strict=True)]).mean()
