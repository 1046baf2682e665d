"""Submits a compiled pipeline to Kubeflow Pipelines, once or on a schedule: `framecast kubeflow submit`."""

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
from framecast.pipeline.config.kubeflow import INPUT_FILES
from framecast.pipeline.kubeflow.parameter_checks import check_parameters

_TIMEOUT = 10.0  # Seconds
_NO_LOGIN = "use an address that needs no login, such as that of kubectl port-forward"
_TYPES: dict[str, Any] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "STRING": str,
}


@dataclasses.dataclass(frozen=True)
class Submission:
    """A run, or a schedule of runs, of a compiled pipeline.

    Args:
        file: The compiled pipeline.
        pipeline: Pipeline name.
        tasks: Task names.
        name: Name of the run or the schedule.
        experiment: Experiment that lists it.
        namespace: The user's namespace in a multi-user KFP, else None.
        cron: Schedule of six fields, seconds first; None for one run now.
        parameters: Value of every runtime parameter.
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
    """Reads a compiled pipeline and checks the parameters and the schedule.

    Args:
        path: File written by `framecast kubeflow compile`.
        experiment: Name of the experiment.
        namespace: The user's namespace.
        cron: A cron expression of five fields, or six with seconds first.
        given: `name=value` of parameters that replace the compiled defaults.

    Raises:
        ConfigError: If the file is no compiled pipeline, a parameter is unknown or has a wrong type or value, or the
            cron expression is invalid or never matches.
    """
    spec = _read(path)
    definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    parameters = {key: _default(definition) for key, definition in definitions.items()}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals or key not in definitions:
            raise ConfigError(f"--parameter {pair}: expected NAME=VALUE, NAME one of {', '.join(definitions)}")
        parameters[key] = _parse(pair, text, definitions[key]["parameterType"])
    check_parameters(parameters, _volumes(spec))
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
    """Sends a submission to KFP.

    Args:
        submission: The submission.
        host: Address of the KFP API, such as `http://localhost:8080`; None inside the cluster.

    Returns:
        KFP's identifiers: `run` or `recurring_run`, and `experiment`.

    Raises:
        ConfigError: If kfp is not installed.
        ConnectionError: If KFP does not answer, or refuses.
    """
    with quiet.heavy_imports():
        try:
            import kfp
        except ImportError as error:
            raise ConfigError(
                f"framecast kubeflow submit: expected framecast[kubeflow] to be installed: {error}"
            ) from error
        import kfp_server_api
        import urllib3

    try:
        if host is not None:
            check_api(host)
        return _send(kfp.Client(host=host, namespace=submission.namespace or "kubeflow"), submission)
    except urllib3.exceptions.HTTPError as error:
        raise ConnectionError(f"--host {host}: expected the API of Kubeflow Pipelines, received: {error}") from error
    except kfp_server_api.ApiException as error:
        raise ConnectionError(f"--host {host}: {_refusal(error.status, error.reason)}") from error


def check_api(host: str) -> None:
    """Asks KFP's API whether it is there; kfp repeats a refusal for 25 s, and takes a login page for an answer.

    Raises:
        ConnectionError: If the host refuses, redirects, or answers with something else than JSON.
        urllib3.exceptions.HTTPError: If it cannot be reached, or is silent for 10 s.
    """
    import urllib3

    pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)
    answer = pool.request("GET", f"{host.rstrip('/')}/apis/v2beta1/healthz", redirect=False)
    if 300 <= answer.status < 400:
        # Without the query, which may hold a token.
        to = answer.headers.get("Location", "").partition("?")[0]
        raise ConnectionError(f"--host {host}: redirected to {to}, probably a login; {_NO_LOGIN}")
    if answer.status != 200:
        raise ConnectionError(f"--host {host}: {_refusal(answer.status, answer.reason)}")
    if "json" not in answer.headers.get("Content-Type", ""):
        raise ConnectionError(f"--host {host}: expected JSON of Kubeflow Pipelines, received a page; {_NO_LOGIN}")


def _refusal(status: int, reason: str | None) -> str:
    hint = {
        401: _NO_LOGIN,
        403: "the user may not do this in the namespace (--namespace)",
        404: "expected the API of Kubeflow Pipelines 2 at this address",
    }.get(status, "see the log of ml-pipeline, or try again")
    return f"Kubeflow Pipelines answered {status} {reason or ''}".rstrip() + f"; {hint}"


def _send(client: Any, submission: Submission) -> dict[str, str]:
    # kfp prints links to stdout, where scripts expect only our output.
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
        # One run at a time, because runs share the state folder. No catch-up runs for missed days.
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


def _volumes(spec: dict[str, Any]) -> str | None:
    task = spec["root"]["dag"]["tasks"].get(INPUT_FILES, {})
    given = task.get("inputs", {}).get("parameters", {}).get("volumes", {})
    return given.get("runtimeValue", {}).get("constant")


def _default(definition: dict[str, Any]) -> Any:
    value = definition.get("defaultValue")
    # Other compilers write integers as 3.0.
    return int(value) if definition["parameterType"] == "NUMBER_INTEGER" and value is not None else value


def _parse(pair: str, text: str, kind: str) -> Any:
    try:
        return _TYPES[kind](text)
    except KeyError:
        raise ConfigError(
            f"--parameter {pair}: expected a parameter of type {', '.join(_TYPES)}, received {kind}"
        ) from None
    except ValueError:
        raise ConfigError(f"--parameter {pair}: expected {kind}, received {text}") from None


def _cron(expression: str) -> str:
    fields = expression.split()
    if len(fields) == 5:
        fields.insert(0, "0")  # KFP's first field is the second.
    if len(fields) != 6:
        raise ConfigError(f"--cron: expected 5 fields, or 6 with seconds first, received {expression}")
    try:
        import croniter
    except ImportError as error:
        raise ConfigError(f"--cron: expected framecast[kubeflow] to be installed: {error}") from error

    try:
        croniter.croniter(" ".join(fields), second_at_beginning=True).get_next()  # Fails if no date matches.
    except croniter.CroniterError as error:
        raise ConfigError(f"--cron {expression}: {error}") from error
    return " ".join(fields)
