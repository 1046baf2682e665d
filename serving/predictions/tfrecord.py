"""Answers as clips: forecasts as frames that go on where the clip ended, other answers written into the clip."""

import tensorflow as tf

from framecast.clips.codec import encode_clip
from framecast.schemas import features
from framecast.serving.predictions.prediction import Prediction

# Facts that a check wrote of the clip that was asked about: they are no facts of what is written.
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


def prediction_clip(answer: Prediction) -> tf.train.SequenceExample:
    """Returns an answer as a clip by the clip contract, under the names of the clip that was asked about.

    Of a forecast the clip holds the frames that were forecast, in the clip's dtype and without loss (PNG or RAW; a JPEG
    clip gets PNG), at the times after its own. Of another task it is the clip itself with the outputs by their names:
    one entry a frame in a feature list of floats, one a clip in the context. Context features are kept, and what a
    pixel stands for is in it, and `model/version`.

    Raises:
        ValueError: When the times of a forecast cannot be told.
    """
    made = _forecast_clip(answer) if answer.is_forecast else _annotated_clip(answer)
    for name in _FACTS:
        if name in made.context.feature:
            del made.context.feature[name]
    return made


def _forecast_clip(answer: Prediction) -> tf.train.SequenceExample:
    frames = encode_clip(
        answer.forecast_pixels(),
        example_id=answer.name,
        media_id=answer.media_id,
        frame_rate=_MICROSECONDS / answer.interval,
        timestamps=answer.forecast_times,
    )
    made = tf.train.SequenceExample(feature_lists=frames.feature_lists)
    made.context.CopyFrom(_context(answer))
    for name, feature in frames.context.feature.items():
        made.context.feature[name].CopyFrom(feature)
    return made


def _annotated_clip(answer: Prediction) -> tf.train.SequenceExample:
    made = tf.train.SequenceExample(context=_context(answer), feature_lists=answer.example.feature_lists)
    for name, values in answer.outputs.items():
        if name in answer.series:
            entries = made.feature_lists.feature_list[name].feature
            for row in values.reshape(len(values), -1):
                entries.add().float_list.value.extend(row.tolist())
        else:
            made.context.feature[name].float_list.value.extend(values.reshape(-1).tolist())
    return made


def _context(answer: Prediction) -> tf.train.Features:
    """Returns the clip's own context, with what a pixel stands for where the clip does not say it."""
    context = tf.train.Features()
    context.CopyFrom(answer.example.context)
    said: dict[str, tf.train.Feature] = {}
    if answer.value is not None:
        said[features.VALUE_UNIT] = _bytes(answer.value.unit)
        said[features.VALUE_SCALE] = _float(answer.value.scale)
        said[features.VALUE_OFFSET] = _float(answer.value.offset)
    if answer.missing is not None:
        said[features.MISSING] = _float(answer.missing)
    for name, feature in said.items():
        if name not in context.feature:
            context.feature[name].CopyFrom(feature)
    version = tf.train.Int64List(value=[answer.version])
    context.feature[features.MODEL_VERSION].CopyFrom(tf.train.Feature(int64_list=version))
    return context


def _bytes(text: str) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))


def _float(number: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[number]))
