"""Reads the clips for `framecast query`, from TFRecords or cut from videos, images, arrays and gridded files."""

import collections
from collections.abc import Iterator, Sequence

import pydantic
import tensorflow as tf
from google.protobuf.message import DecodeError

from framecast.clips.codec import clip_name, context_value
from framecast.clips.convert.clip_making import make_clips
from framecast.clips.convert.sources.discovery import find_sources, kind_of
from framecast.clips.convert.sources.labels import Label
from framecast.clips.convert.spec import ANY_CLIP, ConvertSpec, Kind
from framecast.clips.records import find_files, read_records
from framecast.clips.validation import BadClip, check_clip
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec

_MEDIA: dict[Kind, str] = {"video": "videos", "images": "images", "arrays": "arrays", "grids": "gridded files"}


def read_sources(
    paths: Sequence[str], spec: ClipSpec, conversion: ConvertSpec | None, tally: collections.Counter[str]
) -> Iterator[tf.train.SequenceExample]:
    """Yields the validated clips of the paths.

    Args:
        paths: Files, folders or patterns: TFRecords of clips, or videos, images, NumPy arrays or gridded files, all of
            one kind.
        spec: The clip contract; a clip may declare a value or missing pixel that the contract does not set.
        conversion: How clips are cut from media; None for `ANY_CLIP`, the defaults.
        tally: Counts frames and values of media that were changed or left out, by reason.

    Raises:
        ValueError: If a clip breaks the contract or a source cannot be read, naming it; if kinds are mixed; or if
            `conversion` is given for TFRecords.
        FileNotFoundError: If a path matches nothing.
    """
    # A Zarr store is a folder, but one source.
    files = [] if all(map(kind_of, paths)) else list(dict.fromkeys(find_files(paths)))
    kinds = {kind_of(file) for file in files or paths} - {None}
    if kinds & _MEDIA.keys() and "examples" not in kinds:
        return _from_media(paths, spec, conversion or ANY_CLIP, tally)
    if kinds - {"examples"}:
        received = " and ".join(sorted(str(kind) for kind in kinds))
        raise ValueError(
            f"{', '.join(paths)}: expected TFRecords of clips, or {_expected()}, received {received} "
            "(framecast data convert reads more formats)"
        )
    if conversion is not None and conversion != ANY_CLIP:
        raise ValueError(
            f"{', '.join(_given(conversion))}: expected {_expected()}, received TFRecords: {', '.join(paths)}"
        )
    return _from_records(files or list(dict.fromkeys(find_files(paths))), spec)


def own_missing(example: tf.train.SequenceExample) -> float | None:
    """Returns the pixel value for "no data" that a clip declares; None if it declares none."""
    return context_value(example, features.MISSING, "float_list")


def _from_records(files: Sequence[str], spec: ClipSpec) -> Iterator[tf.train.SequenceExample]:
    for path in files:
        for index, record in read_records(path):
            try:
                yield _check(record, spec)
            except BadClip as error:
                raise ValueError(f"{path}, record {index}: {error}") from error


def _from_media(
    paths: Sequence[str], spec: ClipSpec, conversion: ConvertSpec, tally: collections.Counter[str]
) -> Iterator[tf.train.SequenceExample]:
    found = find_sources(paths, conversion)
    if found.ignored:
        tally["files of another kind"] += len(found.ignored)
    for source in found.sources:
        try:
            for recording in source.recordings():
                for clip in make_clips(recording, conversion, Label(), tally):
                    yield _check(clip.encode(), spec)
        except BadClip as error:
            hint = " (--gray converts RGB to one channel)" if error.reason == "channels" else ""
            raise ValueError(f"{source.files[0]}: {error}{hint}") from error
        except ImportError as error:
            raise ValueError(
                f"{source.files[0]}: expected {error.name} to be installed; install the extra framecast[media]"
            ) from error


def _expected() -> str:
    *names, last = _MEDIA.values()
    return f"{', '.join(names)} or {last}"


def _given(conversion: ConvertSpec) -> list[str]:
    """Returns the options whose values differ from `ANY_CLIP`."""
    options: dict[str, None] = {}
    for section in ("read", "value", "cut"):
        given, default = getattr(conversion, section), getattr(ANY_CLIP, section)
        for name, field in type(given).model_fields.items():
            if getattr(given, name) != getattr(default, name):
                extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
                options[f"--{str(extra.get('option') or name).replace('_', '-')}"] = None
    return list(options)


def _check(record: bytes, spec: ClipSpec) -> tf.train.SequenceExample:
    """Validates a clip, with the missing pixel that the clip declares if `spec` has none."""
    return check_clip(record, spec if spec.missing is not None else _with_own_missing(spec, record))


def _with_own_missing(spec: ClipSpec, record: bytes) -> ClipSpec:
    try:
        missing = own_missing(tf.train.SequenceExample.FromString(record))
    except (DecodeError, BadClip):
        return spec  # Validation reports the error.
    try:
        return ClipSpec.model_validate({**spec.model_dump(), "missing": missing})
    except pydantic.ValidationError as error:
        message = f"{features.MISSING}: expected a {spec.dtype} value, received {missing:g}"
        raise BadClip("pixel-value", message, clip_name(tf.train.SequenceExample.FromString(record))) from error
