"""Reads TFRecords of `tf.train.Example` with a list of encoded frames, as written by TensorFlow Datasets."""

import dataclasses
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf import message as protobuf_message

from framecast.clips import image_codec
from framecast.clips.convert.sources.source import BadSource, Frame, Recording
from framecast.clips.records import BadFile, read_records

_LABEL = "label"


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of a TFRecord file, one recording per example.

    Args:
        name: Unique name.
        files: The file.
        key: Feature of the encoded frames; by default the only one with several byte strings.
    """

    name: str
    files: tuple[str, ...]
    key: str | None

    def recordings(self) -> Iterator[Recording]:
        """Yields one recording per example, with its `label` if present."""
        (path,) = self.files
        try:
            for index, record in read_records(path):
                place = f"{path}, record {index}"
                try:
                    feature = tf.train.Example.FromString(record).features.feature
                except protobuf_message.DecodeError as error:
                    raise BadSource(place, f"expected a tf.train.Example, received {len(record)} bytes") from error
                encoded = self._encoded(place, feature)
                label = feature[_LABEL] if _LABEL in feature else tf.train.Feature()
                text, number = label.bytes_list.value, label.int64_list.value
                yield Recording(
                    f"{self.name}/{index:06d}",
                    _frames(place, encoded),
                    label=text[0].decode(errors="replace") if len(text) == 1 else None,
                    label_index=number[0] if len(number) == 1 else None,
                )
        except BadFile as error:
            raise BadSource(path, f"record {error.record}: {error.message}") from error
        except OSError as error:
            raise BadSource(path, f"cannot read the file: {error.strerror}") from error

    def _encoded(self, place: str, feature: dict[str, tf.train.Feature]) -> list[bytes]:
        lists = sorted(name for name, value in feature.items() if len(value.bytes_list.value) > 1)
        key = self.key or (lists[0] if len(lists) == 1 else None)
        if key not in lists:
            wanted = f"a list of encoded frames in {key}" if key else "one list of encoded frames (or --variable)"
            raise BadSource(place, f"expected {wanted}, received lists in {', '.join(lists) or 'none'}")
        return list(feature[key].bytes_list.value)


def _frames(place: str, encoded: list[bytes]) -> Iterator[Frame]:
    for index, data in enumerate(encoded):
        where = f"{place}, frame {index}"
        try:
            yield Frame(image_codec.decode(data, image_codec.read_header(data)), None, where)
        except image_codec.BadImage as error:
            raise BadSource(where, str(error)) from error
