"""Exports a module and loads it as a server does."""

import tensorflow as tf

from framecast.models.export.module import save_module
from framecast.models.export.tracing import trace
from framecast.models.preprocessing import preprocess
from framecast.models.tasks import define_task


def make_module(model, task, clip, constants=None):
    """The module of a model, with neutral constants by default; the only length bucket is the longest legal clip."""
    definition = define_task(task)

    def transform(inputs):
        return preprocess(inputs, clip, tf.constant([clip.frames.max], tf.int64), task.label)

    return definition.make_module(model, transform, clip, constants or definition.neutral_constants(clip))


def export_and_load(module, folder):
    """All signatures of the exported module, loaded without Framecast."""
    save_module(module, str(folder), {})
    return tf.saved_model.load(str(folder)).signatures


def serve_only(module, clip, folder, **signatures):
    """`serving_default` and the given signatures, loaded without Framecast; saves the time of tracing the others."""
    frames = tf.TensorSpec([None, None, None, None, clip.channels], clip.dtype, "frames")
    serve = trace(module.serve, frames, tf.TensorSpec([None], tf.int32, "length"))
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve, **signatures})
    return tf.saved_model.load(str(folder)).signatures
