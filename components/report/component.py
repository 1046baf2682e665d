"""Report: one HTML page and a model card about the candidate, whatever became of it."""

import json
import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.types.experimental import simple_artifacts

from framecast.components.outcome import outcome
from framecast.components.report.evidence import gather, with_answers
from framecast.evaluation.gate.verdict import read_verdict
from framecast.evaluation.report.report import write_report

EVIDENCE = "evidence.json"  # In the output artifact: what the page was written from.


@component
def Report(
    examples: InputArtifact[standard_artifacts.Examples],
    gate: InputArtifact[simple_artifacts.File],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    model: InputArtifact[standard_artifacts.Model],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing],
    pushed_model: InputArtifact[standard_artifacts.PushedModel],
    report: OutputArtifact[simple_artifacts.File],
    config: Parameter[str],
    tuner_results: InputArtifact[standard_artifacts.TunerResults] = None,  # To TFX, optional.
    code: Parameter[str] = "",  # noqa: ARG001 - a part of the cache key
) -> None:
    """Writes `index.html`, `model_card.md` and `evidence.json`.

    A runner that knows more, such as how long each component took, writes the run's own page from `evidence.json`.

    Args:
        examples: The ingested clips; those of the eval split are forecast.
        gate: What was compared of the data.
        model_run: The Trainer's summary and logs.
        model: The candidate.
        evaluation: Figures and verdict.
        infra_blessing: Whether the candidate serves.
        pushed_model: Whether it was pushed.
        report: The report.
        config: JSON of the resolved configuration.
        tuner_results: The trials of a search; None where there was none.
        code: Digest of the code behind this component.
    """
    folders = {
        "ClipExampleGen": examples.uri,
        "ValidationGate": gate.uri,
        "Trainer": model_run.uri,
        "model": model.uri,
        "Evaluator": evaluation.uri,
        **({"Tuner": tuner_results.uri} if tuner_results else {}),
    }
    end = outcome(pushed_model.mlmd_artifact, infra_blessing.mlmd_artifact, read_verdict(evaluation.uri))
    record = {"verdict": end.verdict, "why": end.why, "version": end.version}
    evidence = with_answers(gather(json.loads(config), record, folders), examples.uri, model.uri)
    fileio.makedirs(report.uri)
    write_report(report.uri, evidence)
    with fileio.open(os.path.join(report.uri, EVIDENCE), "w") as file:
        file.write(evidence.to_json())
