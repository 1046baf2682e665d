"""Converts predictions to clips by the clip contract, for TFRecord files."""

import tensorflow as tf

from framecast.clips.codec import encode_clip
from framecast.schemas import features
from framecast.serving.predictions.prediction import Prediction

# Facts that validation wrote about the input clip; they do not describe the output clip.
_FACTS = (
    features.LENGTH,
    features.CONTENT,
    features.MEAN,
    features.DEVIATION,
    features.EMPTY_SHARE,
    features.MOTION,
    features.MOVEMENT,
    features.CLASS,
)
_MICROSECONDS = 1_000_000


def prediction_clip(prediction: Prediction) -> tf.train.SequenceExample:
    """Converts a prediction to a clip with the names of the input clip.

    A forecast becomes a clip of the forecast frames in the dtype of the input clip, encoded without loss (PNG or RAW;
    PNG for a JPEG clip), with timestamps after those of the input. Outputs of other tasks are added to the input clip
    under their names: per-frame outputs as feature lists of floats, per-clip outputs in the context. The context
    features of the input are kept; the physical value of a pixel and `model/version` are added.

    Raises:
        ValueError: If the times of a forecast are unknown.
    """
    clip = _forecast_clip(prediction) if prediction.is_forecast else _annotated_clip(prediction)
    for name in _FACTS:
        if name in clip.context.feature:
            del clip.context.feature[name]
    return clip


def _forecast_clip(prediction: Prediction) -> tf.train.SequenceExample:
    frames = encode_clip(
        prediction.forecast_pixels(),
        example_id=prediction.name,
        media_id=prediction.media_id,
        frame_rate=_MICROSECONDS / prediction.interval,
        timestamps=prediction.forecast_times,
    )
    clip = tf.train.SequenceExample(feature_lists=frames.feature_lists)
    clip.context.CopyFrom(_context(prediction))
    for name, feature in frames.context.feature.items():
        clip.context.feature[name].CopyFrom(feature)
    return clip


def _annotated_clip(prediction: Prediction) -> tf.train.SequenceExample:
    clip = tf.train.SequenceExample(context=_context(prediction), feature_lists=prediction.example.feature_lists)
    for name, values in prediction.outputs.items():
        if name in prediction.series:
            entries = clip.feature_lists.feature_list[name].feature
            for row in values.reshape(len(values), -1):
                entries.add().float_list.value.extend(row.tolist())
        else:
            clip.context.feature[name].float_list.value.extend(values.reshape(-1).tolist())
    return clip


def _context(prediction: Prediction) -> tf.train.Features:
    """Returns the context of the input clip, with the physical value of a pixel added if it is missing there."""
    context = tf.train.Features()
    context.CopyFrom(prediction.example.context)
    known: dict[str, tf.train.Feature] = {}
    if prediction.value is not None:
        known[features.VALUE_UNIT] = _bytes(prediction.value.unit)
        known[features.VALUE_SCALE] = _float(prediction.value.scale)
        known[features.VALUE_OFFSET] = _float(prediction.value.offset)
    if prediction.missing is not None:
        known[features.MISSING] = _float(prediction.missing)
    for name, feature in known.items():
        if name not in context.feature:
            context.feature[name].CopyFrom(feature)
    version = tf.train.Int64List(value=[prediction.version])
    context.feature[features.MODEL_VERSION].CopyFrom(tf.train.Feature(int64_list=version))
    return context


def _bytes(text: str) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))


def _float(number: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[number]))
