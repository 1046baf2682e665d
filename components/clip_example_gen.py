"""ClipExampleGen: reads clips, checks every frame, and splits them by recording.

ClipExampleGen(input_base="data", train="day1/*.tfrecord.gz", eval="day2/*.tfrecord.gz", clip=clip_spec)
"""

import collections
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import tensorflow as tf
from google.protobuf import json_format, struct_pb2
from tfx.components.example_gen import base_example_gen_executor, component, driver, utils
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from framecast.clips import filesystem, records
from framecast.clips.codec import frame_size
from framecast.clips.origin import source_names, tag
from framecast.clips.quarantine import Fault, encode_fault
from framecast.clips.survey import shared_names
from framecast.clips.validation import BadClip, check_clip
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, LabelSpec

SPLITS = ("train", "val", "eval")
SUMMARY = "ingest.json"  # Beside the splits in the output artifact.
FILES = "files"  # Execution property: what InputFiles found, in place of the patterns that the component was made with.
QUARANTINE = "quarantine"  # Folder beside the splits; `framecast.clips.quarantine` reads its files.
_SHOWN = 10  # Bad clips named in the error.
_DUPLICATE = "duplicate-id"


class BadClipsError(ValueError):
    """The input holds clips that the contract refuses; the message names each file, record, clip and frame."""


class ClipExampleGen(component.FileBasedExampleGen):
    """A TFX ExampleGen for TFRecords (plain or gzip) of MediaSequence clips.

    Args:
        input_base: Folder that the patterns are relative to; empty when they are whole paths.
        clip: The contract that every clip is held to.
        train: Glob pattern of the files for train and val, and for eval too when `eval` is not given. Or a pattern for
            each span, by the span's number, which every clip then carries as `clip/span`.
        eval: Glob pattern, or one a span, of the files that only the Evaluator sees.
        split_by: Context feature; clips that share its value share a split.
        shares: Relative sizes of the splits cut from the `train` files.
        min_frames: Clips shorter than this are legal but counted as left out of training and evaluation.
        label: What every clip must be labelled with; labels are not looked at unless given.
        max_bad_fraction: None: a bad clip or file ends the run. Otherwise they are put into quarantine, beside the
            splits, and end the run when they are more than this share of all clips; a file that cannot be read on
            counts as one.
        code: Digest of the code behind this component; a part of the cache key.
    """

    # Set below, once they are defined.
    EXECUTOR_SPEC: Any = None
    DRIVER_CLASS: Any = None

    def __init__(
        self,
        input_base: str,
        clip: ClipSpec,
        train: str | Mapping[int, str],
        eval: str | Mapping[int, str] | None = None,
        split_by: str = features.MEDIA_ID,
        shares: dict[str, int] | None = None,
        min_frames: int = 1,
        label: LabelSpec | None = None,
        max_bad_fraction: float | None = None,
        code: str = "",
    ):
        shares = shares or ({"train": 8, "val": 2} if eval else {"train": 8, "val": 1, "eval": 1})
        splits = _input_splits("train", train) + (_input_splits("eval", eval) if eval else [])
        settings = {
            "clip": clip.model_dump(mode="json"),
            "split_by": split_by,
            "shares": shares,
            "min_frames": min_frames,
            "label": label.model_dump(mode="json") if label else None,
            "max_bad_fraction": max_bad_fraction,
            "code": code,
        }
        custom_config = example_gen_pb2.CustomConfig()
        custom_config.custom_config.Pack(json_format.ParseDict({"json": json.dumps(settings)}, struct_pb2.Struct()))
        super().__init__(
            input_base=input_base,
            input_config=example_gen_pb2.Input(splits=splits),
            custom_config=custom_config,
            output_data_format=example_gen_pb2.FORMAT_TF_SEQUENCE_EXAMPLE,
        )


