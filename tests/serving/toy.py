"""Exports a small forecaster: `python tests/serving/toy.py FOLDER` writes the SavedModel FOLDER/7.

The conformance tests request it as model `toy`. Its weights are fixed, so that every export answers the same.
"""

import os
import sys

import numpy as np
import tensorflow as tf

HORIZON = 2
CHANNELS = 1


class ToyForecaster(tf.Module):
    """Repeats each clip's last frame, blurred and scaled: a forecast with a convolution and a check of the lengths."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = tf.Variable(scale)
        self.kernel = tf.Variable(np.random.default_rng(0).random((3, 3, 1, 1), np.float32) / 9)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, None, CHANNELS], tf.uint8, "frames"),
            tf.TensorSpec([None], tf.int32, "length"),
        ]
    )
    def serve(self, frames, length):
        """Returns `forecast` `(batch, HORIZON, height, width, channel)`."""
        check = tf.debugging.assert_less_equal(length, tf.shape(frames)[1], "length: expected at most the frames given")
        with tf.control_dependencies([check]):  # Otherwise the gather below may fail first.
            length = tf.identity(length)
        last = tf.gather(tf.cast(frames, tf.float32) / 255, length - 1, batch_dims=1)
        blurred = tf.nn.conv2d(last, self.kernel, 1, "SAME") * self.scale
        return {"forecast": tf.repeat(blurred[:, None], HORIZON, axis=1), "last": last}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve_examples(self, examples):
        """Returns the outputs of `serve` for serialized clips of PNG frames."""
        _, sequences, _lengths = tf.io.parse_sequence_example(
            examples, sequence_features={"image/encoded": tf.io.RaggedFeature(tf.string)}
        )
        spec = tf.TensorSpec([None, None, CHANNELS], tf.uint8)
        encoded = sequences["image/encoded"].merge_dims(1, 2)
        shape = tf.shape(tf.io.decode_png(encoded[0, 0], channels=CHANNELS))

        def decode(image):
            if tf.equal(image, ""):
                return tf.zeros(shape, tf.uint8)
            return tf.io.decode_png(image, channels=CHANNELS)

        flat = encoded.to_tensor(default_value="")
        frames = tf.map_fn(decode, tf.reshape(flat, [-1]), fn_output_signature=spec)
        frames = tf.reshape(frames, tf.concat([tf.shape(flat), shape], 0))
        return self.serve(frames, tf.cast(encoded.row_lengths(), tf.int32))


def export(scale: float, folder: str) -> None:
    """Exports the forecaster with forecasts scaled by `scale`."""
    toy = ToyForecaster(scale)
    tf.saved_model.save(toy, folder, signatures={"serving_default": toy.serve, "serve_examples": toy.serve_examples})


if __name__ == "__main__":
    export(7.0, os.path.join(sys.argv[1], "7"))
