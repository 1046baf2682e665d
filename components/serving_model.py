"""Copies the serving model into a Model artifact, as the baseline of Evaluator and for a warm start."""

import os

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from framecast.clips import filesystem
from framecast.components.artifact_properties import PRESENT
from framecast.models.training import warm_start
from framecast.serving import versions


@component
def ServingModel(
    model: OutputArtifact[standard_artifacts.Model],
    directory: Parameter[str],
    contract: Parameter[str] = "",
    fingerprint: Parameter[str] = "",  # noqa: ARG001 - part of the cache key
    code: Parameter[str] = "",  # noqa: ARG001 - part of the cache key
) -> None:
    """Copies the newest version under `directory` into a Model artifact.

    The artifact always exists. Its property `present` is 0 if no comparable model is serving; `reason` says why. It
    replaces TFX's Resolver, which does not run on open-source Kubeflow Pipelines.

    Args:
        model: The copy, with the properties `present`, `version` and `reason`.
        directory: Where versions are pushed to.
        contract: The settings that candidate and serving model must share to be compared (`framecast.json`, key
            `contract`); if empty, any model is comparable.
        fingerprint: Number and digest of the serving model when the run starts.
        code: Digest of the component's code.
    """
    fileio.makedirs(model.uri)
    version = versions.newest(directory)
    reason = ""
    if version is None:
        reason = "nothing is serving"
    else:
        source = versions.path(directory, version)
        serving = versions.read_card(source).get("contract", "")
        if contract and serving != contract:
            reason = f"version {version} has another contract: {serving}"
        else:
            for name in filesystem.list_below(source):
                filesystem.copy(
                    os.path.join(source, name), os.path.join(path_utils.serving_model_path(model.uri), name)
                )
            model.set_string_custom_property("version", str(version))
    model.set_int_custom_property(PRESENT, 0 if reason else 1)
    model.set_string_custom_property("reason", reason)
    # Written without a model too, because object stores drop an empty folder.
    with fileio.open(os.path.join(model.uri, warm_start.NOTE), "w") as file:
        file.write(f"{reason or f'version {version}'}\n")
