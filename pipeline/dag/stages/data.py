"""Builds the components that ingest and validate clips."""

import json
import os
from typing import Any

from google.protobuf import text_format
from tfx.components import ExampleValidator, SchemaGen, StatisticsGen
from tfx.orchestration.data_types import RuntimeParameter

from framecast.clips import spans
from framecast.clips.fingerprint import known_digests
from framecast.clips.spans import Patterns
from framecast.components.clip_example_gen.component import ClipExampleGen
from framecast.components.clip_example_gen.parameters import FILES
from framecast.components.import_schema_gen import ImportSchemaGen
from framecast.components.input_files import InputFiles
from framecast.components.run_parameters import EVAL_DATA, PUSH_DIRECTORY, SPAN, TRAIN_DATA, TRAIN_STEPS
from framecast.components.validation_gate import span_statistics
from framecast.components.validation_gate.component import ValidationGate
from framecast.pipeline.config.config import Config
from framecast.pipeline.config.inputs import Inputs
from framecast.pipeline.dag.code_digest import code_digest
from framecast.pipeline.dag.contract import statistics_key
from framecast.pipeline.dag.runtime_parameters import set_runtime_properties
from framecast.schemas.schema import build_schema


def input_files(config: Config, workdir: str, parameters: dict[str, RuntimeParameter]) -> Any:
    """Returns InputFiles, which finds the files when a compiled pipeline runs."""
    optional: dict[str, Any] = {
        key: parameters[name] for key, name in (("eval", EVAL_DATA), ("newest", SPAN)) if name in parameters
    }
    if config.data.span_done is not None:
        optional["marker"] = config.data.span_done
    return InputFiles(
        train=parameters[TRAIN_DATA],
        count=config.data.spans,
        known_digests=known_digests(workdir),
        train_steps=parameters[TRAIN_STEPS],
        push_directory=parameters[PUSH_DIRECTORY],
        parameters=json.dumps(list(parameters)),
        volumes=json.dumps(_push_volumes(config)),
        **optional,
    )


def _push_volumes(config: Config) -> list[str]:
    """Returns the folders where every pod that reads or writes the versions mounts a volume."""
    pods = ["ServingModel", "Pusher"] + (["BulkInference"] if config.infer else [])
    mounted = [{volume.path for volume in config.kubeflow.task(pod).volumes} for pod in pods]
    return sorted(set.intersection(*mounted))


def clip_example_gen(config: Config, inputs: Inputs | None, workdir: str, files: Any | None) -> ClipExampleGen:
    """Returns ClipExampleGen: reads clips, validates every frame, splits by recording, and adds the slicing features.

    Args:
        config: The configuration.
        inputs: The files; None for a compiled pipeline.
        workdir: Where digests of files are kept between runs.
        files: InputFiles, for a compiled pipeline.
    """
    data = config.data
    patterns: dict[str, Patterns] = {**data.patterns} if inputs is None else inputs.patterns
    component = ClipExampleGen(
        input_base="",
        clip=config.clip,
        train=patterns["train"],
        eval=patterns.get("eval"),
        split_by=data.split_by,
        shares={key: value for key, value in data.shares.model_dump().items() if value} if data.shares else None,
        min_frames=config.task.min_frames,
        label=config.task.label,
        max_bad_fraction=data.max_bad_fraction if data.on_bad_clip == "quarantine" else None,
        known_digests=known_digests(workdir),
        code=code_digest("framecast.components.clip_example_gen.component"),
    )
    if files is not None:
        set_runtime_properties(component, **{FILES: _output_value(files, "files")})
    return component


def import_schema_gen(config: Config) -> Any:
    """Returns ImportSchemaGen with the curated schema."""
    return ImportSchemaGen(
        text=text_format.MessageToString(build_schema(config.clip, config.task.label)),
        code=code_digest("framecast.components.import_schema_gen"),
    )


def statistics_gen(config: Config, examples: Any, schema: Any) -> StatisticsGen:
    """Returns StatisticsGen over the ingested clips, with a slice per span.

    It needs the schema, because TFDV would otherwise treat frames as words and hold all of them to count the most
    frequent. Its options are part of its cache key.
    """
    has_spans = spans.SPAN in config.data.train
    return StatisticsGen(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        stats_options=span_statistics.stats_options() if has_spans else None,
    )


def schema_gen(statistics: StatisticsGen) -> SchemaGen:
    """Returns SchemaGen: the schema that the statistics imply, for review only."""
    return SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=False)


def example_validator(statistics: StatisticsGen, schema: Any) -> ExampleValidator:
    """Returns ExampleValidator: compares the statistics with the curated schema."""
    return ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])


def validation_gate(
    config: Config,
    inputs: Inputs | None,
    files: Any | None,
    workdir: str,
    statistics: StatisticsGen,
    validator: ExampleValidator,
) -> Any:
    """Returns ValidationGate: ends the run on anomalies and on drift between spans."""
    numbers = [] if inputs is None else inputs.spans
    kept = os.path.join(workdir, "statistics", statistics_key(config))
    return ValidationGate(
        anomalies=validator.outputs["anomalies"],
        statistics=statistics.outputs["statistics"],
        spans=json.dumps(numbers) if files is None else _output_value(files, "spans"),
        kept=kept,
        drift=config.data.drift.model_dump_json(),
        before=span_statistics.digest_before(kept, numbers[-1]) if numbers else "",
        code=code_digest("framecast.components.validation_gate.component"),
    )


def _output_value(component: Any, key: str) -> Any:
    return component.outputs[key].future()[0].value
