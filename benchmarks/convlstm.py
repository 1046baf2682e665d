"""Compares speed and memory of the ConvLSTM layer with Keras' layer, PyTorch and bare convolutions.

    .venv/bin/python benchmarks/convlstm.py  # also needs .venv-peers: make peers
    .venv/bin/python benchmarks/convlstm.py --shape 64x64 --rounds 5

Each contestant runs in a separate process. Contestants take turns, so that other load on the machine slows all alike;
figures are medians over the rounds. A training step is the forward and backward pass of a stack of layers, with the sum
of squared outputs as loss and no optimizer. The bare convolutions are the lower limit: per step one call for the
forward pass and one for the input gradient, and one call over all steps for the weight gradient.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

# (layers, filters, kernel, height, width, channels, batch, steps) of OpenSTL's ConvLSTM-S after patches of 4, and of 64
# channels on 64x64 pixels.
SHAPES = {"openstl-s": (4, 128, 5, 16, 16, 16, 2, 19), "64x64": (1, 64, 3, 64, 64, 64, 2, 10)}
CONTESTANTS = (
    "ours float32",
    "ours bfloat16",
    "ours bfloat16 remat",
    "keras float32",
    "torch float32",
    "torch bfloat16",
    "torch float32 channels_last",
    "torch bfloat16 channels_last",
    "torch float32 compile",
    "torch bfloat16 compile",
    "bare float32",
    "bare bfloat16",
)
_REPEATS = 2  # Steps per round, timed together.
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
    """Prints a table per shape: seconds per training step and forward pass, peak memory, ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shapes = arguments.shape or list(SHAPES)
    if arguments.contestant:
        _take_turns(arguments.contestant, SHAPES[shapes[0]])
        return
    for shape in shapes:
        with contextlib.ExitStack() as stack:
            turns = {name: stack.enter_context(_contestant(name, shape)) for name in CONTESTANTS}
            found = {name: [] for name in CONTESTANTS}
            for _ in range(arguments.rounds):
                for name, turn in turns.items():
                    found[name].append(turn())
        _print_table(shape, found)


@contextlib.contextmanager
def _contestant(name: str, shape: str) -> Iterator[Callable[[], dict[str, float]]]:
    """Starts a contestant's process, warms it up and yields a function that runs one turn."""
    environment = ".venv-peers" if name.startswith("torch") else ".venv"
    command = [str(_ROOT / environment / "bin" / "python"), "-W", "ignore", __file__]
    process = subprocess.Popen(
        [*command, "--contestant", name, "--shape", shape],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )

    def turn():
        process.stdin.write("\n")
        process.stdin.flush()
        for line in process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{name}, {shape}: the process exited with code {process.wait()}")

    try:
        turn()
        yield turn
    finally:
        process.stdin.close()
        process.wait()


def _take_turns(name: str, shape: tuple[int, ...]) -> None:
    kind, precision, *form = name.split()
    make = {"ours": _ours, "keras": _keras, "torch": _torch, "bare": _bare}[kind]
    train, forward = make(shape, precision, *form)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # With imports and inputs.
    for _ in sys.stdin:
        figures = {"forward": _seconds(forward), "train": _seconds(train)}
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(json.dumps({**figures, "memory": memory}), flush=True)


