"""Builds the DAG: one function, used by every runner."""

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.pipeline import Pipeline

from framecast.pipeline.config.config import Config
from framecast.pipeline.config.inputs import Inputs
from framecast.pipeline.dag.runtime_parameters import runtime_parameters
from framecast.pipeline.dag.stages import data, release, training


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
        config: The configuration.
        inputs: The files that the run reads. None compiles a pipeline that runs elsewhere, perhaps more than once: it
            has `runtime_parameters`, and finds its files and the serving model when it runs.
        name: Pipeline name; runs with the same name share a cache.
        root: Where artifacts are written.
        workdir: Where statistics of spans and the state of Trainer and Tuner are kept between runs.
        metadata: Connection to ML Metadata, for runners that need one.
        beam_flags: Flags of every Beam component.
    """
    parameters = runtime_parameters(config) if inputs is None else {}

    files = data.input_files(config, workdir, parameters) if inputs is None else None
    examples = data.clip_example_gen(config, inputs, workdir, files)
    schema = data.import_schema_gen(config)
    statistics = data.statistics_gen(config, examples, schema)
    inferred = data.schema_gen(statistics)
    validator = data.example_validator(statistics, schema)
    gate = data.validation_gate(config, inputs, files, workdir, statistics, validator)

    transform = training.transform(config, examples, schema, gate)
    serving = release.serving_model(config, parameters)
    tuner = training.tuner(config, inputs, workdir, transform)
    trainer = training.trainer(config, inputs, workdir, parameters, transform, serving, tuner)

    evaluator = release.evaluator(config, examples, trainer, serving)
    infra = release.infra_validator(trainer)
    pusher = release.pusher(config, parameters, trainer, evaluator, infra)
    report = release.report(config, examples, gate, tuner, trainer, evaluator, infra, pusher)
    inference = release.bulk_inference(config, workdir, parameters, pusher)

    # Fixes the order of components without dependencies on each other.
    components = [
        files, examples, schema, statistics, inferred, validator, gate,
        transform, tuner, trainer, serving, evaluator, infra, pusher, report, inference,
    ]  # fmt: skip
    return Pipeline(
        pipeline_name=name,
        pipeline_root=root,
        components=[component for component in components if component is not None],
        enable_cache=True,
        metadata_connection_config=metadata,
        beam_pipeline_args=beam_flags,
    )
