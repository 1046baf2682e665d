"""The settings of the `train` section that decide how weights are updated. Imports no TensorFlow and no Keras."""

from typing import Literal

import pydantic

from framecast.schemas.section import Section

VAL_LOSS = "val_loss"
_WEIGHT_DECAY = 0.01  # AdamW's in PyTorch; Loshchilov and Hutter 2019 try 0.0025 to 0.05.


class OptimizerSpec(Section):
    """How the weights are updated, when training ends early, and which weights are kept.

    Args:
        steps: Updates of the weights.
        optimizer: `adam`; `adamw`, Adam with weight decay; `sgd`, with a momentum of 0.9.
        learning_rate: Peak of the schedule.
        weight_decay: Share of each weight that an update removes, times the learning rate; for `adamw` only, where the
            default is 0.01.
        clip_norm: Largest global norm of the gradients of an update; null does not clip them.
        schedule: The learning rate after the warm-up. `cosine`: falls to 0 along half a cosine. `constant`: stays.
            `plateau`: is halved after every third evaluation in a row without better weights (`best_by`). `one-cycle`
            (Smith and Topin 2019, as in PyTorch): rises from a 25th of the peak, then falls almost to 0, both along
            half a cosine.
        warm_up: Share of the steps in which the learning rate rises to its peak.
        accumulate: Batches of an update. The update equals that of one batch with all their clips, except for
            statistics of a batch, such as BatchNormalization's.
        ema: Momentum of an exponential moving average of the weights, such as 0.999. If it is given, the averages are
            evaluated on the val split and exported. An average over the last steps needs `1 / (1 - ema)` to be far
            below `steps`.
        eval_every: Steps between evaluations on the val split.
        best_by: Which weights are the best, and exported: those with the lowest `val_loss`, or with the best value on
            the val split of a metric of the task, such as `skill`, `csi_2` (with `evaluate.events`) or `accuracy`. The
            metric is computed over whole clips as the Evaluator computes it, and logged as `val_skill` and so on. A
            search (`tune`) compares trials by val loss.
        patience: Evaluations in a row without better weights (`best_by`) after which training ends; by default it takes
            all steps.
    """

    steps: int = pydantic.Field(ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = pydantic.Field(default=1e-3, ge=0)
    weight_decay: float | None = pydantic.Field(default=None, ge=0)
    clip_norm: float | None = pydantic.Field(default=1.0, gt=0)
    schedule: Literal["cosine", "constant", "plateau", "one-cycle"] = "cosine"
    warm_up: float = pydantic.Field(default=0.1, ge=0, lt=1)
    accumulate: int = pydantic.Field(default=1, ge=1)
    ema: float | None = pydantic.Field(default=None, gt=0, lt=1)
    eval_every: int = pydantic.Field(default=200, ge=1)
    best_by: str = VAL_LOSS
    patience: int | None = pydantic.Field(default=None, ge=1)

    @pydantic.model_validator(mode="after")
    def _check_weight_decay(self) -> "OptimizerSpec":
        if self.weight_decay is not None and self.optimizer != "adamw":
            raise ValueError(f"weight_decay: expected optimizer: adamw, received {self.optimizer}")
        return self

    @property
    def decay(self) -> float:
        """The weight decay of `adamw`."""
        return _WEIGHT_DECAY if self.weight_decay is None else self.weight_decay
