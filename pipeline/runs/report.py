"""The report of a run in the run's own folder: what the Report component saw, and what only the runner knows."""

import dataclasses
import os
import pathlib
from typing import Any

from framecast.components.report.component import EVIDENCE
from framecast.components.report.evidence import gather
from framecast.evaluation.report.evidence import Evidence
from framecast.evaluation.report.report import write_report
from framecast.pipeline.config.config import Config


def write(folder: str | os.PathLike[str], config: Config, record: dict[str, Any], folders: dict[str, str]) -> str:
    """Writes the page and the model card, and returns the page's path.

    Args:
        folder: Where to write.
        config: The run's configuration.
        record: What `run.json` will hold.
        folders: Of the artifacts that there are, as `gather` takes them, and the `Report` component's. Without that
            one, of a run that did not get so far, everything is read anew, but no forecast is made.
    """
    if "Report" in folders:
        evidence = Evidence.from_json(pathlib.Path(folders["Report"], EVIDENCE).read_text())
        evidence = dataclasses.replace(evidence, record=record)
    else:
        evidence = gather(config.model_dump(mode="json"), record, folders)
    return write_report(folder, evidence)
