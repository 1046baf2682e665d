"""Tries a configuration on a few clips, in seconds and without TFX: `framecast check`."""

import itertools
import tempfile
from typing import Any

import keras
import tensorflow as tf

from framecast.clips.codec import BadClip
from framecast.clips.declared import check_declared, check_mixture, declared_by, first_clips
from framecast.clips.validation import read_clips
from framecast.models.export.module import ExportModule
from framecast.models.networks import builders
from framecast.models.preprocessing import preprocess
from framecast.models.tasks import define_task
from framecast.models.tensors import normalise
from framecast.models.training import loop
from framecast.pipeline.config.config import Config, ConfigError, check_builder
from framecast.pipeline.config.inputs import Inputs

_CLIPS = 4
_FILES = 16  # Files of a split whose first clips are compared with each other.


def check(config: Config, inputs: Inputs) -> dict[str, Any]:
    """Reads a few clips, preprocesses them, takes one training step and calls every signature.

    Args:
        config: The configuration.
        inputs: Its input files.

    Returns:
        The findings of each step: file counts, bad clips, clips read, training loss, and dtype and shape of each output
        by signature.

    Raises:
        ConfigError: If the builder cannot be imported, or no clip is good and long enough.
        ValueError: If a clip breaks the clip contract; the message names file, record and clip.
    """
    check_builder(config)
    findings: dict[str, Any] = {"files": {split: len(names) for split, names in inputs.files.items()}}
    examples, bad = _read_examples(config, inputs.files["train"])
    if bad:
        findings["bad clips before them"] = bad
    if warnings := _compare_files(config, inputs):
        findings["warnings"] = warnings
    model = builders.build(config.model, config.task, config.clip, keras.DTypePolicy("float32"))
    module = untrained_module(model, config)
    frames, length = module.decode(tf.constant(examples))
    shape = "x".join(str(size) for size in frames.shape[2:])
    findings["clips read"] = f"{len(examples)}, {int(min(length))}-{int(max(length))} frames of {shape}"
    label = None
    if config.task.label is not None and config.task.label.required:
        label = module.labels(tf.constant(examples))
    findings["training step"] = f"loss {_take_step(model, config, frames, length, label):.5f}"
    for name, signature in module.signatures().items():
        arguments = {"examples": tf.constant(examples)}
        if name == "serving_default":
            arguments = {"frames": frames, "length": length}
        elif name == "step" and module.step is not None:
            arguments = {"frames": frames, **module.step.start(len(examples))}
        outputs = signature(**arguments)
        findings[name] = {key: f"{value.dtype.name} {tuple(value.shape)}" for key, value in outputs.items()}
    return findings


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


def _take_step(
    model: keras.Model, config: Config, frames: tf.Tensor, length: tf.Tensor, label: tf.Tensor | None
) -> float:
    """Takes one training step on the clips that are long enough and returns their loss.

    Args:
        model: The model, changed.
        config: The configuration.
        frames: `(batch, time, height, width, channel)` in the clips' dtype.
        length: `(batch,)`.
        label: Labels of the clips; None if the task needs none.

    Raises:
        ConfigError: If no clip is long enough.
    """
    long_enough = config.task.is_long_enough(length)
    if not bool(tf.reduce_any(long_enough)):
        raise ConfigError(
            f"data.train: expected a clip of at least {config.task.min_frames} frames "
            f"among the first {len(length)}, received lengths {length.numpy().tolist()}"
        )
    side = config.train.crop or None
    pixels, known = normalise(frames[:, :, :side, :side], length, config.clip)
    batch = {"frames": pixels, "known": known, "length": length, **({} if label is None else {"label": label})}
    batches = tf.data.Dataset.from_tensors({name: tf.boolean_mask(value, long_enough) for name, value in batch.items()})
    with tempfile.TemporaryDirectory() as folder:
        fitted = loop.fit(
            model,
            batches,
            batches,
            define_task(config.task).make_objective(config.train),
            steps=1,
            learning_rate=config.train.learning_rate,
            eval_every=1,
            state_dir=folder,
            log_dir=folder,
        )
    return fitted.val_loss
