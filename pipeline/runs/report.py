"""Writes the report of a run to the run's folder: the Report component's evidence, completed by the run's record."""

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
        folder: Folder to write to.
        config: The configuration of the run.
        record: Content of `run.json`.
        folders: Folders of the run's artifacts, by the keys of `gather`, and of `Report`. Without `Report`, because the
            run ended before it, the evidence is read from the other artifacts and has no forecasts.
    """
    if "Report" in folders:
        evidence = Evidence.from_json(pathlib.Path(folders["Report"], EVIDENCE).read_text())
        evidence = dataclasses.replace(evidence, record=record)
    else:
        evidence = gather(config.model_dump(mode="json"), record, folders)
    return write_report(folder, evidence)
