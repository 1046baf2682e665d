"""Computes outputs and gradients of a layer on any backend of Keras."""

import keras
import numpy as np


def outputs_and_gradients(layer, sequences, **arguments):
    """Returns the outputs, and the gradients of `loss` with respect to each trainable variable and the sequences."""
    layer(sequences, **arguments)  # Builds it.
    outputs, gradients = _BY_BACKEND[keras.backend.backend()](layer, sequences, arguments)
    return _numpy(outputs), [_numpy(gradient) for gradient in gradients]


def loss(outputs):
    """Weights every output differently, so that an exchange of two outputs changes the loss."""
    outputs = keras.ops.cast(outputs, "float32")
    weights = keras.ops.reshape(np.cos(np.arange(np.prod(outputs.shape), dtype="float32")), outputs.shape)
    return keras.ops.sum(keras.ops.square(outputs) * weights)


def _numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def _tensorflow(layer, sequences, arguments):
    import tensorflow as tf

    x = tf.convert_to_tensor(sequences)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, **arguments)
        value = loss(outputs)
    return outputs, tape.gradient(value, [*(weight.value for weight in layer.trainable_variables), x])


def _torch(layer, sequences, arguments):
    import torch

    x = torch.tensor(sequences, requires_grad=True)
    outputs = layer(x, **arguments)
    weights = [weight.value for weight in layer.trainable_variables]
    return outputs.detach(), torch.autograd.grad(loss(outputs), [*weights, x])


def _jax(layer, sequences, arguments):
    import jax

    def value(weights, x):
        fixed = [weight.value for weight in layer.non_trainable_variables]
        outputs, _ = layer.stateless_call(weights, fixed, x, **arguments)
        return loss(outputs), outputs

    weights = [weight.value for weight in layer.trainable_variables]
    (gradients, x), outputs = jax.grad(value, argnums=(0, 1), has_aux=True)(weights, jax.numpy.asarray(sequences))
    return outputs, [*gradients, x]


_BY_BACKEND = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}