class ClipExampleGenExecutor(base_example_gen_executor.BaseExampleGenExecutor):
    """Reads, checks and writes clips, each payload passing through once: no reshuffle holds a split in memory."""

    def GetInputSourceToExamplePTransform(self) -> beam.PTransform:
        """Not used: `Do` reads the files itself, to name file and record of what is wrong."""
        raise NotImplementedError

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Writes the splits and a summary, or raises BadClipsError."""
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = _settings(exec_properties)
        splits, base = _inputs(exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        utils_format = exec_properties.get(standard_component_specs.OUTPUT_DATA_FORMAT_KEY)
        files = [(split.name, path) for split in splits for path in filesystem.glob(os.path.join(base, split.pattern))]
        names = collections.Counter(path for _, path in files)
        if twice := sorted(path for path, count in names.items() if count > 1):
            received = " and ".join(name for name, path in files if path == twice[0])
            raise BadClipsError(f"{twice[0]}: expected a file of one split and span, received one of {received}")
        summary = self._ingest(files, settings, artifact, {})
        if settings["max_bad_fraction"] is not None and summary["duplicates"]:
            # Which clips share a name is known only when all are written: once more, without the later ones.
            for entry in fileio.listdir(artifact.uri):
                path = os.path.join(artifact.uri, entry)
                (fileio.rmtree if fileio.isdir(path) else fileio.remove)(path)
            summary = self._ingest(
                files, settings, artifact, {(path, record): message for path, record, message in summary["duplicates"]}
            )
        if summary["bad"] and settings["max_bad_fraction"] is None:
            raise BadClipsError(_describe_bad(summary))
        clips = sum(counts["clips"] for counts in summary["splits"].values())
        if len(summary["bad"]) > (settings["max_bad_fraction"] or 0) * (len(summary["bad"]) + clips):
            share = 100 * settings["max_bad_fraction"]
            expected = f"max_bad_fraction: expected at most {share:g} % bad clips and files"
            raise BadClipsError(f"{expected}, received {clips} good clips and {_describe_bad(summary)}")
        for split in SPLITS:
            counts = summary["splits"].get(split, {"clips": 0, "short": 0})
            if not counts["clips"]:
                raise BadClipsError(_describe_empty(split, summary, settings))
            if counts["clips"] == counts["short"]:
                raise BadClipsError(
                    f"split {split}: expected a clip of at least {settings['min_frames']} frames (context and "
                    f"horizon), received {counts['clips']} clips, all of them shorter"
                )
        summary["spans"] = sorted({int(span) for split in splits if (span := split.name.partition("-")[2])})
        with fileio.open(os.path.join(artifact.uri, SUMMARY), "w") as file:
            file.write(json.dumps(summary, indent=1))
        artifact.set_int_custom_property("bad_clips", len(summary["bad"]))
        for split, counts in summary["splits"].items():
            artifact.set_int_custom_property(f"{split}_clips", counts["clips"])
        artifact.set_int_custom_property("short_clips", summary["short"])
        if utils_format:
            from tfx.components.util import examples_utils

            examples_utils.set_payload_format(artifact, utils_format)

    def _ingest(
        self,
        files: list[tuple[str, str]],
        settings: dict[str, Any],
        artifact: Any,
        duplicates: dict[tuple[str, int], str],
    ) -> dict[str, Any]:
        """Writes splits and quarantine; returns the summary. What `duplicates` names is bad, with its message."""
        spec = ClipSpec.model_validate(settings["clip"])
        label = LabelSpec.model_validate(settings["label"]) if settings["label"] else None
        sources = source_names(path for _, path in files)
        check = _CheckFile(spec, label, settings, sources, duplicates)
        facts = os.path.join(artifact.uri, "facts")
        with self._make_beam_pipeline() as pipeline:
            # From reading to writing one fused step: whatever is grouped, flattened or shuffled in between, the
            # in-memory runner holds as a whole. Names and facts are, payloads are not.
            checked = (
                pipeline
                | "Files" >> beam.Create(files)
                | "Spread" >> beam.Reshuffle()
                | "Check" >> beam.ParDo(check).with_outputs("facts", "ids", QUARANTINE, *SPLITS)
            )
            for name in SPLITS:
                checked[name] | f"Write[{name}]" >> beam.io.WriteToTFRecord(
                    os.path.join(artifact_utils.get_split_uri([artifact], name), "clips"), file_name_suffix=".gz"
                )
            if settings["max_bad_fraction"] is not None:
                checked[QUARANTINE] | "WriteQuarantine" >> beam.io.WriteToTFRecord(
                    os.path.join(artifact.uri, QUARANTINE, "clips"), file_name_suffix=".gz"
                )
            shared_names = checked.ids | beam.GroupByKey() | "Duplicates" >> beam.FlatMap(_duplicate_facts)
            (
                [checked.facts, shared_names]
                | "FlattenFacts" >> beam.Flatten()
                | "Count" >> beam.combiners.Count.PerElement()
                | "Encode" >> beam.Map(lambda pair: json.dumps([json.loads(pair[0]), pair[1]]))
                | "WriteFacts" >> beam.io.WriteToText(facts, num_shards=1, shard_name_template="")
            )
        return _summarise(facts, settings["min_frames"])


def _input_splits(name: str, patterns: str | Mapping[Any, str]) -> list[example_gen_pb2.Input.Split]:
    """Returns one split, or one a span: TFX fingerprints the files of each, so that its cache notices new ones."""
    if isinstance(patterns, str):
        return [example_gen_pb2.Input.Split(name=name, pattern=patterns)]
    return [example_gen_pb2.Input.Split(name=f"{name}-{span}", pattern=pattern) for span, pattern in patterns.items()]


def _inputs(exec_properties: dict[str, Any]) -> tuple[list[example_gen_pb2.Input.Split], str]:
    """Returns the patterns of each split and span, and the folder that they are relative to."""
    if FILES in exec_properties:
        patterns = json.loads(exec_properties[FILES])["patterns"]
        return [split for name, own in patterns.items() for split in _input_splits(name, own)], ""
    inputs = proto_utils.json_to_proto(
        exec_properties[standard_component_specs.INPUT_CONFIG_KEY], example_gen_pb2.Input()
    )
    return list(inputs.splits), exec_properties[standard_component_specs.INPUT_BASE_KEY]


class Driver(driver.Driver):
    """Fingerprints the files before the cache is asked; TFX's own driver opens no `s3://`."""

    def resolve_exec_properties(self, exec_properties: dict[str, Any], *_: Any) -> dict[str, Any]:
        """Adds what the cache notices new or replaced files by; spans have splits of their own."""
        splits, base = _inputs(exec_properties)
        found = [f"{split.name}: {filesystem.fingerprint(os.path.join(base, split.pattern))}" for split in splits]
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = "\n".join(found)
        exec_properties[utils.SPAN_PROPERTY_NAME] = 0
        exec_properties[utils.VERSION_PROPERTY_NAME] = None
        return exec_properties


