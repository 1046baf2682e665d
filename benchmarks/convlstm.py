"""Speed and memory of the ConvLSTM layer beside Keras' own, PyTorch's and the bare convolutions: all in one run.

    .venv/bin/python benchmarks/convlstm.py          # needs .venv-peers too: make peers
    .venv/bin/python benchmarks/convlstm.py --shape 64x64 --rounds 5

Every contestant lives in a process of its own. They take turns, round after round, so that what the machine does beside
falls on all alike; figures are medians over the rounds. A training step is forward and backward of a stack and
the sum of its outputs' squares, without an optimizer. The bare convolutions are the limit: one call a step for the
forward pass and one for the input gradient, one over all steps for the weight gradient, nothing else.
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

# (layers, filters, kernel, height, width, channels, batch, steps): OpenSTL's ConvLSTM-S after patches of 4, and 64
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
_REPEATS = 2  # Steps timed together in a round.
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
    """Prints a table a shape: seconds a training step and a forward pass, ratios to ours, peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, action="append", help="all of them unless given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shapes = arguments.shape or list(SHAPES)
    if arguments.contestant:
        _take_turns(arguments.contestant, SHAPES[shapes[0]])
        return
    for shape in shapes:
        with contextlib.ExitStack() as stack:
            turns = {name: stack.enter_context(_in_its_own_process(name, shape)) for name in CONTESTANTS}
            found = {name: [] for name in CONTESTANTS}
            for _ in range(arguments.rounds):
                for name, turn in turns.items():
                    found[name].append(turn())
        _print_table(shape, found)


@contextlib.contextmanager
def _in_its_own_process(name: str, shape: str) -> Iterator[Callable[[], dict[str, float]]]:
    """Starts a contestant, warms it up and yields a function that gives it a turn."""
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
        raise RuntimeError(f"{name}, {shape}: ended with {process.wait()}")

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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # The imports, and what is computed with.
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
        # One number of each result, so that none is left out.
        return [tf.reshape(result, [-1])[0] for result in calls(backward)]

    return lambda: [one.numpy() for one in run(True)], lambda: [one.numpy() for one in run(False)]


def _torch(shape, precision, form=""):
    """OpenSTL's form of the cell: one convolution of the input, one of `h`, their sum split into gates."""
    import torch

    torch.manual_seed(0)
    layers, filters, kernel, height, width, channels, batch, steps = shape
    memory = torch.channels_last if form == "channels_last" else torch.contiguous_format

    class Cell(torch.nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.of_input = torch.nn.Conv2d(inputs, 4 * filters, kernel, padding=kernel // 2, bias=False)
            self.of_h = torch.nn.Conv2d(filters, 4 * filters, kernel, padding=kernel // 2, bias=False)

        def forward(self, x, h, c):
            i, f, g, o = torch.split(self.of_input(x) + self.of_h(h), filters, dim=1)
            c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c

    cells = [Cell(channels if number == 0 else filters).to(memory_format=memory) for number in range(layers)]
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
