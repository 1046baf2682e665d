"""Defines the component ClipExampleGen.

ClipExampleGen(input_base="data", train="day1/*.tfrecord.gz", eval="day2/*.tfrecord.gz", clip=clip_spec)
"""

from collections.abc import Mapping

from tfx.components.example_gen import component
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from framecast.components.clip_example_gen import parameters
from framecast.components.clip_example_gen.driver import ClipExampleGenDriver
from framecast.components.clip_example_gen.executor import ClipExampleGenExecutor
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, LabelSpec


class ClipExampleGen(component.FileBasedExampleGen):
    """A TFX ExampleGen for TFRecords (plain or gzip) of MediaSequence clips.

    Args:
        input_base: Folder that the patterns are relative to; empty for absolute patterns.
        clip: The contract that every clip must meet.
        train: Glob pattern of the files for train and val, and for eval if `eval` is not given. Or one pattern per
            span, by the span's number, which is written to each clip as `clip/span`.
        eval: Glob pattern, or one per span, of the files that only the Evaluator reads.
        split_by: Context feature; clips with the same value are in the same split.
        shares: Relative sizes of the splits cut from the `train` files.
        min_frames: Shorter clips are valid, but are counted as left out of training and evaluation.
        label: The label that every clip must have; labels are not checked if it is None.
        max_bad_fraction: If None, a bad clip or file ends the run. Otherwise they are written to quarantine, beside the
            splits, and end the run if they exceed this share of all clips. A file that cannot be read further counts
            as one.
        known_digests: File that keeps the digests of input files between runs, see `framecast.clips.fingerprint`.
        code: Digest of the component's code; part of the cache key.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(ClipExampleGenExecutor)
    DRIVER_CLASS = ClipExampleGenDriver

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
        known_digests: str = "",
        code: str = "",
    ):
        splits = parameters.input_splits("train", train) + (parameters.input_splits("eval", eval) if eval else [])
        settings = {
            "clip": clip.model_dump(mode="json"),
            "split_by": split_by,
            "shares": shares or ({"train": 8, "val": 2} if eval else {"train": 8, "val": 1, "eval": 1}),
            "min_frames": min_frames,
            "label": label.model_dump(mode="json") if label else None,
            "max_bad_fraction": max_bad_fraction,
            "known_digests": known_digests,
            "code": code,
        }
        super().__init__(
            input_base=input_base,
            input_config=example_gen_pb2.Input(splits=splits),
            custom_config=parameters.pack_settings(settings),
            output_data_format=example_gen_pb2.FORMAT_TF_SEQUENCE_EXAMPLE,
        )
