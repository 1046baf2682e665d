"""Trains one contestant of `moving_mnist.py` on the batches in a folder and writes its forecasts there.

Usage: `python benchmarks/moving_mnist_train.py ours FOLDER STEPS`; `ours` needs .venv, `openstl` needs .venv-peers.
"""

import math
import pathlib
import sys

import numpy as np

_SHOWN, _FORECAST = 10, 10
_LAYERS, _FILTERS, _KERNEL, _PATCH = 2, 64, 5, 4
_PEAK_RATE = 3e-3
_WARM_UP = 0.1
_FORECAST_BATCH = 20


def main() -> None:
    """Trains the contestant and writes its forecasts of the validation sequences."""
    contestant, name, steps = sys.argv[1:]
    folder = pathlib.Path(name)
    batches = np.load(folder / "train.npy", mmap_mode="r")
    validation = np.load(folder / "validation.npy")
    forecast = {"ours": _ours, "openstl": _openstl}[contestant](batches, int(steps))
    parts = [
        forecast(validation[start : start + _FORECAST_BATCH, :_SHOWN] / np.float32(255))
        for start in range(0, len(validation), _FORECAST_BATCH)
    ]
    np.save(folder / f"{contestant}.npy", np.concatenate(parts))


def _rate(step: int, steps: int) -> float:
    """Returns the learning rate of `schedule: cosine`: linear up over the first tenth, then half a cosine down."""
    warm_up = max(1.0, _WARM_UP * steps)
    if step < warm_up:
        return _PEAK_RATE * (step + 1) / warm_up
    return _PEAK_RATE * (0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / max(1.0, steps - warm_up)))


def _ours(batches, steps):
    import keras
    import tensorflow as tf

    from framecast.models.networks.frame_forecaster import FrameForecaster
    from framecast.models.spec import ForecastTask, TrainSpec
    from framecast.models.tasks import define_task

    keras.utils.set_random_seed(0)
    model = FrameForecaster(channels=1, filters=(_FILTERS,) * _LAYERS, kernel_size=_KERNEL, patch=_PATCH)
    task = define_task(ForecastTask(horizon=_FORECAST))
    objective = task.make_objective(TrainSpec(steps=steps, sampling="scheduled"))
    # The optimizer of `framecast.models.training.optimization.optimizer`.
    optimizer = keras.optimizers.Adam(_PEAK_RATE, beta_2=0.99, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)
    def train(frames, number):
        batch = {"frames": frames, "known": tf.ones_like(frames, tf.bool)}
        batch["length"] = tf.fill([tf.shape(frames)[0]], _SHOWN + _FORECAST)
        with tf.GradientTape() as tape:
            loss = objective(model, batch, number, True)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    for step in range(steps):
        optimizer.learning_rate = _rate(step, steps)
        train(tf.constant(batches[step] / np.float32(255)), tf.constant(step, tf.int64))

    @tf.function(reduce_retracing=True)
    def forecast(frames):
        return model(frames, tf.fill([tf.shape(frames)[0]], _SHOWN), steps=_SHOWN + _FORECAST - 1)[:, _SHOWN - 1 :]

    return lambda frames: forecast(tf.constant(frames)).numpy()


def _openstl(batches, steps):
    import torch
    from openstl_cell import OpenSTLCell

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pixels = _PATCH * _PATCH

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            inputs = [pixels if number == 0 else _FILTERS for number in range(_LAYERS)]
            self.cells = torch.nn.ModuleList(OpenSTLCell(count, _FILTERS, _KERNEL) for count in inputs)
            self.last = torch.nn.Conv2d(_FILTERS, pixels, 1, bias=False)

        def forward(self, frames, shown):
            """Predicts from `frames` `(batch, time, pixels, rows, columns)`, where `shown` `(batch, time)` is 1."""
            batch, _, _, rows, columns = frames.shape
            zeros = torch.zeros(batch, _FILTERS, rows, columns)
            states = [(zeros, zeros)] * _LAYERS
            outputs, prediction = [], None
            for number in range(shown.shape[1]):
                if number == 0:
                    x = frames[:, 0]
                else:
                    truth = shown[:, number, None, None, None]
                    observed = frames[:, number] if number < frames.shape[1] else prediction
                    x = truth * observed + (1 - truth) * prediction
                for layer, cell in enumerate(self.cells):
                    states[layer] = cell(x, *states[layer])
                    x = states[layer][0]
                prediction = self.last(x)
                outputs.append(prediction)
            return torch.stack(outputs, dim=1)

    def patches(frames):
        return torch.nn.functional.pixel_unshuffle(torch.from_numpy(frames[..., 0][:, :, None]), _PATCH)

    model = Model()
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, steps)
        frames = patches(batches[step] / np.float32(255))
        # Scheduled sampling: after the context the model sees the truth with a probability that falls from 1 to 0.
        draws = rng.random((len(frames), _SHOWN + _FORECAST - 1)) < 1 - step / steps
        draws[:, :_SHOWN] = True
        predictions = model(frames, torch.from_numpy(draws.astype(np.float32)))
        loss = torch.nn.functional.mse_loss(predictions, frames[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def forecast(frames):
        shown = torch.zeros(len(frames), _SHOWN + _FORECAST - 1)
        shown[:, :_SHOWN] = 1
        with torch.no_grad():
            outputs = model(patches(frames), shown)[:, _SHOWN - 1 :]
            return torch.nn.functional.pixel_shuffle(outputs, _PATCH)[:, :, 0, ..., None].numpy()

    return forecast


if __name__ == "__main__":
    main()
