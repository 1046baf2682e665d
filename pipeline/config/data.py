"""The `data` section of the configuration: input files, spans and splits."""

from typing import Literal

import pydantic

from framecast.clips import filesystem, spans
from framecast.components.validation_gate.drift_spec import DriftSpec
from framecast.schemas import features
from framecast.schemas.section import Section


class Shares(Section):
    """Relative sizes of the splits that are cut from the `train` files."""

    train: int = pydantic.Field(ge=1)
    val: int = pydantic.Field(ge=1)
    eval: int = pydantic.Field(default=0, ge=0)


class DataSpec(Section):
    """Input files and their splits.

    Args:
        train: Glob pattern of TFRecord files, relative to the folder of the configuration file. `{SPAN}` is the number
            of a span, such as a day: `day{SPAN}/*`.
        eval: Glob pattern of the files that only the Evaluator reads; with `{SPAN}`, files of the same spans. Without
            it, `shares` cuts all splits from `train`.
        spans: How many of the newest spans are used, if `train` has `{SPAN}`.
        newest_span: Highest span number that is used, if `train` has `{SPAN}`; `framecast run --span` sets it.
        span_done: Name of the file that marks the folder of a span as complete, such as `_SUCCESS`. Without it, a span
            is complete if `train` and `eval` have files of it and none is hidden or ends with `.part`, `.tmp` or
            `.incomplete`. `framecast run --span latest` and a pipeline on Kubeflow wait for it.
        drift: How far a span may drift from the one before it, if `train` has `{SPAN}`.
        split_by: Context feature whose equal values share a split, because neighbours in two splits leak.
        shares: Relative sizes of the splits; `eval` must be 0 exactly if `data.eval` is given.
        on_bad_clip: `fail`: a bad clip fails the run and is named. `quarantine`: it is written to a separate file with
            its source file, record and reason.
        max_bad_fraction: With `quarantine`, the share of bad clips and files above which the run fails.
    """

    train: str
    eval: str | None = None
    spans: int = pydantic.Field(default=1, ge=1)
    newest_span: int | None = pydantic.Field(default=None, ge=0)
    span_done: str | None = pydantic.Field(default=None, pattern=r"^[^/]+$")
    drift: DriftSpec = DriftSpec()
    split_by: str = features.MEDIA_ID
    shares: Shares | None = None
    on_bad_clip: Literal["fail", "quarantine"] = "fail"
    max_bad_fraction: float = pydantic.Field(default=0.1, ge=0, le=1)

    @property
    def patterns(self) -> dict[str, str]:
        """The patterns by key, `{SPAN}` unresolved: `train` and, if given, `eval`."""
        return {"train": self.train} | ({"eval": self.eval} if self.eval is not None else {})

    @pydantic.model_validator(mode="after")
    def _three_splits(self) -> "DataSpec":
        if self.shares is not None and bool(self.shares.eval) == bool(self.eval):
            raise ValueError(
                "shares.eval: expected 0 when data.eval is given and above 0 when it is not, "
                f"received {self.shares.eval} with eval: {self.eval}"
            )
        return self

    @pydantic.field_validator("train", "eval")
    @classmethod
    def _valid_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            filesystem.check_scheme(pattern)
            spans.check_pattern(pattern)
        return pattern

    @pydantic.model_validator(mode="after")
    def _span_keys_need_spans(self) -> "DataSpec":
        if spans.SPAN in self.train:
            for key, pattern in self.patterns.items():
                if self.span_done is not None and spans.SPAN in pattern:
                    try:
                        spans.check_marker(pattern, self.span_done)
                    except ValueError as error:
                        raise ValueError(f"span_done: {key}: {error}") from error
            return self
        for key, used in (
            ("spans", self.spans > 1),
            ("newest_span", self.newest_span is not None),
            ("span_done", self.span_done is not None),
            ("drift", self.drift != DriftSpec()),
            ("eval", self.eval is not None and spans.SPAN in self.eval),
        ):
            if used:
                raise ValueError(f"{key}: expected {spans.SPAN} in data.train, received {self.train}")
        return self
