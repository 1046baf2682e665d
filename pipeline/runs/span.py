"""Decides whether `framecast run --span latest` has nothing to do, because an earlier run ended with that span.

find_finished_run(config.data.train, 20261124, "work")  # The run that ended with span 20261124, or None.
"""

import os

from framecast.pipeline.runs import records


def find_finished_run(train: str, span: int, workdir: str | os.PathLike[str]) -> records.RunRecord | None:
    """Returns the newest run whose newest span is `span` and which reached the Pusher; None if there is none.

    Args:
        train: `data.train` of the configuration; runs on other data do not count.
        span: Number of the span.
        workdir: Work directory of `framecast run`.
    """
    for folder in records.folders(workdir):
        run = records.read(folder)
        if records.newest_span(run) == span and records.is_finished(run) and run.config.get("data.train") == train:
            return run
    return None
