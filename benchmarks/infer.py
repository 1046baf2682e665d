"""Measures speed and memory of bulk inference: `python benchmarks/infer.py`.

`framecast infer` forecasts moving digits with the demo's untrained model: it surveys files, checks clips, writes
forecasts as clips and reads their ids back. It is compared, each in a separate process, with the bare model:
`serving_default` in a loop over frames in memory, at its best batch size. The bare model runs before and after, because
other load on the machine may change. For few clips there are two more comparisons: the bare model over clips read and
decoded by `tf.data` (`bare, reading`), and Beam's `RunInference` on clips read, checked and batched as by `infer`.
These write nothing. Finally, a run over many clips is killed (SIGKILL) after half of its output files, and restarted.
"""

import argparse
import collections
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from measuring import measuring, mib, run_step

from framecast.pipeline import quiet

_FRAMES, _SIZE = 10, 64
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_CHOSEN_OVER = 256  # Clips.
_BARE = "bare model"
_MANY = (_BARE, "infer", _BARE)
_FEW = (_BARE, "bare, reading", "RunInference", "infer", _BARE)
_CONFIG = pathlib.Path(__file__).resolve().parent.parent / "configs/demo.yaml"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs=2, default=[500, 5000], help="few and many clips")
    parser.add_argument("--preset", default="convlstm-coarse", help="model preset (default: %(default)s)")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quiet.set_log_levels()
    if arguments.measure:
        step, folder, *rest = arguments.measure
        print(json.dumps(_STEPS[step](pathlib.Path(folder), *rest)))
        return
    print(f"{'':<16}{'clips':>7}{'batch':>7}{'seconds':>9}{'CPU seconds':>13}{'clips/s':>9}{'MiB above imports':>19}")
    above = []
    for clips in arguments.clips:
        with tempfile.TemporaryDirectory() as folder:
            run_step("prepare", folder, str(clips), arguments.preset)
            above.append(_compare(folder, clips, _FEW if clips == arguments.clips[0] else _MANY))
            if clips == arguments.clips[-1]:
                _kill(pathlib.Path(folder), clips)
    few, many = arguments.clips
    print(f"memory of infer: x {above[1] / above[0]:.2f} for x {many / few:.0f} the clips")


def _compare(folder: str, clips: int, steps: Sequence[str]) -> int:
    """Prints the measures of each step and its speed relative to the bare model; returns the peak memory of `infer`."""
    batch = str(run_step("choose", folder))
    speed: dict[str, list[float]] = collections.defaultdict(list)
    for step in steps:
        found = run_step(step, folder, batch)
        speed[step].append(clips / found["seconds"])
        size = found["peak"] - found["imports"]
        print(
            f"{step:<16}{clips:>7}{batch:>7}{found['seconds']:>9.1f}{found['cpu']:>13.1f}{speed[step][-1]:>9.1f}"
            f"{mib(size):>19}",
            flush=True,
        )
        if step == "infer":
            peak = size
    for step in speed.keys() - {_BARE}:
        print(f"{step}: x {np.mean(speed[step]) / np.mean(speed[_BARE]):.2f} of the clips/s of the {_BARE}")
    return peak


def _kill(folder: pathlib.Path, clips: int) -> None:
    """Kills `framecast infer` half-way, restarts it, and prints how many files and clips it kept or repeated."""
    from framecast.serving.predictions.example_ids import read_example_ids

    to = folder / "killed"
    command = [sys.executable, "-W", "ignore", "-m", "framecast.pipeline.cli.main", "infer", str(folder / "model/1")]
    command += [str(folder / "clips"), "--to", str(to), "--json"]
    answers = lambda: sorted(to.glob("answers-*"))  # noqa: E731
    every = len(list((folder / "clips").glob("*/*")))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        while len(answers()) < every // 2:
            assert first.poll() is None, "infer finished before it was killed"
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in answers()}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = sum(path.stat().st_mtime_ns == written for path, written in before.items())
    counts = collections.Counter(name for path in answers() for name in read_example_ids(str(path)))
    print(
        f"killed after {len(before)} of {every} files, restarted: {kept} of them kept, "
        f"{len(counts)} of {clips} clips answered, {sum(count > 1 for count in counts.values())} more than once"
    )


def _prepare(folder: pathlib.Path, clips: str, preset: str) -> None:
    import keras

    from framecast.clips.demo.moving_digits import make_demo
    from framecast.models.export.module import save_module
    from framecast.models.networks import builders
    from framecast.pipeline.commands import check
    from framecast.pipeline.config import config
    from framecast.pipeline.dag.contract import contract

    resolved = config.load(str(_CONFIG), [f"model.preset={preset}"])
    make_demo(folder / "clips", clips=int(clips), seed=0, size=_SIZE, frames=(_FRAMES, _FRAMES))
    keras.utils.set_random_seed(0)
    model = builders.build(resolved.model, resolved.task, resolved.clip, keras.DTypePolicy("float32"))
    card = {"contract": contract(resolved), "frame_rate": 10.0}
    save_module(check.untrained_module(model, resolved), str(folder / "model/1"), card)