ClipExampleGen.EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(ClipExampleGenExecutor)
ClipExampleGen.DRIVER_CLASS = Driver


class _CheckFile(beam.DoFn):
    """Reads one file; emits checked clips to their split, faults to quarantine, and a small JSON fact of each."""

    def __init__(
        self,
        spec: ClipSpec,
        label: LabelSpec | None,
        settings: dict[str, Any],
        sources: dict[str, str],
        duplicates: dict[tuple[str, int], str],
    ):
        self._spec = spec
        self._label = label
        self._split_by: str = settings["split_by"]
        self._shares: dict[str, int] = settings["shares"]
        self._min_frames: int = settings["min_frames"]
        self._sources = sources
        self._duplicates = duplicates

    def process(self, file: tuple[str, str]) -> Iterator[Any]:
        """Yields clips to the output of their split, `(example/id, place)` to `ids`, faults, and `facts`."""
        input_split, path = file
        files_of, _, span = input_split.partition("-")
        shares = {"eval": 1} if files_of == "eval" else self._shares
        groups: set[bytes] = set()
        digest = hashlib.sha256()
        for found in self._read(path, digest):
            if isinstance(found, Fault):
                yield beam.pvalue.TaggedOutput(QUARANTINE, encode_fault(found))
                yield beam.pvalue.TaggedOutput("facts", json.dumps(["bad", found.reason, found.message]))
                continue
            index, example, group = found
            split = split_of(group, shares)
            length = example.context.feature[features.LENGTH].int64_list.value[0]
            groups.add(group)
            tag(example, self._sources[path], group, int(span) if span else None)
            name = example.context.feature[features.EXAMPLE_ID].bytes_list.value[0]
            yield beam.pvalue.TaggedOutput("ids", (name, (path, index)))
            yield beam.pvalue.TaggedOutput("facts", json.dumps(["clip", split, length, frame_size(example)]))
            # What cannot be evaluated is counted, but not written: a slice of such clips alone would have no figures.
            if split != "eval" or length >= self._min_frames:
                yield beam.pvalue.TaggedOutput(split, example.SerializeToString(deterministic=True))
        for group in sorted(groups):
            split = split_of(group, shares)
            yield beam.pvalue.TaggedOutput("facts", json.dumps(["group", split, group.hex()]))
        yield beam.pvalue.TaggedOutput("facts", json.dumps(["file", input_split, digest.hexdigest()]))

    def _read(self, path: str, digest: Any) -> Iterator[Fault | tuple[int, tf.train.SequenceExample, bytes]]:
        """Yields a file's good clips as `(record, clip, group)`, and its faults; `digest` takes what it reads."""
        corrupt: list[Fault] = []

        def on_corrupt(error: records.BadFile, data: bytes) -> None:
            corrupt.append(Fault(path, error.record, error.reason, str(error), data))

        count = 0
        try:
            for index, record in records.read_records(path, on_corrupt=on_corrupt):
                count += 1
                digest.update(len(record).to_bytes(8, "big") + record)
                while corrupt:
                    yield corrupt.pop(0)
                try:
                    example = check_clip(record, self._spec, self._label)
                    group = _group(example, self._split_by)
                except BadClip as error:
                    yield Fault(path, index, error.reason, f"{path}, record {index}: {error}", record)
                    continue
                if (path, index) in self._duplicates:
                    yield Fault(path, index, _DUPLICATE, self._duplicates[path, index], record)
                else:
                    yield index, example, group
            if not count and not corrupt:
                yield Fault(path, 0, "empty-file", f"{path}: expected clips, received a file without records")
        except records.BadFile as error:
            yield Fault(path, error.record, error.reason, str(error))
        except (OSError, tf.errors.OpError) as error:
            yield Fault(path, 0, "unreadable-file", f"{path}: expected a readable file, received: {error}")
        yield from corrupt


