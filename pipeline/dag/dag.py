"""The DAG: one function, used by every runner."""

import hashlib
import json
import os
from typing import Any

from google.protobuf import text_format
from ml_metadata.proto import metadata_store_pb2

# Not `tfx.v1`: it imports Google Cloud's AI Platform, which takes as long as TensorFlow does.
from tfx.components import ExampleValidator, Pusher, SchemaGen, StatisticsGen, Trainer
from tfx.dsl.components.base import executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2, transform_pb2

from framecast.clips import spans
from framecast.clips.spans import Patterns
from framecast.components import bulk_inference, pusher
from framecast.components import trainer as trainer_executor
from framecast.components.clip_example_gen import FILES, ClipExampleGen
from framecast.components.evaluator import Evaluator
from framecast.components.import_schema_gen import ImportSchemaGen
from framecast.components.infra_validator import SavedModelInfraValidator
from framecast.components.input_files import NEWEST, InputFiles
from framecast.components.report.component import Report
from framecast.components.serving_model import ServingModel
from framecast.components.transform import Transform
from framecast.components.tuner import Tuner
from framecast.components.validation_gate import span_statistics
from framecast.components.validation_gate.component import ValidationGate
from framecast.evaluation.gate import thresholds
from framecast.evaluation.metrics import registry
from framecast.models.tuning.spec import TuneSpec
from framecast.pipeline.config.config import Config
from framecast.pipeline.config.inputs import Inputs
from framecast.pipeline.dag.code_digest import code_digest, module_digest
from framecast.schemas import features
from framecast.schemas.schema import build_schema
from framecast.serving import versions

# Names of the parameters of a compiled pipeline.
TRAIN_DATA, EVAL_DATA, SPAN = "train_data", "eval_data", "span"
TRAIN_STEPS, PUSH_DIRECTORY = "train_steps", "push_directory"