def _choose(folder: pathlib.Path) -> int:
    """Returns the batch size at which the bare model answers most clips a second."""
    import tensorflow as tf

    model = tf.saved_model.load(str(folder / "model/1"))
    frames = np.concatenate(list(_batches(folder, 1).take(_CHOSEN_OVER)))
    seconds: dict[int, list[float]] = collections.defaultdict(list)
    for _ in range(3):
        for size in _BATCHES:
            started = time.perf_counter()
            for start in range(0, len(frames), size):
                _ask(model, frames[start : start + size])
            seconds[size].append(time.perf_counter() - started)
    return min(_BATCHES, key=lambda size: min(seconds[size]))


def _bare_model(folder: pathlib.Path, batch: str) -> dict[str, Any]:
    import tensorflow as tf

    batches = list(_batches(folder, int(batch)).as_numpy_iterator())
    done = measuring()
    model = tf.saved_model.load(str(folder / "model/1"))
    for frames in batches:
        _ask(model, frames)
    return done()


def _bare_reading(folder: pathlib.Path, batch: str) -> dict[str, Any]:
    import tensorflow as tf

    done = measuring()
    model = tf.saved_model.load(str(folder / "model/1"))
    for frames in _batches(folder, int(batch)):
        _ask(model, frames)
    return done()


def _run_inference(folder: pathlib.Path, batch: str) -> dict[str, Any]:
    import apache_beam as beam
    from apache_beam.ml.inference.base import ModelHandler, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions

    from framecast.clips.beam import BEAM_RUNNER
    from framecast.clips.records import read_records
    from framecast.clips.validation import read_frames
    from framecast.serving.bulk.model import BulkModel
    from framecast.serving.exported_model import find_model

    model = find_model(str(folder / "model/1"))

    class Handler(ModelHandler):
        def load_model(self):
            return BulkModel(model.folder, int(batch))

        def run_inference(self, batch, model, inference_args=None):  # noqa: ARG002 - Beam's signature
            return (model.submit(clips)() for clips in batch)

        def batch_elements_kwargs(self):
            return {"min_batch_size": 1, "max_batch_size": 1}

    def batches(path: str) -> Iterator[list[np.ndarray]]:
        clips: list[np.ndarray] = []
        for _, record in read_records(path):
            clips.append(read_frames(record, model.clip)[1])
            if len(clips) == int(batch):
                yield clips
                clips = []
        if clips:
            yield clips

    done = measuring()
    with beam.Pipeline(options=PipelineOptions([f"--runner={BEAM_RUNNER}"])) as pipeline:
        files = sorted(map(str, (folder / "clips").glob("*/*")))
        clips = pipeline | beam.Create(files) | beam.Reshuffle() | "Read" >> beam.FlatMap(batches)
        _ = clips | RunInference(Handler()) | beam.Map(lambda _: None)
    return done()


def _infer(folder: pathlib.Path, batch: str) -> dict[str, Any]:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from framecast.clips.beam import BEAM_RUNNER
    from framecast.clips.records import find_files
    from framecast.serving.bulk import inference as bulk_inference
    from framecast.serving.exported_model import find_model

    done = measuring()
    bulk_inference.infer(
        find_model(str(folder / "model")),
        list(find_files([str(folder / "clips")])),
        str(folder / "answers"),
        make_pipeline=lambda: beam.Pipeline(options=PipelineOptions([f"--runner={BEAM_RUNNER}"])),
        batch=int(batch),
    )
    return done()


_STEPS: dict[str, Callable[..., Any]] = {
    "prepare": _prepare,
    "choose": _choose,
    _BARE: _bare_model,
    "bare, reading": _bare_reading,
    "RunInference": _run_inference,
    "infer": _infer,
}


def _batches(folder: pathlib.Path, size: int) -> Any:
    """Returns a `tf.data.Dataset` of batches `(batch, time, height, width, 1)` uint8."""
    import tensorflow as tf

    def frames(example: tf.Tensor) -> tf.Tensor:
        spec = {"image/encoded": tf.io.FixedLenSequenceFeature([], tf.string)}
        _, lists = tf.io.parse_single_sequence_example(example, sequence_features=spec)
        decode = lambda image: tf.io.decode_png(image, channels=1)  # noqa: E731
        return tf.map_fn(decode, lists["image/encoded"], fn_output_signature=tf.uint8)

    files = sorted(map(str, (folder / "clips").glob("*/*")))
    examples = tf.data.TFRecordDataset(files, "GZIP").map(frames, num_parallel_calls=tf.data.AUTOTUNE)
    return examples.batch(size).prefetch(tf.data.AUTOTUNE)


def _ask(model: Any, frames: Any) -> None:
    import tensorflow as tf

    length = tf.fill([len(frames)], _FRAMES)
    model.signatures["serving_default"](frames=tf.constant(frames), length=length)["forecast"].numpy()


if __name__ == "__main__":
    main()
