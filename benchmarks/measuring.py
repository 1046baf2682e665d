"""Runs and measures steps of the benchmarks in separate processes, and holds the set-up that they share."""

import contextlib
import json
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any


def run_step(*step: str) -> Any:
    """Runs this benchmark with `--measure STEP` in a separate process and returns the JSON that the process prints.

    The process inherits the peak memory of this one, which must stay small.
    """
    command = [sys.executable, "-W", "ignore", sys.argv[0], "--measure", *step]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"step '{' '.join(step)}' exited with code {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measuring() -> Callable[[], dict[str, Any]]:
    """Starts measuring; the function returned gives seconds, CPU seconds, and memory in bytes since then."""
    imports, cpu, started = peak(), time.process_time(), time.monotonic()
    return lambda: {
        "seconds": time.monotonic() - started,
        "cpu": time.process_time() - cpu,
        "imports": imports,
        "peak": peak(),
    }


def peak() -> int:
    """Returns the peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def mib(size: int) -> int:
    """Returns bytes as MiB."""
    return round(size / 2**20)


@contextlib.contextmanager
def serving(base: pathlib.Path, *flags: str) -> Iterator[tuple[str, int]]:
    """Runs `framecast serve BASE` with `flags`; yields its address and process id."""
    command = [sys.executable, "-W", "ignore", "-m", "framecast.pipeline.cli.main", "serve", str(base)]
    command += ["--port=0", "--json", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"127.0.0.1:{json.loads(server.stdout.readline())['port']}", server.pid
        finally:
            server.terminate()


def run_evaluator(folder: pathlib.Path, examples: pathlib.Path, model: pathlib.Path, config: Any, beam: Any) -> None:
    """Runs the Evaluator's executor on artifacts that no run has recorded.

    Args:
        folder: Folder for the outputs `evaluation` and `blessing`.
        examples: Artifact of ingested clips with an eval split.
        model: Artifact of an exported model.
        config: The `framecast.pipeline.config.config.Config`.
        beam: The `framecast.pipeline.config.beam.BeamSpec` of the engine.
    """
    from google.protobuf import json_format
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import standard_artifacts

    from framecast.components.evaluator import EvaluatorExecutor
    from framecast.evaluation.gate.thresholds import build_eval_config

    artifacts = {
        "examples": standard_artifacts.Examples(),
        "model": standard_artifacts.Model(),
        "evaluation": standard_artifacts.ModelEvaluation(),
        "blessing": standard_artifacts.ModelBlessing(),
    }
    for name, artifact in artifacts.items():
        artifact.uri = str({"examples": examples, "model": model}.get(name, folder / name))
    artifacts["examples"].split_names = '["eval"]'
    artifacts["examples"].set_string_custom_property("payload_format", "FORMAT_TF_SEQUENCE_EXAMPLE")
    evaluated = build_eval_config(config.evaluate, horizon=config.task.horizon)
    EvaluatorExecutor(BaseBeamExecutor.Context(beam_pipeline_args=beam.beam_flags(), tmp_dir=str(folder))).Do(
        {name: [artifacts[name]] for name in ("examples", "model")},
        {name: [artifacts[name]] for name in ("evaluation", "blessing")},
        {"eval_config": json_format.MessageToJson(evaluated), "example_splits": '["eval"]'},
    )