def create_pipeline(
    config: Config,
    inputs: Inputs | None,
    *,
    name: str,
    root: str,
    workdir: str,
    metadata: metadata_store_pb2.ConnectionConfig | None = None,
    beam_flags: list[str] | None = None,
) -> Pipeline:
    """Builds the pipeline of a configuration.

    Args:
        config: The run's contract.
        inputs: The files that the run reads. None compiles a pipeline that runs elsewhere, perhaps more than once: it
            has `runtime_parameters`, and finds its files and the serving model when it runs.
        name: Pipeline name; runs of one name share a cache.
        root: Where artifacts are written.
        workdir: Where statistics of spans, the Trainer's state and the Tuner's are kept between runs.
        metadata: Connection to ML Metadata, for runners that need one.
        beam_flags: Flags of every Beam component.
    """
    compiled = inputs is None
    clip = config.clip.model_dump(mode="json")
    given = runtime_parameters(config) if compiled else {}
    # Which files there are: found out now, or by the first component.
    files = _input_files(config, given) if compiled else None
    patterns: dict[str, Patterns] = {**config.data.patterns} if inputs is None else inputs.patterns
    has_spans = spans.SPAN in config.data.train
    numbers = [] if inputs is None else inputs.spans
    kept = os.path.join(workdir, "statistics", _comparable(config))

    # Reads clips, checks every frame, splits by recording, writes the facts to slice on.
    examples = ClipExampleGen(
        input_base="",
        clip=config.clip,
        train=patterns["train"],
        eval=patterns.get("eval"),
        split_by=config.data.split_by,
        shares={key: value for key, value in config.data.shares.model_dump().items() if value}
        if config.data.shares
        else None,
        min_frames=config.task.min_frames,
        label=config.task.label,
        max_bad_fraction=config.data.max_bad_fraction if config.data.on_bad_clip == "quarantine" else None,
        code=code_digest("schemas", "clips", "components/clip_example_gen.py"),
    )
    if files:
        _take_from_run(examples, **{FILES: files.outputs["files"].future()[0].value})
    # The curated schema.
    schema = ImportSchemaGen(text=text_format.MessageToString(build_schema(config.clip, config.task.label)))
    # Statistics over the ingested clips, and the schema they imply: for review, not for the chain. Without the schema
    # TFDV would take frames for words, and hold every one of them to count which is the most frequent.
    statistics = StatisticsGen(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        stats_options=span_statistics.stats_options() if has_spans else None,
    )
    inferred = SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=False)
    anomalies = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    # Stops the run on anomalies, and on a span that lies too far from the one before it.
    gate = ValidationGate(
        anomalies=anomalies.outputs["anomalies"],
        statistics=statistics.outputs["statistics"],
        spans=files.outputs["spans"].future()[0].value if files else json.dumps(numbers),
        kept=kept,
        drift=config.data.drift.model_dump_json(),
        before=span_statistics.digest_before(kept, numbers[-1]) if numbers else "",
        code=code_digest(
            "components/validation_gate/component.py",
            "components/validation_gate/drift.py",
            "components/validation_gate/drift_spec.py",
            "components/validation_gate/span_statistics.py",
        ),
    )
    # Decodes, learns length buckets, pads, materialises compact bytes. The Evaluator reads raw clips: no eval split.
    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="framecast.models.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "val"]),
        custom_config={
            "clip": clip,
            "label": config.task.label.model_dump(mode="json") if config.task.label else None,
            "code": code_digest(
                "schemas", "models/preprocessing.py", "components/transform.py", "components/batches.py"
            ),
        },
        disable_statistics=True,
    )
    transform.add_upstream_node(gate)
    trained_by = {
        "clip": clip,
        **{key: getattr(config, key).model_dump(mode="json") for key in ("task", "model", "train")},
        "state": os.path.join(workdir, "state"),
        "code": code_digest("schemas", "clips/codec.py", "clips/image_codec.py", "evaluation", "models"),
        "builder": module_digest(config.model.builder.rpartition(":")[0]) if config.model.builder else None,
    }
    # Searches settings, trained as the Trainer trains.
    tuner = _tuner(config.tune, trained_by, transform.outputs["transformed_examples"]) if config.tune else None
    # What is serving now, to be compared with, and to go on from.
    serving = ServingModel(
        directory=given.get(PUSH_DIRECTORY, config.push.directory),
        contract=contract(config),
        fingerprint="" if compiled else serving_fingerprint(config.push.directory),
    )
    # Trains, and exports one SavedModel with all signatures.
    trainer = Trainer(
        run_fn="framecast.models.training.run_fn.run_fn",
        custom_executor_spec=executor_spec.ExecutorClassSpec(trainer_executor.TrainerExecutor),
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        base_model=serving.outputs["model"] if config.train.warm_start else None,
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["val"]),
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
        custom_config={
            **trained_by,
            "export": config.export.model_dump(mode="json"),
            "events": _events(config),
            "contract": contract(config),
        },
    )
    evaluator = Evaluator(
        examples=examples.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=serving.outputs["model"],
        eval_config=thresholds.build_eval_config(
            config.evaluate, horizon=getattr(config.task, "horizon", 0), task=config.task.kind
        ),
        example_splits=["eval"],
        code=code_digest("evaluation", "components/evaluator.py", "components/batches.py"),
    )
    # Serves the candidate in a process of its own and replays its warm-up requests.
    infra = SavedModelInfraValidator(
        model=trainer.outputs["model"], code=code_digest("serving", "components/infra_validator.py")
    )
    push = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=config.push.directory)
        ),
        custom_config={
            "release": config.push.release,
            "task": config.task.kind,
            "code": code_digest(
                "clips/filesystem.py",
                "components/pusher.py",
                "serving/releases/folder.py",
                "serving/releases/releases.py",
                "serving/releases/tf_serving_config.py",
                "serving/versions.py",
            ),
        },
        custom_executor_spec=executor_spec.ExecutorClassSpec(pusher.PusherExecutor),
    )
    if compiled:
        _take_from_run(trainer, **{trainer_executor.STEPS: given[TRAIN_STEPS]})
        _take_from_run(push, **{pusher.DIRECTORY: given[PUSH_DIRECTORY]})
    # What to look at, whatever became of the candidate.
    report = Report(
        examples=examples.outputs["examples"],
        gate=gate.outputs["gate"],
        model_run=trainer.outputs["model_run"],
        model=trainer.outputs["model"],
        evaluation=evaluator.outputs["evaluation"],
        infra_blessing=infra.outputs["blessing"],
        pushed_model=push.outputs["pushed_model"],
        **({"tuner_results": tuner.outputs["tuner_results"]} if tuner else {}),
        config=config.model_dump_json(),
        code=code_digest(
            "evaluation",
            "serving/predictions/animation.py",
            "serving/predictions/extrapolation_comparison.py",
            "serving/predictions/showcase.py",
            "models/training/training_log.py",
            "models/tuning/spec.py",
            "components/report/evidence.py",
            "components/outcome.py",
            "components/report/component.py",
            "components/tuner.py",
        ),
    )
    # What the blessed model answers about clips that the configuration names.
    inference = (
        bulk_inference.BulkInference(
            pushed_model=push.outputs["pushed_model"],
            directory=given.get(PUSH_DIRECTORY, config.push.directory),
            infer=config.infer,
            skip_bad=config.data.on_bad_clip == "quarantine",
            fingerprint="" if compiled else bulk_inference.fingerprint(config.infer.data),
            code=code_digest("schemas", "clips", "serving", "components/bulk_inference.py"),
        )
        if config.infer
        else None
    )
    return Pipeline(
        pipeline_name=name,
        pipeline_root=root,
        components=[
            *([files] if files else []),
            examples,
            schema,
            statistics,
            inferred,
            anomalies,
            gate,
            transform,
            *([tuner] if tuner else []),
            trainer,
            serving,
            evaluator,
            infra,
            push,
            report,
            *([inference] if inference else []),
        ],
        enable_cache=True,
        metadata_connection_config=metadata,
        beam_pipeline_args=beam_flags,
    )


