"""Runs the serving model on a set of clips and writes the predictions to a folder per version and input."""

import glob
import os
import shutil
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.types.experimental import simple_artifacts

from framecast.clips import filesystem
from framecast.clips.fingerprint import fingerprint_of
from framecast.clips.records import MANIFEST, find_files
from framecast.components.artifact_properties import property_of
from framecast.serving import versions
from framecast.serving.bulk import inference as bulk_inference
from framecast.serving.bulk.spec import InferSpec
from framecast.serving.exported_model import find_model


class BulkInferenceSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of BulkInference."""

    PARAMETERS = {
        "directory": component_spec.ExecutionParameter(type=str),
        "infer": component_spec.ExecutionParameter(type=str),
        "skip_bad": component_spec.ExecutionParameter(type=int),
        "fingerprint": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}
    OUTPUTS = {"answers": component_spec.ChannelParameter(type=simple_artifacts.File)}


class BulkInferenceExecutor(base_beam_executor.BaseBeamExecutor):
    """Uses the pushed version, or the serving version if it equals the candidate."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Writes predictions; none, with the property `reason`, if the candidate was rejected."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        answers = artifact_utils.get_single_instance(output_dict["answers"])
        fileio.makedirs(answers.uri)
        record = os.path.join(answers.uri, MANIFEST)
        version = property_of(pushed.mlmd_artifact, "pushed_version")
        if version is None:
            answers.set_string_custom_property("reason", "the candidate was rejected")
            # A file is written without predictions too, because object stores drop an empty folder.
            with fileio.open(record, "w") as file:
                file.write("{}\n")
            return
        spec = InferSpec.model_validate_json(exec_properties["infer"])
        files = list(find_files([spec.data]))
        to = os.path.join(spec.to, f"{version}-{fingerprint(spec.data)}")
        manifest = bulk_inference.infer(
            find_model(versions.path(exec_properties["directory"], int(version))),
            files,
            to,
            make_pipeline=self._make_beam_pipeline,
            kind=spec.format,
            batch=spec.batch,
            skip_bad=bool(exec_properties["skip_bad"]),
        )
        shutil.copy(os.path.join(to, MANIFEST), record)
        answers.set_string_custom_property("folder", to)
        for name in ("clips", "left_out"):
            answers.set_int_custom_property(name, manifest[name])
        answers.set_int_custom_property("bad", len(manifest["bad"]))


class BulkInference(base_beam_component.BaseBeamComponent):
    """Runs the serving model on clips.

    Args:
        pushed_model: Pusher's output.
        directory: Where versions are pushed to.
        infer: The clips, and the output folder.
        skip_bad: Whether bad clips are left out and listed in the manifest, instead of ending the run.
        fingerprint: Digest of the input files, part of the cache key; empty in a compiled pipeline.
        code: Digest of the component's code; part of the cache key.
    """

    SPEC_CLASS = BulkInferenceSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(BulkInferenceExecutor)

    def __init__(
        self,
        pushed_model: types.BaseChannel,
        directory: Any,
        infer: InferSpec,
        skip_bad: bool,
        fingerprint: str,
        code: str,
    ):
        spec = BulkInferenceSpec(
            pushed_model=pushed_model,
            directory=directory,
            infer=infer.model_dump_json(),
            skip_bad=int(skip_bad),
            fingerprint=fingerprint,
            code=code,
            answers=types.Channel(type=simple_artifacts.File),
        )
        super().__init__(spec=spec)


def fingerprint(pattern: str, known: str = "") -> str:
    """Returns a digest of the names and contents of the files that match a pattern.

    Args:
        pattern: As `InferSpec.data`.
        known: File that keeps digests between runs, see `framecast.clips.fingerprint`.
    """
    files = [file for path in find_files([pattern]) for file in filesystem.list_files(glob.escape(path))]
    return fingerprint_of(files, known).rpartition(" ")[2][:8]
