"""Reads the signatures of a served model from GetModelMetadata, and checks clips against them.

metadata = read_metadata(response)
check_clips(clips, "radar", metadata)
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from framecast.serving.rpc import DEFAULT_SIGNATURE

_AXES = ("time", "height", "width", "channel")
_SERIES_RANKS = (2, 3)  # `(batch, time)` and `(batch, time, classes)`: frames have more axes, scalars fewer.


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """A declared input or output.

    Args:
        dtype: NumPy name of the dtype; `object` for strings.
        shape: Sizes, `None` for a free axis; `None` in place of the tuple if the rank is free.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def is_series(self) -> bool:
        """Whether there is a scalar or vector per frame: `(batch, time)` or `(batch, time, classes)`, time free."""
        return self.shape is not None and len(self.shape) in _SERIES_RANKS and self.shape[1] is None


@dataclasses.dataclass(frozen=True)
class Signature:
    """The declared inputs and outputs of a signature, keyed by their names."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """The number of a served version, and its signatures keyed by their names."""

    version: int
    signatures: Mapping[str, Signature]


def read_metadata(response: get_model_metadata_pb2.GetModelMetadataResponse) -> ModelMetadata:
    """Decodes the response of GetModelMetadata."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return ModelMetadata(
        version=response.model_spec.version.value,
        signatures={
            name: Signature(inputs=_specs(signature.inputs), outputs=_specs(signature.outputs))
            for name, signature in signatures.signature_def.items()
            if signature.method_name  # The graph's initializer is listed too, but cannot be called.
        },
    )


def check_clips(clips: Sequence[np.ndarray], model: str, metadata: ModelMetadata, first: int = 0) -> None:
    """Checks clips against the inputs of a model.

    Args:
        clips: Arrays `(time, height, width, channel)` in the model's dtype; anything else is refused.
        model: Name of the model, for error messages.
        metadata: Metadata of the model.
        first: Number of the first clip, for error messages.

    Raises:
        ValueError: If the model does not take frames, or a clip has the wrong type, dtype or shape.
    """
    signature = metadata.signatures.get(DEFAULT_SIGNATURE)
    found = sorted(signature.inputs) if signature else "no such signature"
    if signature is None or found != ["frames", "length"]:
        raise ValueError(
            f"model {model} version {metadata.version}, signature {DEFAULT_SIGNATURE}: expected the inputs "
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