def _duplicate_facts(entry: tuple[bytes, Iterable[tuple[str, int]]]) -> Iterator[str]:
    """Yields a fact for each clip but the first that carries this name."""
    for fact in shared_names(*entry):
        yield json.dumps([_DUPLICATE, *fact])


def split_of(group: bytes, shares: dict[str, int]) -> str:
    """Assigns a recording to a split by a hash of its name, so that it stays there when data are added."""
    place = int.from_bytes(hashlib.sha256(group).digest()[:8], "big") % sum(shares.values())
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("a hash bucket lies within the shares")


def _group(example: tf.train.SequenceExample, split_by: str) -> bytes:
    feature = example.context.feature.get(split_by)
    values = feature.bytes_list.value if feature is not None else []
    if len(values) != 1:
        clip = example.context.feature[features.EXAMPLE_ID].bytes_list.value[0].decode(errors="replace")
        raise BadClip("missing-key", f"expected one bytes value of {split_by}, received {len(values)}", clip=clip)
    return values[0]


def _settings(exec_properties: dict[str, Any]) -> dict[str, Any]:
    custom = proto_utils.json_to_proto(
        exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], example_gen_pb2.CustomConfig()
    )
    struct = struct_pb2.Struct()
    custom.custom_config.Unpack(struct)
    return json.loads(struct["json"])


def _summarise(path: str, min_frames: int) -> dict[str, Any]:
    splits: dict[str, dict[str, int]] = {}
    groups: dict[str, set[str]] = collections.defaultdict(set)
    lengths: collections.Counter[int] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    files = []
    bad = []
    duplicates = []
    reasons: collections.Counter[str] = collections.Counter()
    with fileio.open(path) as file:
        for line in file.read().splitlines():
            fact, count = json.loads(line)
            if fact[0] == "bad":
                reasons[fact[1]] += count
                bad.append(fact[2])
            elif fact[0] == _DUPLICATE:
                reasons[_DUPLICATE] += count
                bad.append(fact[3])
                duplicates.append(fact[1:])
            elif fact[0] == "file":
                files.append([*fact[1:], count])
            elif fact[0] == "group":
                groups[fact[1]].add(fact[2])
            else:
                counts = splits.setdefault(fact[1], {"clips": 0, "frames": 0, "short": 0})
                counts["clips"] += count
                counts["frames"] += count * fact[2]
                counts["short"] += count * (fact[2] < min_frames)
                lengths[fact[2]] += count
                sizes["x".join(map(str, fact[3]))] += count
    return {
        "splits": splits,
        "groups": {split: len(names) for split, names in groups.items()},
        "short": sum(counts["short"] for counts in splits.values()),
        "lengths": {str(length): lengths[length] for length in sorted(lengths)},
        "sizes": dict(sizes.most_common()),
        # Of what was read, whatever the files are called and wherever they lie.
        "digest": hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()[:16],
        "bad": sorted(bad),
        "duplicates": duplicates,
        "reasons": dict(reasons),
    }


def _describe_bad(summary: dict[str, Any]) -> str:
    bad = summary["bad"]
    lines = [f"{len(bad)} bad clips or files:", *bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"and {len(bad) - _SHOWN} more; by reason: {summary['reasons']}")
    return "\n".join(lines)


def _describe_empty(split: str, summary: dict[str, Any], settings: dict[str, Any]) -> str:
    return (
        f"split {split}: expected at least 1 clip, received 0. {sum(summary['groups'].values())} values of "
        f"{settings['split_by']} fell into {summary['groups']} by hash with shares {settings['shares']}: "
        f"raise the share of {split}, or give more recordings"
    )
