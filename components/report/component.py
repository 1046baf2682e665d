"""Writes the candidate's report: an HTML page and a model card, pushed or not."""

import json
import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.types.experimental import simple_artifacts

from framecast.components.push_decision import decide
from framecast.components.report.evidence import gather, with_answers
from framecast.evaluation.gate.verdict import read_verdict
from framecast.evaluation.report.report import write_report

EVIDENCE = "evidence.json"  # In the output artifact: the data of the page.


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
    tuner_results: InputArtifact[standard_artifacts.TunerResults] = None,  # Makes the input optional in TFX.
    code: Parameter[str] = "",  # noqa: ARG001 - part of the cache key
) -> None:
    """Writes `index.html`, `model_card.md` and `evidence.json`.

    A runner adds facts such as the time of each component, and writes the run's page from `evidence.json`.

    Args:
        examples: The ingested clips; the page shows forecasts of the eval split.
        gate: ValidationGate's output.
        model_run: Trainer's summary and logs.
        model: The candidate.
        evaluation: Evaluator's metrics and verdict.
        infra_blessing: Output of infra validation.
        pushed_model: Pusher's output.
        report: The report.
        config: JSON of the resolved configuration.
        tuner_results: The trials of a search; None without a search.
        code: Digest of the component's code.
    """
    folders = {
        "ClipExampleGen": examples.uri,
        "ValidationGate": gate.uri,
        "Trainer": model_run.uri,
        "model": model.uri,
        "Evaluator": evaluation.uri,
        **({"Tuner": tuner_results.uri} if tuner_results else {}),
    }
    end = decide(pushed_model.mlmd_artifact, infra_blessing.mlmd_artifact, read_verdict(evaluation.uri))
    record = {"verdict": end.verdict, "why": end.why, "version": end.version}
    evidence = with_answers(gather(json.loads(config), record, folders), examples.uri, model.uri)
    fileio.makedirs(report.uri)
    write_report(report.uri, evidence)
    with fileio.open(os.path.join(report.uri, EVIDENCE), "w") as file:
        file.write(evidence.to_json())
