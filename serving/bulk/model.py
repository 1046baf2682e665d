"""A SavedModel that answers about many clips of any sizes and lengths at once.

model = BulkModel("serving/radar/3", batch=16)
model.ask([frames, frames])()[0]["forecast"]
"""

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from framecast.serving.client.signatures import SIGNATURE, TensorSpec

_LENGTHS = 1.25  # The longest clip of a batch to its shortest: more of it would be padding.
# Batches that the model is run on at once. Beside the parts of a model that keep one core busy, those of another batch
# run: on 2 cores two take 0.85 of the time of one after the other, and three no less.
_AT_ONCE = 2


class BulkModel:
    """A loaded model, which runs on two batches at once, however many threads ask.

    Args:
        folder: Of the SavedModel.
        batch: Most clips of a batch.

    Attributes:
        series: Names of the outputs that have an entry a frame.
    """

    def __init__(self, folder: str, batch: int):
        self._batch = batch
        self._runs = concurrent.futures.ThreadPoolExecutor(_AT_ONCE)
        # Signatures hold variables weakly: the root has to live as long as they do.
        self._model = tf.saved_model.load(folder)
        self._signature = self._model.signatures[SIGNATURE]
        declared = self._signature.structured_outputs
        self.series = frozenset(
            name
            for name, spec in declared.items()
            if TensorSpec(spec.dtype.name, None if spec.shape.rank is None else tuple(spec.shape)).is_series
        )

    def ask(self, clips: Sequence[np.ndarray]) -> Callable[[], list[dict[str, np.ndarray]]]:
        """Begins to answer; what is asked next is answered after it, without a pause.

        Args:
            clips: `(time, height, width, channel)` each, in the clips' dtype, all frames of them context.

        Returns:
            Waits for the outputs and returns those of each clip by name, as
            `framecast.serving.client.client.Client.answer` does.
        """
        numbers = list(batches([clip.shape for clip in clips], self._batch))
        runs = [self._runs.submit(self._run, [clips[number] for number in batch]) for batch in numbers]

        def collect() -> list[dict[str, np.ndarray]]:
            answers: list[dict[str, np.ndarray]] = [{} for _ in clips]
            for batch, run in zip(numbers, runs, strict=True):
                for number, own in zip(batch, run.result(), strict=True):
                    answers[number] = own
            return answers

        return collect

    def _run(self, clips: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Returns the outputs of the clips of a batch."""
        length = np.array([len(clip) for clip in clips], np.int32)
        frames = np.zeros((len(clips), length.max(), *clips[0].shape[1:]), clips[0].dtype)
        for place, clip in enumerate(clips):
            frames[place, : len(clip)] = clip
        outputs = self._signature(frames=tf.constant(frames), length=tf.constant(length))
        values = {name: tensor.numpy() for name, tensor in outputs.items()}
        return [
            {name: of[place, : len(clip)] if name in self.series else of[place] for name, of in values.items()}
            for place, clip in enumerate(clips)
        ]


def batches(shapes: Sequence[tuple[int, ...]], most: int) -> Iterator[list[int]]:
    """Yields the numbers of clips that are run together: of one frame size, and of about one length.

    Args:
        shapes: `(time, height, width, channel)` of each clip.
        most: Most clips of a batch.
    """
    order = sorted(range(len(shapes)), key=lambda number: (*shapes[number][1:], shapes[number][0]))
    batch: list[int] = []
    for number in order:
        time, *size = shapes[number]
        if batch:
            shortest, *batch_size = shapes[batch[0]]
            if len(batch) == most or size != batch_size or time > _LENGTHS * shortest:
                yield batch
                batch = []
        batch.append(number)
    if batch:
        yield batch