def runtime_parameters(config: Config) -> dict[str, RuntimeParameter]:
    """Returns what a run of a compiled pipeline may be given in place of what the configuration says, by name."""
    values: dict[str, Any] = {
        TRAIN_DATA: config.data.train,
        EVAL_DATA: config.data.eval,
        SPAN: (NEWEST if config.data.newest_span is None else config.data.newest_span)
        if spans.SPAN in config.data.train
        else None,
        TRAIN_STEPS: config.train.steps,
        PUSH_DIRECTORY: config.push.directory,
    }
    return {
        name: RuntimeParameter(name=name, ptype=type(value), default=value)
        for name, value in values.items()
        if value is not None
    }


def _input_files(config: Config, given: dict[str, RuntimeParameter]) -> Any:
    optional = {key: given[name] for key, name in (("eval", EVAL_DATA), ("newest", SPAN)) if name in given}
    if config.data.span_done is not None:
        optional["marker"] = config.data.span_done
    return InputFiles(train=given[TRAIN_DATA], count=config.data.spans, **optional)


def _tuner(tune: TuneSpec, trained_by: dict[str, Any], examples: Any) -> Tuner:
    """Returns the component of a search, which no setting of the Trainer's makes run again that trials do not have."""
    return Tuner(
        tuner_fn="framecast.models.tuning.tuner_fn.tuner_fn",
        examples=examples,
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["val"]),
        custom_config={
            **trained_by,
            "train": tune.of_trials(trained_by["train"]),
            "tune": tune.model_dump(mode="json"),
            "component": code_digest("components/tuner.py"),
        },
    )


def _take_from_run(component: Any, **properties: Any) -> None:
    """Gives a component execution properties that TFX's spec of it does not have, known only when it runs."""
    component.spec.exec_properties.update(properties)


def contract(config: Config) -> str:
    """Returns what two models must share for their evaluation to compare: task, clips, what is summed and sliced by."""
    shared = {
        "clip": config.clip.model_dump(mode="json"),
        "task": config.task.model_dump(mode="json"),
        "events": _events(config),
        "outputs": registry.outputs_of(config.task.kind, config.evaluate.events),
        "slices": list(features.SLICES),
    }
    return json.dumps(shared, sort_keys=True)


def _events(config: Config) -> dict[str, Any] | None:
    return config.evaluate.events.model_dump(mode="json") if config.evaluate.events else None


def serving_fingerprint(directory: str) -> str:
    """Returns what is serving, so that ServingModel's cache notices a push, a rollback or a replaced version."""
    version = versions.newest(directory)
    return "none" if version is None else f"{version}:{versions.digest(versions.path(directory, version))}"


def _comparable(config: Config) -> str:
    """Returns a digest of what the statistics of two spans must share to be compared: clip contract and source."""
    shared = {"clip": config.clip.model_dump(mode="json"), "train": config.data.train}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]
