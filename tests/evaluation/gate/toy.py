"""A toy SavedModel for TensorFlow Model Analysis: its forecast is the last frame times `scale` plus `bias`."""

import numpy as np
import tensorflow as tf

from framecast.evaluation.baselines import in_graph
from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.sums.forecast import forecast_sums

HORIZON = 2
LONGEST = 5
SIZE = (4, 3, 1)
LENGTHS = (5, 5, 4, 3, 4, 2)  # The last clip is too short to be counted.
CONTENTS = ("dense", "sparse", "dense", "empty", "sparse", "dense")
RECORDINGS = ("a", "b", "a", "c", "b", "d")
EVENTS = EventsSpec(thresholds=[0.3, 0.6], scales=[1, 3])


class Toy(tf.Module):
    """A model with the signatures that the Evaluator calls.

    Args:
        bias_of_lead: The bias at lead times where it differs.
        dropped: An output of `evaluate` to leave out.
        events: The events that `evaluate` counts.
    """

    def __init__(self, scale=1.0, bias=0.0, bias_of_lead=None, dropped=None, horizon=HORIZON, events=None):
        super().__init__()
        self.arguments = repr((scale, bias, bias_of_lead, dropped, horizon, events))
        self._counted = (events.thresholds, events.scales) if events else ()
        self._scale, self._dropped, self._horizon = scale, dropped, horizon
        self._bias = [bias_of_lead.get(lead, bias) if bias_of_lead else bias for lead in range(1, horizon + 1)]

    def _parse(self, examples):
        return tf.io.parse_example(
            examples,
            {
                "frames": tf.io.FixedLenFeature([LONGEST, *SIZE], tf.float32),
                "length": tf.io.FixedLenFeature([], tf.int64),
                "content": tf.io.FixedLenFeature([], tf.string),
                "recording": tf.io.FixedLenFeature([], tf.string),
            },
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def transform_features(self, examples):
        parsed = self._parse(examples)
        return {name: parsed[name] for name in ("length", "content", "recording")}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def evaluate(self, examples):
        parsed = self._parse(examples)
        length = tf.cast(parsed["length"], tf.int32)
        counted = length > self._horizon
        context = tf.maximum(length - self._horizon, 1)
        frames = parsed["frames"]
        known = tf.logical_not(tf.math.is_nan(frames))
        future = context[:, None] + tf.range(self._horizon)[None]
        truth, truth_known = (tf.gather(values, future, batch_dims=1) for values in (frames, known))
        forecasts = in_graph.reference_forecasts(
            frames, known, context, self._horizon, climatology=tf.fill(SIZE, 0.5), blur_sigmas=[1.0] * self._horizon
        )
        bias = tf.reshape(tf.constant(self._bias, tf.float32), [1, -1, 1, 1, 1])
        forecasts["model"] = forecasts["persistence"] * self._scale + bias
        outputs = forecast_sums(truth, truth_known, counted, forecasts, *self._counted)
        outputs.pop(self._dropped, None)
        return outputs

    def save(self, path):
        tf.saved_model.save(
            self, path, signatures={"evaluate": self.evaluate, "transform_features": self.transform_features}
        )


def serialized(clips):
    """The clips as the records that `Toy` parses."""
    for frames, length, *words in zip(clips, LENGTHS, CONTENTS, RECORDINGS, strict=True):
        feature = {
            "frames": tf.train.Feature(float_list=tf.train.FloatList(value=frames.ravel())),
            "length": tf.train.Feature(int64_list=tf.train.Int64List(value=[length])),
        }
        for name, word in zip(("content", "recording"), words, strict=True):
            feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[word.encode()]))
        yield tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def numpy_mse(clips, models, among=None):
    """Mean squared errors of `(scale, bias)` models over some of the clips, all unless given."""
    errors = [[] for _ in models]
    for number in range(len(LENGTHS)) if among is None else among:
        frames, length = clips[number], LENGTHS[number]
        if length > HORIZON:
            truth = frames[length - HORIZON : length]
            last = np.nan_to_num(frames[length - HORIZON - 1]).astype("float64")
            for own, (scale, bias) in zip(errors, models, strict=True):
                own.append((last * scale + bias - truth)[~np.isnan(truth)])
    return [float(np.mean(np.concatenate(own) ** 2)) for own in errors]
