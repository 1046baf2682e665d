"""Measures memory and speed of ingest, statistics and Transform by data size: `python benchmarks/ingest.py`.

Makes data sets of moving digits and runs `ClipExampleGen`, `StatisticsGen` and `Transform` on each, one process per
component. No component holds the frames of a split, so the peak memory above the imports should grow by far less than
the encoded size of a frame. For comparison, a bare `tf.data` pipeline reads, parses and decodes the same files. Total
rates include the fixed cost of a component; steady rates, between the smallest and the largest data set, do not.
"""

import argparse
import dataclasses
import json
import pathlib
import tempfile
import time
from typing import Any

from measuring import mib, peak, run_step

from framecast.pipeline import quiet

_COMPONENTS = {  # With the splits that each reads.
    "ClipExampleGen": ("train", "val", "eval"),
    "StatisticsGen": ("train", "val", "eval"),
    "Transform": ("train", "val"),
}
_LENGTHS = (8, 24)
_CONFIG = """
data: {{train: "{folder}/clips/train/*", eval: "{folder}/clips/eval/*"}}
clip: {{frames: {{min: 8, max: 24}}}}
task: {{horizon: 5, context: {{min: 3}}}}
model: {{preset: convlstm-tiny}}
train: {{steps: 1}}
push: {{directory: "{folder}/serving"}}
"""


@dataclasses.dataclass(frozen=True)
class Measure:
    """Seconds and peak memory in bytes of a component, or of `tf.data`, for a number of frames."""

    name: str
    frames: int
    seconds: float
    imports: int = 0
    peak: int = 0

    @property
    def above(self) -> int:
        """Peak memory above that of the imports."""
        return self.peak - self.imports

    def row(self, bare: "Measure") -> str:
        """Formats a row of the table."""
        rate = self.frames / self.seconds
        line = (
            f"{self.name:<16}{self.frames:>8}{self.seconds:>9.1f}{rate:>10.0f}{rate * bare.seconds / bare.frames:>9.2f}"
        )
        return f"{line}{mib(self.peak):>10}{mib(self.above):>15}" if self.peak else line


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[10_000, 100_000], help="frames per data set, about")
    parser.add_argument("--size", type=int, default=128, help="side of a frame in pixels")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "COMPONENT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quiet.set_log_levels()
    if arguments.measure:
        print(json.dumps(_run_component(*arguments.measure)))
        return
    measures: dict[str, list[Measure]] = {}
    print(f"{'':<16}{'frames':>8}{'seconds':>9}{'frames/s':>10}{'of bare':>9}{'peak MiB':>10}{'above imports':>15}")
    for frames in sorted(arguments.frames):
        with tempfile.TemporaryDirectory() as folder:
            found = _measure(pathlib.Path(folder), frames, arguments.size)
        for measure in found:
            measures.setdefault(measure.name, []).append(measure)
            print(measure.row(found[0]), flush=True)
    (bare, *components) = measures.values()
    if len(bare) > 1:
        steady_bare = _steady(bare)
        print(f"\n{'steady':<16}{'frames/s':>10}{'of bare':>9}{'above imports':>15}{'growth, bytes per frame':>24}")
        print(f"{bare[0].name:<16}{steady_bare:>10.0f}{1:>9.2f}")
        for small, *_, large in components:
            steady = _steady([small, large])
            growth = (large.above - small.above) / (large.frames - small.frames)
            print(
                f"{small.name:<16}{steady:>10.0f}{steady / steady_bare:>9.2f}{'x':>10} {large.above / small.above:4.2f}"
                f"{growth:>24.0f}"
            )


def _measure(folder: pathlib.Path, frames: int, size: int) -> list[Measure]:
    """Makes a data set and measures `tf.data` and each component on it."""
    from framecast.clips.demo.moving_digits import make_demo  # Imports TensorFlow, so after `quiet`.

    started = time.monotonic()
    clips = frames * 2 // sum(_LENGTHS)
    make_demo(folder / "clips", clips=clips, seed=0, size=size, frames=_LENGTHS)
    seconds = time.monotonic() - started
    files = sorted((folder / "clips").glob("*/*"))
    (folder / "config.yaml").write_text(_CONFIG.format(folder=folder))
    bare = run_step(str(folder), "tf.data")
    encoded = sum(file.stat().st_size for file in files) / bare["frames"]
    print(f"{clips} clips made in {seconds:.1f} s; a frame takes {encoded:.0f} bytes encoded, {size * size} decoded")
    found = [Measure("tf.data", bare["frames"], bare["seconds"])]
    for component, splits in _COMPONENTS.items():
        took = run_step(str(folder), component)
        (summary,) = folder.glob("work/artifacts/ClipExampleGen/examples/*/ingest.json")
        counts = json.loads(summary.read_text())["splits"]
        found.append(Measure(component, sum(counts[split]["frames"] for split in splits), **took))
    return found


def _run_component(folder: str, name: str) -> dict[str, Any]:
    """Runs one component, with the earlier ones from the cache, or reads the clips with `tf.data`."""
    if name == "tf.data":
        return _read_clips(sorted(str(file) for file in pathlib.Path(folder).glob("clips/*/*")))
    from framecast.pipeline.config import config
    from framecast.pipeline.dag import dag  # noqa: F401 - imports of a run
    from framecast.pipeline.runs import progress, run, runner  # noqa: F401

    imports = peak()
    result = run.run(config.load(f"{folder}/config.yaml"), f"{folder}/work", None, name, quiet=True)
    if result.verdict == "failed":
        raise RuntimeError(result.why)
    (component,) = (component for component in result.components if component["name"] == name)
    return {"seconds": component["seconds"], "imports": imports, "peak": peak()}


def _read_clips(files: list[str]) -> dict[str, Any]:
    """Reads, parses and decodes every frame."""
    import tensorflow as tf

    def encoded(examples: tf.Tensor) -> tf.data.Dataset:
        features = {"image/encoded": tf.io.RaggedFeature(tf.string)}
        _, lists, _ = tf.io.parse_sequence_example(examples, sequence_features=features)
        return tf.data.Dataset.from_tensor_slices(lists["image/encoded"].flat_values)

    started = time.monotonic()
    examples = tf.data.TFRecordDataset(files, "GZIP").batch(32)
    decoded = examples.flat_map(encoded).map(tf.io.decode_png, num_parallel_calls=tf.data.AUTOTUNE)
    frames = sum(len(batch) for batch in decoded.batch(64).prefetch(tf.data.AUTOTUNE))
    return {"frames": frames, "seconds": time.monotonic() - started}


def _steady(measures: list[Measure]) -> float:
    """Returns the frames per second between the smallest and the largest data set."""
    first, *_, last = measures
    return (last.frames - first.frames) / (last.seconds - first.seconds)


if __name__ == "__main__":
    main()