def _print_table(shape: str, found: dict[str, list[dict[str, float]]]) -> None:
    medians = {
        name: {key: statistics.median(round[key] for round in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    print(f"\n{shape}: layers, filters, kernel, height, width, channels, batch, steps = {SHAPES[shape]}")
    print(f"{'':32}{'train s':>9}{'forward s':>11}{'memory MB':>11}")
    for name, median in medians.items():
        print(f"{name:32}{median['train']:9.3f}{median['forward']:11.3f}{median['memory']:11.0f}")
    train = {name: median["train"] for name, median in medians.items()}
    for precision in ("float32", "bfloat16"):
        best = min((name for name in train if name.startswith(f"torch {precision}")), key=train.__getitem__)
        ours = train[f"ours {precision}"]
        print(
            f"ours {precision}: {train[best] / ours:.2f} x {best}, {train[f'bare {precision}'] / ours:.2f} of the bare"
        )
    print(f"ours bfloat16: {train['keras float32'] / train['ours bfloat16']:.2f} x keras float32", flush=True)


def _seconds(function) -> float:
    started = time.perf_counter()
    for _ in range(_REPEATS):
        function()
    return (time.perf_counter() - started) / _REPEATS


def _ours(shape, precision, form=""):
    from framecast.models.convlstm import ConvLSTM

    layers, filters, kernel, *_ = shape
    dtype = "mixed_bfloat16" if precision == "bfloat16" else precision
    options = {"return_sequences": True, "dtype": dtype, "remat": form == "remat"}
    return _stack([ConvLSTM(filters, kernel, **options) for _ in range(layers)], shape)


def _keras(shape, precision):
    import keras

    layers, filters, kernel, *_ = shape
    options = {"padding": "same", "recurrent_activation": "sigmoid", "return_sequences": True, "dtype": precision}
    return _stack([keras.layers.ConvLSTM2D(filters, kernel, **options) for _ in range(layers)], shape)


def _stack(layers, shape):
    """Returns a training step and a forward pass of Keras layers, as TensorFlow graphs."""
    import numpy as np
    import tensorflow as tf

    *_, height, width, channels, batch, steps = shape
    frames = tf.constant(np.random.default_rng(0).random((batch, steps, height, width, channels), "float32"))

    @tf.function
    def forward():
        x = frames
        for layer in layers:
            x = layer(x)
        return x

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(tf.cast(forward(), tf.float32)))
        return tape.gradient(loss, [weight.value for layer in layers for weight in layer.trainable_variables])

    return lambda: [gradient.numpy() for gradient in train()], lambda: tf.cast(forward(), tf.float32).numpy()


def _bare(shape, precision):
    import numpy as np
    import tensorflow as tf

    layers, filters, kernel, height, width, channels, batch, steps = shape
    dtype = tf.dtypes.as_dtype(precision)
    rng = np.random.default_rng(0)
    stack = []
    for number in range(layers):
        inputs = (channels if number == 0 else filters) + filters
        x = tf.cast(tf.constant(rng.random((steps, batch, height, width, inputs), "float32")), dtype)
        weights = tf.cast(tf.constant(rng.random((kernel, kernel, inputs, 4 * filters), "float32")), dtype)
        gradient = tf.cast(tf.constant(rng.random((steps, batch, height, width, 4 * filters), "float32")), dtype)
        stack.append((x, weights, gradient))

    def calls(backward):
        for x, weights, gradient in stack:
            for step in range(steps):
                yield tf.nn.conv2d(x[step], weights, 1, "SAME")
                if backward:
                    yield tf.raw_ops.Conv2DBackpropInput(
                        input_sizes=x.shape[1:],
                        filter=weights,
                        out_backprop=gradient[step],
                        strides=[1] * 4,
                        padding="SAME",
                    )
            if backward:
                yield tf.raw_ops.Conv2DBackpropFilter(
                    input=tf.reshape(x, [-1, *x.shape[2:]]),
                    filter_sizes=weights.shape,
                    out_backprop=tf.reshape(gradient, [-1, *gradient.shape[2:]]),
                    strides=[1] * 4,
                    padding="SAME",
                )

    @tf.function
    def run(backward):
        # One number of each result, so that TensorFlow removes no call.
        return [tf.reshape(result, [-1])[0] for result in calls(backward)]

    return lambda: [one.numpy() for one in run(True)], lambda: [one.numpy() for one in run(False)]


def _torch(shape, precision, form=""):
    """Runs OpenSTL's cell: one convolution of the input, one of `h`, and their sum split into gates."""
    import torch
    from openstl_cell import OpenSTLCell

    torch.manual_seed(0)
    layers, filters, kernel, height, width, channels, batch, steps = shape
    memory = torch.channels_last if form == "channels_last" else torch.contiguous_format

    inputs = [channels if number == 0 else filters for number in range(layers)]
    cells = [OpenSTLCell(count, filters, kernel).to(memory_format=memory) for count in inputs]
    if form == "compile":
        cells = [torch.compile(cell) for cell in cells]
    parameters = [parameter for cell in cells for parameter in cell.parameters()]
    frames = torch.rand(steps, batch, channels, height, width)
    frames = [frame.contiguous(memory_format=memory) for frame in frames]

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = []
            states = [(torch.zeros(batch, filters, height, width).contiguous(memory_format=memory),) * 2] * layers
            for x in frames:
                for number, cell in enumerate(cells):
                    states[number] = cell(x, *states[number])
                    x = states[number][0]
                outputs.append(x)
        return outputs

    def train():
        loss = sum(output.float().square().sum() for output in forward())
        return torch.autograd.grad(loss, parameters)

    def infer():
        with torch.no_grad():
            forward()

    return train, infer


if __name__ == "__main__":
    sys.exit(main())
