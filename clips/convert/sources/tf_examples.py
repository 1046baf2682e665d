"""Reads TFRecords of other tools: `tf.train.Example` and `tf.train.SequenceExample`, one recording per record.

An Example has its frames in one feature of several byte strings (TensorFlow Datasets), in one feature per frame with
the frame's number in its name (`{}/image_aux1/encoded`, BAIR and RoboNet), or in one feature of raw pixels. A
SequenceExample has them in a feature list (MediaSequence, DMVR, and clips of this project).
"""

import dataclasses
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf import message as protobuf_message

from framecast.clips.convert.sources.examples import feature_names
from framecast.clips.convert.sources.examples.encoded_frames import FrameDecoder, RawPixels
from framecast.clips.convert.sources.examples.sequence_examples import sequence_recording
from framecast.clips.convert.sources.source import BadSource, Frame, Recording
from framecast.clips.records import BadFile, read_records

_LABEL = "label"


@dataclasses.dataclass(frozen=True)
class Examples:
    """The records of a TFRecord file.

    Args:
        name: Name of the source.
        files: The file.
        key: Feature of the frames, with `{}` for the number of the frame; by default the only candidate.
        raw: Format of frames that are raw pixels; None for encoded images.
        fps: Requested frame rate; spaces frames whose timestamps are not usable.
        keep_alpha: Whether alpha is a channel.
    """

    name: str
    files: tuple[str, ...]
    key: str | None
    raw: RawPixels | None = None
    fps: float | None = None
    keep_alpha: bool = False

    def recordings(self) -> Iterator[Recording]:
        """Yields one recording per record, with its label if present."""
        (path,) = self.files
        try:
            for index, record in read_records(path):
                yield self._recording(f"{self.name}/{index:06d}", f"{path}, record {index}", record)
        except BadFile as error:
            raise BadSource(path, f"record {error.record}: {error.message}") from error
        except OSError as error:
            raise BadSource(path, f"cannot read the file: {error.strerror}") from error

    def _recording(self, name: str, place: str, record: bytes) -> Recording:
        decoder = FrameDecoder(self.raw, self.keep_alpha)
        try:
            sequence = tf.train.SequenceExample.FromString(record)
            if sequence.feature_lists.feature_list:
                return sequence_recording(name, place, sequence, self.key, decoder, self.fps)
            # An Example parses as a SequenceExample, with its features as the context.
            feature = tf.train.Example.FromString(record).features.feature
        except protobuf_message.DecodeError as error:
            expected = "expected a tf.train.Example or SequenceExample"
            raise BadSource(place, f"{expected}, received {len(record)} bytes") from error
        if not feature:
            raise BadSource(place, "expected a tf.train.Example with features, received none")
        label = feature[_LABEL] if _LABEL in feature else tf.train.Feature()
        text, number = label.bytes_list.value, label.int64_list.value
        return Recording(
            name,
            _frames(place, feature_names.find_frames(place, feature, self.key), decoder),
            label=text[0].decode(errors="replace") if len(text) == 1 else None,
            label_index=number[0] if len(number) == 1 else None,
        )


def _frames(place: str, found: list[tuple[int, bytes]], decoder: FrameDecoder) -> Iterator[Frame]:
    for position, data in found:
        # Raw pixels of several frames are in one value only.
        if len(found) == 1 and decoder.raw is not None:
            for number, values in enumerate(decoder.raw.split(place, data)):
                yield Frame(values, None, f"{place}, frame {number}")
            return
        yield decoder.decode(f"{place}, frame {position}", data, None, position)
