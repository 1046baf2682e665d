"""Finds the files of a run of a compiled pipeline, when and where it runs.

A pipeline is compiled without access to the data, and may run every day on new files. TFX's driver, which fingerprints
files before a cache lookup, does not run on Kubeflow Pipelines.
"""

import json

from tfx.dsl.component.experimental.annotations import OutputDict, Parameter
from tfx.dsl.component.experimental.decorators import component

from framecast.clips import spans
from framecast.clips.fingerprint import fingerprint
from framecast.components import run_parameters
from framecast.components.run_parameters import EVAL_DATA, NEWEST, PUSH_DIRECTORY, SPAN, TRAIN_DATA, TRAIN_STEPS


@component
def InputFiles(
    train: Parameter[str],
    eval: Parameter[str] = "",
    count: Parameter[int] = 1,
    newest: Parameter[int] = NEWEST,
    marker: Parameter[str] = "",
    known_digests: Parameter[str] = "",
    train_steps: Parameter[int] = 1,
    push_directory: Parameter[str] = "",
    parameters: Parameter[str] = "[]",
    volumes: Parameter[str] = "[]",
) -> OutputDict(files=str, spans=str):  # type: ignore[valid-type] # TFX reads the annotation's value
    """Resolves `{SPAN}` and fingerprints the files, so that new files change the parameters of ClipExampleGen.

    Must never be cached, because its own parameters do not change with the files.

    Args:
        train: `data.train` of the configuration.
        eval: `data.eval`, or empty.
        count: `data.spans`.
        newest: Number of the newest span to use; -1 for the newest complete one.
        marker: `data.span_done`, or empty.
        known_digests: File that keeps the digests of input files between runs, see `framecast.clips.fingerprint`.
        train_steps: `train.steps`, only checked.
        push_directory: `push.directory`, only checked.
        parameters: JSON list of the pipeline's parameters, which are checked.
        volumes: JSON list of the folders where the pods that push mount volumes.

    Returns:
        `files`: JSON with `patterns`, a glob pattern or one per span for each of `train` and `eval`, and a
        `fingerprint` of the names and contents of the files; `spans`: JSON list of the spans, lowest first.

    Raises:
        ValueError: If a parameter is wrong, there are no files, no span is complete, or as
            `framecast.clips.spans.resolve`.
    """
    values = {
        TRAIN_DATA: train, EVAL_DATA: eval, SPAN: newest, TRAIN_STEPS: train_steps, PUSH_DIRECTORY: push_directory
    }  # fmt: skip
    run_parameters.check({name: values[name] for name in json.loads(parameters)}, json.loads(volumes))
    given = {"data.train": train} | ({"data.eval": eval} if eval else {})
    if newest == NEWEST and spans.SPAN in train:
        newest, why_not = spans.newest_complete(given, marker or None)
        if newest is None:
            raise ValueError(why_not)
    resolved = spans.resolve(given, count, None if newest == NEWEST else newest)
    fingerprints = []
    for key, found in resolved.items():
        parts = {"": found} if isinstance(found, str) else found
        for span, pattern in parts.items():
            try:
                fingerprints.append(f"{key}{span}: {fingerprint(pattern, known_digests)}")
            except OSError as error:
                raise ValueError(f"{key}: {error}") from error
    files = {
        "patterns": {key.removeprefix("data."): found for key, found in resolved.items()},
        "fingerprint": "\n".join(fingerprints),
    }
    of_train = resolved["data.train"]
    return {"files": json.dumps(files), "spans": json.dumps([] if isinstance(of_train, str) else list(of_train))}
