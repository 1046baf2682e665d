"""Tries a configuration on a few clips, in seconds and without TFX: `framecast check`."""

import itertools
import os
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from framecast.clips.codec import BadClip
from framecast.clips.declared import check_declared, check_mixture, declared_by, first_clips
from framecast.clips.validation import read_clips
from framecast.models import tensors
from framecast.models.export.module import ExportModule, example_parser, save_module
from framecast.models.preprocessing import preprocess
from framecast.models.tasks import define_task
from framecast.models.training import precision, train_model
from framecast.models.training.input_pipeline import InputPipeline
from framecast.pipeline.config.config import Config, ConfigError, check_functions
from framecast.pipeline.config.inputs import Inputs
from framecast.schemas import features

_CLIPS = 4
_FILES = 16  # Files of a split whose first clips are compared with each other.
_TOLERANCE = 1e-2  # Of half-precision exports; float32 differs by 1e-5.


def check(config: Config, inputs: Inputs) -> dict[str, Any]:
    """Reads a few clips and tries on them what a run does: Transform's graph, a training step, export and signatures.

    The training step has the configured precision, and reads by the input pipeline. The exported model is loaded from
    its files, and called with batches of two sizes.

    Args:
        config: The configuration.
        inputs: Its input files.

    Returns:
        The findings of each step: file counts, bad clips, clips read, training loss, and dtype and shape of each output
        by signature.

    Raises:
        ConfigError: If the builder cannot be imported, its model does not fit the task, or no clip is good and long
            enough.
        ValueError: If a clip breaks the clip contract; the message names file, record and clip.
    """
    check_functions(config)
    findings: dict[str, Any] = {"files": {split: len(names) for split, names in inputs.files.items()}}
    examples, bad = _read_examples(config, inputs.files["train"])
    if bad:
        findings["bad clips before them"] = bad
    if warnings := _compare_files(config, inputs):
        findings["warnings"] = warnings
    with tempfile.TemporaryDirectory() as folder:
        transformed = os.path.join(folder, "transformed")
        findings["clips read"] = _write_transformed(config, examples, transformed)
        # No more frames than were read, so that the step takes seconds.
        train = config.train.model_copy(
            update={
                "steps": 1,
                "batch_frames": min(config.train.batch_frames, _CLIPS * config.task.min_frames),
                "init_from": inputs.initial_model,
            }
        )
        pipeline = InputPipeline(config.clip, config.task, train)
        try:
            model, loss = _take_step(config, pipeline, transformed, folder)
            findings["training step"] = f"loss {loss:.5f}, {precision.describe(model)}"
            exported = train_model.with_precision(model, config.model, pipeline, config.export.precision)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        findings |= _call_exported(untrained_module(exported, config), tf.constant(examples), folder)
    return findings


def _take_step(config: Config, pipeline: InputPipeline, transformed: str, folder: str) -> tuple[keras.Model, float]:
    """Takes one training step, as the Trainer does, and returns the model and its loss."""
    strategy = tf.distribute.get_strategy()
    model, _ = train_model.build_model(strategy, config.model, pipeline, [transformed])
    fitted = train_model.fit_model(
        strategy,
        model,
        pipeline,
        [transformed],
        pipeline.evaluation([transformed]),
        state_dir=os.path.join(folder, "state"),
        log_dir=os.path.join(folder, "log"),
    )
    return model, fitted.val_loss


def _call_exported(module: ExportModule, examples: tf.Tensor, folder: str) -> dict[str, Any]:
    """Saves the model, loads it, and calls every signature; `serving_default` for two batch sizes and lengths.

    Raises:
        ConfigError: If a clip's answer depends on the other clips of its batch, or on the padding.
    """
    frames, length = module.decode(examples)
    save_module(module, folder, {})
    signatures = tf.saved_model.load(folder).signatures
    findings = {}
    for name, signature in sorted(signatures.items()):
        arguments = {"examples": examples}
        if name == "serving_default":
            arguments = {"frames": frames, "length": length}
        elif name == "step" and module.step is not None:
            arguments = {"frames": frames, **module.step.start(len(examples))}
        outputs = signature(**arguments)
        findings[name] = {key: f"{value.dtype.name} {tuple(value.shape)}" for key, value in sorted(outputs.items())}
        if name == "serving_default":
            short = int(tf.argmin(length))
            alone = signature(frames=frames[short : short + 1, : length[short]], length=length[short : short + 1])
            for key, value in outputs.items():
                _require_equal(key, alone[key][0].numpy(), value[short].numpy())
    return findings


