"""Measures time and memory of every Beam component on each engine: `python benchmarks/engines.py`.

Makes data sets of moving digits of 128x128 and runs `ClipExampleGen`, `StatisticsGen`, `Transform` and the Evaluator's
executor on them, each in a separate process: in one and two local processes, and on a Flink cluster of one and two task
managers (from `tests/flink`, needs Java 17 and Maven). The smallest data set shows the fixed cost of a job. The peak is
the memory of all processes of a job together, Flink's Java included.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import yaml
from measuring import mib, run_evaluator, run_step

from framecast.pipeline import quiet

_TREE = pathlib.Path(__file__).resolve().parent.parent
_COMPONENTS = ("ClipExampleGen", "StatisticsGen", "Transform", "Evaluator")
_ENGINES = ("local 1", "local 2", "flink 1", "flink 2")
_LENGTHS = (8, 24)
_CONFIG = """
data: {{train: "{folder}/clips/train/*", eval: "{folder}/clips/eval/*"}}
clip: {{frames: {{min: 8, max: 24}}}}
task: {{horizon: 5, context: {{min: 3}}}}
model: {{preset: convlstm-coarse}}
train: {{steps: 1}}
push: {{directory: "{folder}/serving"}}
"""


@dataclasses.dataclass(frozen=True)
class Measure:
    """Seconds of a component on an engine, and peak memory in bytes of all processes of the job."""

    seconds: float
    peak: int

    def cell(self) -> str:
        """Formats the measure for the table."""
        return f"{self.seconds:>8.0f} s{mib(self.peak):>7} MiB"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[400, 10_000, 100_000], help="frames per data set, about"
    )
    parser.add_argument("--size", type=int, default=128, help="side of a frame in pixels")
    parser.add_argument("--engines", nargs="+", default=_ENGINES, choices=_ENGINES)
    parser.add_argument("--measure", nargs=3, metavar=("FOLDER", "COMPONENT", "BEAM"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quiet.set_log_levels()
    if arguments.measure:
        folder, component, beam = arguments.measure
        print(json.dumps(_measure(pathlib.Path(folder), component, json.loads(beam))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folders = [pathlib.Path(temporary) / str(frames) for frames in sorted(arguments.frames)]
        frames = [_prepare(folder, arguments.size) for folder in folders]
        print(f"{'':<9}{'':<16}" + "".join(f"{f'{count} frames':>22}" for count in frames))
        for engine in arguments.engines:
            with _running(engine, pathlib.Path(temporary)) as (beam, cluster):
                for component in _COMPONENTS:
                    cells = []
                    for folder in folders:
                        cells.append(_run(folder, component, beam, cluster).cell())
                        print(f"# {engine} {component} {folder.name}: {cells[-1]}", file=sys.stderr, flush=True)
                    print(f"{engine:<9}{component:<16}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def _prepare(folder: pathlib.Path, size: int) -> int:
    """Makes a data set, whose number of frames is the folder's name, and a model; returns the actual number."""
    return int(run_step(str(folder), "prepare", json.dumps(size)))


def _make(folder: pathlib.Path, size: int) -> int:
    import keras

    from framecast.clips.demo.moving_digits import make_demo
    from framecast.clips.validation import read_clips
    from framecast.models.export.module import save_module
    from framecast.models.networks import builders
    from framecast.pipeline.commands import check
    from framecast.pipeline.config import config

    make_demo(folder / "clips", clips=int(folder.name) * 2 // sum(_LENGTHS), seed=0, size=size, frames=_LENGTHS)
    (folder / "config.yaml").write_text(_CONFIG.format(folder=folder))
    resolved = config.load(str(folder / "config.yaml"))
    keras.utils.set_random_seed(0)
    model = builders.build(resolved.model, resolved.task, resolved.clip, keras.DTypePolicy("float32"))
    save_module(check.untrained_module(model, resolved), str(folder / "model/Format-Serving"), {})
    files = sorted((folder / "clips").glob("*/*"))
    return sum(
        len(clip.feature_lists.feature_list["image/encoded"].feature)
        for file in files
        for clip in read_clips(str(file), resolved.clip)
    )


@contextlib.contextmanager
def _running(engine: str, folder: pathlib.Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yields the `beam` section of an engine, and its cluster or None."""
    name, count = engine.split()
    if name == "local":
        yield {"engine": "local", "parallelism": int(count)}, None
        return
    sys.path.insert(0, str(_TREE / "tests/flink"))
    from cluster import FlinkCluster

    with FlinkCluster(folder / engine.replace(" ", "-"), int(count)) as cluster:
        yield cluster.section, cluster


def _run(folder: pathlib.Path, component: str, beam: dict[str, Any], cluster: Any) -> Measure:
    """Measures a component in a separate process; adds the memory of the cluster's processes."""
    done, largest = threading.Event(), 0

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.5):
            largest = max(largest, cluster.memory())

    thread = threading.Thread(target=watch)
    if cluster:
        thread.start()
    try:
        found = run_step(str(folder), component, json.dumps(beam))
    finally:
        done.set()
        if cluster:
            thread.join()
    return Measure(found["seconds"], found["peak"] + largest)


def _measure(folder: pathlib.Path, component: str, beam: Any) -> Any:
    if component == "prepare":
        return _make(folder, beam)
    if component == "Evaluator":
        return _evaluate(folder, beam)
    from framecast.pipeline.config import config
    from framecast.pipeline.runs import run

    resolved = config.load(str(folder / "config.yaml"), [f"beam={yaml.safe_dump(beam, default_flow_style=True)}"])
    result = run.run(resolved, str(_work(folder, beam)), None, component, quiet=True)
    if result.verdict == "failed":
        raise RuntimeError(result.why)
    (found,) = (one for one in result.components if one["name"] == component)
    return {"seconds": found["seconds"], "peak": found["peak_memory"]}


def _evaluate(folder: pathlib.Path, beam: dict[str, Any]) -> dict[str, Any]:
    """Runs the Evaluator's executor on the outputs of ClipExampleGen and the untrained model."""
    from framecast.components import evaluator  # noqa: F401 - imported before measuring starts
    from framecast.pipeline.config import config
    from framecast.pipeline.config.beam import BeamSpec
    from framecast.pipeline.runs.peak_memory import PeakMemory

    resolved = config.load(str(folder / "config.yaml"))
    work = _work(folder, beam)
    (examples,) = work.glob("artifacts/ClipExampleGen/examples/*")
    started = time.monotonic()
    with PeakMemory() as memory:
        run_evaluator(work, examples, folder / "model", resolved, BeamSpec.model_validate(beam))
    return {"seconds": time.monotonic() - started, "peak": memory.bytes}


def _work(folder: pathlib.Path, beam: dict[str, Any]) -> pathlib.Path:
    return folder / f"work-{beam['engine']}-{beam['parallelism']}"


if __name__ == "__main__":
    main()
