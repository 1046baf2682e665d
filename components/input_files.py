"""InputFiles: which files a run reads, found out where and when it runs.

A pipeline that is compiled for a cluster is compiled without the data at hand, and may run every day on new ones.
TFX's driver, which looks for files before it asks the cache, does not run on Kubeflow Pipelines.
"""

import json

from tfx.dsl.component.experimental.annotations import OutputDict, Parameter
from tfx.dsl.component.experimental.decorators import component

from framecast.clips import filesystem, spans

NEWEST = -1  # In place of a span's number: the newest that is whole.


@component
def InputFiles(
    train: Parameter[str],
    eval: Parameter[str] = "",
    count: Parameter[int] = 1,
    newest: Parameter[int] = NEWEST,
    marker: Parameter[str] = "",
) -> OutputDict(files=str, spans=str):  # type: ignore[valid-type] # TFX reads the annotation's value
    """Resolves `{SPAN}` and fingerprints the files, so that what reads them notices new ones by its parameters.

    Must never be cached itself.

    Args:
        train: `data.train` of the configuration.
        eval: `data.eval`; empty when there is none.
        count: `data.spans`.
        newest: Number of the newest span that is taken; -1 for the newest that is whole.
        marker: `data.span_done`; empty when there is none.

    Returns:
        `files`: JSON with `patterns`, by `train` and `eval` a glob pattern or one by span, and the `fingerprint` of
        number, names, sizes and times of the files; `spans`: JSON list of the spans, lowest first.

    Raises:
        ValueError: When there are no files, no span is whole, or as from `framecast.clips.spans.resolve`.
    """
    given = {"data.train": train} | ({"data.eval": eval} if eval else {})
    if newest == NEWEST and spans.SPAN in train:
        newest, why_not = spans.newest_complete(given, marker or None)
        if newest is None:
            raise ValueError(why_not)
    resolved = spans.resolve(given, count, None if newest == NEWEST else newest)
    fingerprints = []
    for key, own in resolved.items():
        parts = {"": own} if isinstance(own, str) else own
        for span, pattern in parts.items():
            try:
                fingerprints.append(f"{key}{span}: {filesystem.fingerprint(pattern)}")
            except OSError as error:
                raise ValueError(f"{key}: {error}") from error
    files = {
        "patterns": {key.removeprefix("data."): own for key, own in resolved.items()},
        "fingerprint": "\n".join(fingerprints),
    }
    own = resolved["data.train"]
    return {"files": json.dumps(files), "spans": json.dumps([] if isinstance(own, str) else list(own))}
