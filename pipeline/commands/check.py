"""`framecast check`: a configuration tried on a few clips, in seconds and without TFX."""

import itertools
import tempfile
from typing import Any

import keras
import tensorflow as tf

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


def check(config: Config, inputs: Inputs) -> dict[str, Any]:
    """Reads a few clips, preprocesses them, takes one training step and calls every signature.

    Returns:
        What was found, by step, in the order tried.

    Raises:
        ConfigError: When the builder cannot be imported, or no clip is long enough.
        ValueError: When a clip breaks the contract, naming file, record and clip.
    """
    check_builder(config)
    files = inputs.files
    findings: dict[str, Any] = {"files": {split: len(names) for split, names in files.items()}}
    bad: list[str] = []
    on_bad = None if config.data.on_bad_clip == "fail" else lambda error: bad.append(str(error))
    clips = (clip for path in files["train"] for clip in read_clips(path, config.clip, config.task.label, on_bad))
    examples = [clip.SerializeToString() for clip in itertools.islice(clips, _CLIPS)]
    if bad:
        findings["bad clips before them"] = bad
    if not examples:
        raise ConfigError(
            f"data.train: expected good clips, received none in {len(files['train'])} files. {'; '.join(bad[:3])}"
        )
    model = builders.build(config.model, config.task, config.clip, keras.DTypePolicy("float32"))
    module = untrained_module(model, config)
    frames, length = module.decode(tf.constant(examples))
    findings["clips read"] = f"{len(examples)}, {int(min(length))}-{int(max(length))} frames of "
    findings["clips read"] += f"{frames.shape[2]}x{frames.shape[3]}x{frames.shape[4]}"
    long_enough = config.task.is_long_enough(length)
    if not bool(tf.reduce_any(long_enough)):
        raise ConfigError(
            f"data.train: expected a clip of at least {config.task.min_frames} frames "
            f"among the first {len(examples)}, received lengths {length.numpy().tolist()}"
        )
    side = config.train.crop or None
    pixels, known = normalise(frames[:, :, :side, :side], length, config.clip)
    batch = {"frames": pixels, "known": known, "length": length}
    if config.task.label is not None and config.task.label.required:
        batch["label"] = module.labels(tf.constant(examples))
    batch = {name: tf.boolean_mask(value, long_enough) for name, value in batch.items()}
    batches = tf.data.Dataset.from_tensors(batch)
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
    findings["training step"] = f"loss {fitted.val_loss:.5f}"
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
    """Returns what would be exported of a model, with constants that nothing was learned for."""
    clip, task = config.clip, config.task
    boundaries = tf.constant([clip.frames.max], tf.int64)

    def transform(inputs: dict[str, Any]) -> dict[str, Any]:
        return preprocess(inputs, clip, boundaries, task.label)

    definition = define_task(task, config.evaluate.events)
    return definition.make_module(model, transform, clip, definition.neutral_constants(clip))
