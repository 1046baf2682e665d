"""Measures memory and speed of the Evaluator by number of clips: `python benchmarks/evaluate.py`.

The Evaluator's executor evaluates an untrained model on moving digits: TFMA with every metric and slice of
`configs/demo.yaml`. Its peak memory above the imports should not grow with the number of clips. The bare model runs
`serving_default` for the same forecasts in batches, on clips read and decoded by `tf.data`. Total times include the
fixed cost of an evaluation, most of it graph tracing; steady times, the difference between many and few clips, do not.
CPU seconds depend less on other load on the machine.
"""

import argparse
import dataclasses
import json
import pathlib
import tempfile
from typing import Any

from measuring import measuring, mib, run_evaluator, run_step

from framecast.pipeline import quiet

_FRAMES, _SIZE, _BATCH = 24, 64, 8
_CONFIG = pathlib.Path(__file__).resolve().parent.parent / "configs/demo.yaml"


@dataclasses.dataclass(frozen=True)
class Measure:
    """Times and peak memory in bytes for a number of clips."""

    clips: int
    seconds: float
    cpu: float
    imports: int
    peak: int

    def row(self, name: str) -> str:
        """Formats a row of the table."""
        times = f"{self.seconds:>9.1f}{self.cpu:>13.1f}"
        return f"{name:<12}{self.clips:>7}{times}{mib(self.peak):>10}{mib(self.above):>15}"

    @property
    def above(self) -> int:
        """Peak memory above that of the imports."""
        return self.peak - self.imports


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
    measures: dict[str, list[Measure]] = {name: [] for name in _MEASURED}
    print(f"{'':<12}{'clips':>7}{'seconds':>9}{'CPU seconds':>13}{'peak MiB':>10}{'above imports':>15}")
    for clips in arguments.clips:
        with tempfile.TemporaryDirectory() as folder:
            run_step("prepare", folder, str(clips), arguments.preset)
            for name, found in measures.items():
                found.append(Measure(clips, **run_step(name, folder)))
                print(found[-1].row(name), flush=True)
    steady = {name: _steady(*found) for name, found in measures.items()}
    few, many = measures["Evaluator"]
    for name, (seconds, cpu) in steady.items():
        print(f"{name}, steady: {1000 * seconds:.1f} ms per clip, {1000 * cpu:.1f} ms of CPU")
    ratios = (a / b for a, b in zip(steady["Evaluator"], steady["bare model"]))
    print("the Evaluator to the bare model: x {:.2f}, of CPU x {:.2f}".format(*ratios))
    growth = (many.above - few.above) / (many.clips - few.clips)
    print(f"the Evaluator's memory: x {many.above / few.above:.2f}, {growth:.0f} bytes per clip")


def _prepare(folder: pathlib.Path, clips: str, preset: str) -> None:
    """Writes the Evaluator's inputs: ingested clips and an exported model."""
    import keras

    from framecast.clips.demo.moving_digits import make_demo
    from framecast.clips.records import write_records
    from framecast.clips.validation import read_clips
    from framecast.models.export.module import save_module
    from framecast.models.networks import builders
    from framecast.pipeline.commands import check
    from framecast.pipeline.config import config

    resolved = config.load(str(_CONFIG), [f"model.preset={preset}", f"clip.frames.max={_FRAMES}"])
    make_demo(folder / "clips", clips=int(clips), seed=0, size=_SIZE, frames=(_FRAMES, _FRAMES))
    (folder / "examples/Split-eval").mkdir(parents=True)
    for number, path in enumerate(sorted((folder / "clips").glob("*/*"))):
        records = (clip.SerializeToString() for clip in read_clips(str(path), resolved.clip))
        write_records(folder / f"examples/Split-eval/clips-{number:05}.gz", records)
    keras.utils.set_random_seed(0)
    model = builders.build(resolved.model, resolved.task, resolved.clip, keras.DTypePolicy("float32"))
    save_module(check.untrained_module(model, resolved), str(folder / "model/Format-Serving"), {})
    (folder / "config.json").write_text(resolved.model_dump_json())


def _evaluator(folder: pathlib.Path) -> dict[str, Any]:
    """Runs the Evaluator's executor on the prepared artifacts."""
    from framecast.components import evaluator  # noqa: F401 - imported before measuring starts
    from framecast.evaluation.gate.verdict import read_verdict
    from framecast.pipeline.config import config

    resolved = config.Config.model_validate_json((folder / "config.json").read_text())
    done = measuring()
    run_evaluator(folder, folder / "examples", folder / "model", resolved, resolved.beam)
    read_verdict(str(folder / "evaluation"))
    return done()


def _bare_model(folder: pathlib.Path) -> dict[str, Any]:
    """Computes the forecasts that the Evaluator evaluates, and nothing else."""
    import tensorflow as tf

    horizon = json.loads((folder / "config.json").read_text())["task"]["horizon"]

    def frames(example: tf.Tensor) -> tf.Tensor:
        spec = {"image/encoded": tf.io.FixedLenSequenceFeature([], tf.string)}
        _, lists = tf.io.parse_single_sequence_example(example, sequence_features=spec)
        context = lists["image/encoded"][:-horizon]
        return tf.map_fn(lambda image: tf.io.decode_png(image, channels=1), context, fn_output_signature=tf.uint8)

    done = measuring()
    files = sorted(str(path) for path in (folder / "examples/Split-eval").iterdir())
    model = tf.saved_model.load(str(folder / "model/Format-Serving"))
    examples = tf.data.TFRecordDataset(files, "GZIP").map(frames, num_parallel_calls=tf.data.AUTOTUNE)
    for batch in examples.batch(_BATCH).prefetch(tf.data.AUTOTUNE):
        model.signatures["serving_default"](frames=batch, length=tf.fill([len(batch)], _FRAMES - horizon))
    return done()


_MEASURED = {"bare model": _bare_model, "Evaluator": _evaluator}
_STEPS = {"prepare": _prepare, **_MEASURED}


def _steady(few: Measure, many: Measure) -> tuple[float, float]:
    """Returns seconds and CPU seconds per clip without the fixed cost of an evaluation."""
    clips = many.clips - few.clips
    return (many.seconds - few.seconds) / clips, (many.cpu - few.cpu) / clips


if __name__ == "__main__":
    main()
