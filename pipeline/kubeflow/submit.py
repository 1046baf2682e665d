"""`framecast kubeflow submit`: a compiled pipeline, sent to Kubeflow Pipelines once or on a schedule."""

import contextlib
import dataclasses
import datetime
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from framecast.pipeline import quiet
from framecast.pipeline.config.config import ConfigError

_TYPES: dict[str, Any] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "STRING": str,
}


@dataclasses.dataclass(frozen=True)
class Submission:
    """What is sent.

    Args:
        file: The compiled pipeline.
        pipeline: Its name.
        tasks: Its tasks.
        name: What the run, or the schedule, is called.
        experiment: The experiment that it is listed under.
        namespace: That of the user, where KFP serves several; None where it serves one.
        cron: When it runs again and again, six fields, seconds first; None for one run now.
        parameters: Every parameter and its value.
    """

    file: str
    pipeline: str
    tasks: list[str]
    name: str
    experiment: str
    namespace: str | None
    cron: str | None
    parameters: dict[str, Any]


def prepare(
    path: str, experiment: str, namespace: str | None = None, cron: str | None = None, given: Sequence[str] = ()
) -> Submission:
    """Reads a compiled pipeline and checks what it is to be run with.

    Args:
        path: What `framecast kubeflow compile` wrote.
        experiment: Name of the experiment.
        namespace: The user's namespace.
        cron: A cron expression of five fields, or six with seconds first.
        given: `name=value` of parameters, in place of what was compiled.

    Raises:
        ConfigError: When it is no compiled pipeline, it has no such parameter, a value is not of its type, or the cron
            expression has another number of fields.
    """
    spec = _read(path)
    definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    parameters = {key: _default(definition) for key, definition in definitions.items()}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals or key not in definitions:
            raise ConfigError(f"--parameter {pair}: expected NAME=VALUE, NAME one of {', '.join(definitions)}")
        parameters[key] = _parse(pair, text, definitions[key]["parameterType"])
    pipeline = spec["pipelineInfo"]["name"]
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Submission(
        file=path,
        pipeline=pipeline,
        tasks=list(spec["root"]["dag"]["tasks"]),
        name=f"{pipeline}-{now}",
        experiment=experiment,
        namespace=namespace,
        cron=_cron(cron) if cron else None,
        parameters=parameters,
    )


def submit(submission: Submission, host: str | None) -> dict[str, str]:
    """Sends a submission.

    Args:
        submission: What to send.
        host: Address of the KFP API, such as `http://localhost:8080`; None inside the cluster.

    Returns:
        `run` or `recurring_run`, the identifier that KFP gave it, and `experiment`, that of the experiment.

    Raises:
        ConfigError: When kfp is not installed.
        ConnectionError: When KFP does not answer.
    """
    with quiet.heavy_imports():
        try:
            import kfp
        except ImportError as error:
            raise ConfigError(
                f"framecast kubeflow submit: expected framecast[kubeflow] to be installed: {error}"
            ) from error
        import urllib3

    try:
        return _send(kfp.Client(host=host, namespace=submission.namespace or "kubeflow"), submission)
    except urllib3.exceptions.HTTPError as error:
        raise ConnectionError(f"--host {host}: expected the API of Kubeflow Pipelines, received: {error}") from error


def _send(client: Any, submission: Submission) -> dict[str, str]:
    # kfp prints links to what it makes, which a script that reads stdout does not expect there.
    with contextlib.redirect_stdout(sys.stderr):
        experiment = client.create_experiment(submission.experiment, namespace=submission.namespace).experiment_id
        sent = {
            "experiment_id": experiment,
            "job_name": submission.name,
            "pipeline_package_path": submission.file,
            "params": submission.parameters,
        }
        if submission.cron is None:
            return {"run": client.run_pipeline(**sent).run_id, "experiment": experiment}
        # One at a time: two runs would train in the same state folder. And no run for days that have passed.
        made = client.create_recurring_run(**sent, cron_expression=submission.cron, max_concurrency=1, no_catchup=True)
    return {"recurring_run": made.recurring_run_id, "experiment": experiment}


def _read(path: str) -> dict[str, Any]:
    try:
        documents = list(yaml.load_all(pathlib.Path(path).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except OSError as error:
        raise ConfigError(f"{path}: expected a compiled pipeline, received: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: expected YAML, received: {error}") from error
    for document in documents:
        if isinstance(document, dict) and {"pipelineInfo", "root", "deploymentSpec"} <= set(document):
            return document
    raise ConfigError(f"{path}: expected a compiled pipeline with pipelineInfo, root and deploymentSpec, found none")


def _default(definition: dict[str, Any]) -> Any:
    value = definition.get("defaultValue")
    # YAML of another compiler may have 3.0 for an integer.
    return int(value) if definition["parameterType"] == "NUMBER_INTEGER" and value is not None else value


def _parse(pair: str, text: str, kind: str) -> Any:
    try:
        return _TYPES[kind](text)
    except KeyError:
        raise ConfigError(f"--parameter {pair}: expected a parameter of {', '.join(_TYPES)}, this is {kind}") from None
    except ValueError:
        raise ConfigError(f"--parameter {pair}: expected {kind}, received {text}") from None


def _cron(expression: str) -> str:
    fields = expression.split()
    if len(fields) == 5:
        # KFP counts seconds too.
        fields.insert(0, "0")
    if len(fields) != 6:
        raise ConfigError(f"--cron: expected 5 fields, or 6 with seconds first, received {expression}")
    return " ".join(fields)
