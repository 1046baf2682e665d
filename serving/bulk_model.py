"""A SavedModel that answers about many clips of any sizes and lengths at once.

model = BulkModel("serving/radar/3", batch=16)
model.answer([frames, frames])[0]["forecast"]
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from framecast.serving.declaration import SIGNATURE, TensorSpec

_LENGTHS = 1.25  # The longest clip of a batch to its shortest: more of it would be padding.


class BulkModel:
    """A loaded model.

    Args:
        folder: Of the SavedModel.
        batch: Most clips that it is run on at once.

    Attributes:
        series: Names of the outputs that have an entry a frame.
    """

    def __init__(self, folder: str, batch: int):
        self._batch = batch
        # Signatures hold variables weakly: the root has to live as long as they do.
        self._model = tf.saved_model.load(folder)
        self._signature = self._model.signatures[SIGNATURE]
        declared = self._signature.structured_outputs
        self.series = frozenset(
            name
            for name, spec in declared.items()
            if TensorSpec(spec.dtype.name, None if spec.shape.rank is None else tuple(spec.shape)).is_series
        )

    def answer(self, clips: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Returns the outputs of each clip by name, as `framecast.serving.client.Forecaster.answer` does.

        Args:
            clips: `(time, height, width, channel)` each, in the clips' dtype, all frames of them context.
        """
        answers: list[dict[str, np.ndarray]] = [{} for _ in clips]
        for batch in batches([clip.shape for clip in clips], self._batch):
            length = np.array([len(clips[number]) for number in batch], np.int32)
            first = clips[batch[0]]
            frames = np.zeros((len(batch), length.max(), *first.shape[1:]), first.dtype)
            for place, number in enumerate(batch):
                frames[place, : length[place]] = clips[number]
            outputs = self._signature(frames=tf.constant(frames), length=tf.constant(length))
            for name, tensor in outputs.items():
                values = tensor.numpy()
                for place, number in enumerate(batch):
                    answers[number][name] = values[place, : length[place]] if name in self.series else values[place]
        return answers


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
