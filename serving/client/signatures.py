"""What a served model declares of itself through GetModelMetadata, and clips held against it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

SIGNATURE = "serving_default"
_AXES = ("time", "height", "width", "channel")
# Frames have more axes, and a number a clip has fewer.
_SERIES_RANKS = (2, 3)


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """A declared input or output.

    Args:
        dtype: NumPy name of the dtype; `object` for strings.
        shape: Sizes, `None` where free; `None` altogether when even the rank is free.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def is_series(self) -> bool:
        """Whether it is one value, or one vector, a frame: `(batch, time)` or `(batch, time, classes)`, time free."""
        return self.shape is not None and len(self.shape) in _SERIES_RANKS and self.shape[1] is None


@dataclasses.dataclass(frozen=True)
class Signature:
    """The declared inputs and outputs of a signature, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """What a served version declares: its number, and its signatures by name."""

    version: int
    signatures: Mapping[str, Signature]


def read_metadata(response: get_model_metadata_pb2.GetModelMetadataResponse) -> ModelMetadata:
    """Returns what a server answered, decoded."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return ModelMetadata(
        version=response.model_spec.version.value,
        signatures={
            name: Signature(inputs=_specs(signature.inputs), outputs=_specs(signature.outputs))
            for name, signature in signatures.signature_def.items()
            if signature.method_name  # The graph's initialisation is listed too, and is no signature to call.
        },
    )


def check_clips(clips: Sequence[np.ndarray], model: str, metadata: ModelMetadata, first: int = 0) -> None:
    """Holds clips against the inputs that a model declares.

    Args:
        clips: What should be arrays `(time, height, width, channel)` of the declared dtype.
        model: Name of the model, for messages.
        metadata: What it declares.
        first: Number of the first clip, for messages.

    Raises:
        ValueError: When the model takes no frames, or a clip does not fit.
    """
    signature = metadata.signatures.get(SIGNATURE)
    found = sorted(signature.inputs) if signature else "no such signature"
    if signature is None or found != ["frames", "length"]:
        raise ValueError(
            f"model {model} version {metadata.version}, signature {SIGNATURE}: expected the inputs "
            f"['frames', 'length'], received {found}"
        )
    for number, clip in enumerate(clips, first):
        _check_clip(number, clip, signature.inputs["frames"])


def _check_clip(number: int, clip: np.ndarray, declared: TensorSpec) -> None:
    if not isinstance(clip, np.ndarray) or clip.ndim != len(_AXES):
        received = f"shape {clip.shape}" if isinstance(clip, np.ndarray) else type(clip).__name__
        raise ValueError(f"clip {number}: expected an array ({', '.join(_AXES)}), received {received}")
    if clip.dtype.name != declared.dtype:
        raise ValueError(f"clip {number}: expected dtype {declared.dtype}, received {clip.dtype.name}")
    if declared.shape is None:
        return
    for axis, size, expected in zip(_AXES, clip.shape, declared.shape[1:], strict=True):
        if expected is not None and size != expected:
            raise ValueError(f"clip {number}: expected {axis} {expected}, received {size}")


def _specs(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, TensorSpec]:
    return {name: _spec(info) for name, info in infos.items()}


def _spec(info: meta_graph_pb2.TensorInfo) -> TensorSpec:
    sizes = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    dtype = np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)
    return TensorSpec(dtype=dtype.name, shape=None if info.tensor_shape.unknown_rank else sizes)