def _require_equal(name: str, alone: np.ndarray, batched: np.ndarray) -> None:
    if alone.ndim and batched.shape != alone.shape:
        batched = batched[: len(alone)]  # Outputs per frame are padded.
    difference = float(np.max(np.abs(alone - batched)))
    if not difference <= _TOLERANCE * max(1.0, float(np.max(np.abs(alone)))):
        raise ConfigError(
            f"model: expected the same {name} of a clip alone and in a batch of longer clips, received a difference of "
            f"{difference:.3g}: the model depends on padding or on other clips"
        )


def _write_transformed(config: Config, examples: list[bytes], path: str) -> str:
    """Writes the clips as Transform does, padded to the longest, and returns what was read.

    Raises:
        ConfigError: If no clip is long enough for the task.
    """
    context, sequence = example_parser(config.clip, config.task.label)(tf.constant(examples))
    inputs = {**context, **sequence}
    longest = tf.reduce_max(inputs[features.ENCODED].row_lengths())
    outputs = preprocess(inputs, config.clip, longest[None], config.task.label)
    lengths = outputs[features.FRAME_COUNT].numpy()
    if not config.task.is_long_enough(lengths).any():
        raise ConfigError(
            f"data.train: expected a clip of at least {config.task.min_frames} frames "
            f"among the first {len(lengths)}, received lengths {lengths.tolist()}"
        )
    kinds = {tf.string: "bytes_list", tf.int64: "int64_list", tf.float32: "float_list"}
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(len(examples)):
            values = {name: column[number].numpy() for name, column in outputs.items()}
            values[features.FRAMES] = tensors.compress(values[features.FRAMES])
            feature = {
                name: tf.train.Feature(**{kinds[outputs[name].dtype]: {"value": [value]}})
                for name, value in values.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    shape = tensors.parse_frames(outputs[features.FRAMES][0], config.clip).shape
    size = "x".join(str(size) for size in shape[1:])
    return f"{len(examples)}, {min(lengths)}-{max(lengths)} frames of {size}"


def untrained_module(model: keras.Model, config: Config) -> ExportModule:
    """Returns the module that an untrained model exports, with neutral constants."""
    clip, task = config.clip, config.task
    boundaries = tf.constant([clip.frames.max], tf.int64)

    def transform(inputs: dict[str, Any]) -> dict[str, Any]:
        return preprocess(inputs, clip, boundaries, task.label)

    definition = define_task(task, config.evaluate.events)
    return definition.make_module(model, transform, clip, definition.neutral_constants(clip))


def _read_examples(config: Config, paths: list[str]) -> tuple[list[bytes], list[str]]:
    """Reads the first good clips, serialized, and the errors of the bad clips before them.

    Raises:
        ConfigError: If there is no good clip.
        ValueError: If a clip is bad and `data.on_bad_clip` is `fail`.
    """
    bad: list[str] = []
    on_bad = None if config.data.on_bad_clip == "fail" else lambda error: bad.append(str(error))
    clips = (clip for path in paths for clip in read_clips(path, config.clip, config.task.label, on_bad))
    examples = [clip.SerializeToString() for clip in itertools.islice(clips, _CLIPS)]
    if not examples:
        raise ConfigError(f"data.train: expected good clips, received none in {len(paths)} files. {'; '.join(bad[:3])}")
    return examples, bad


def _compare_files(config: Config, inputs: Inputs) -> list[str]:
    """Compares interval and pixel value of the first clips of some files with the configuration and with each other.

    Returns:
        Warnings; with `data.on_bad_clip: quarantine` also the clips that break the contract.

    Raises:
        ConfigError: If the clips contradict each other.
        ValueError: If a clip contradicts the configuration and `data.on_bad_clip` is `fail`.
    """
    warnings, found = [], []
    paths = [path for names in inputs.files.values() for path in names[:: -(-len(names) // _FILES)]]
    for place, example in first_clips(paths):
        try:
            check_declared(example, config.clip)
            found.append(declared_by(example, place))
        except BadClip as error:
            message = f"{place}: {error}"
            if config.data.on_bad_clip == "fail":
                raise ValueError(message) from error
            warnings.append(message)
    try:
        return warnings + check_mixture(found, config.clip)
    except ValueError as error:
        raise ConfigError(str(error)) from error
