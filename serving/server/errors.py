"""Makes the gRPC errors of the embedded server: status codes and messages, worded as TensorFlow Serving words them.

    raise errors.signature_not_found("serve_examples")

"expected ..., received ..." marks messages of Framecast, where TensorFlow Serving documents no text.
"""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
import tensorflow as tf

_MAX_MESSAGE = 2000  # Characters. The message travels in a header, and gRPC drops headers above 8 KiB.

_log = logging.getLogger(__name__)
_Call = Callable[[Any, grpc.ServicerContext], Any]


class ServingError(Exception):
    """A gRPC status code with its message."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code


def status_code(error: Exception) -> grpc.StatusCode:
    """Returns the gRPC status code of an error: TensorFlow's error codes are gRPC's, any other error is UNKNOWN."""
    if isinstance(error, ServingError):
        return error.code
    number = error.error_code if isinstance(error, tf.errors.OpError) else grpc.StatusCode.UNKNOWN.value[0]
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def aborting(call: _Call) -> _Call:
    """Wraps the handler of a gRPC method: its exceptions abort the call with a status code and a message."""

    def handle(request, context):
        try:
            return call(request, context)
        except ServingError as error:
            code, message = error.code, str(error)
        except Exception as error:
            _log.exception("a call failed")
            code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        context.abort(code, message[:_MAX_MESSAGE])

    return handle


# Model, version and label of a request.


def model_spec_missing() -> ServingError:
    """Reports that the request has no model_spec."""
    return _invalid("Missing ModelSpec")


def model_name_missing() -> ServingError:
    """Reports that the request's model_spec has no name."""
    return _invalid("ModelSpec has no name specified.")


def label_not_found(label: str) -> ServingError:
    """Reports that the model has no version with the requested label."""
    return _invalid(f"Unrecognized servable version label: {label}")


def servable_not_found(model: str, version: int | None) -> ServingError:
    """Reports that the requested version, or any version if None, is not loaded."""
    wanted = f"Latest({model})" if version is None else f"Specific({model}, {version})"
    return ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")


def status_not_found(model: str, version: int | None) -> ServingError:
    """Reports that GetModelStatus asks for a version, or for a model if None, that was never on disk."""
    subject = "any versions" if version is None else f"version {version}"
    return ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find {subject} of model {model}")


def metadata_field_missing() -> ServingError:
    """Reports that GetModelMetadata asks for no field."""
    return _invalid("GetModelMetadataRequest must specify at least one metadata_field")


def metadata_field_unknown(field: str) -> ServingError:
    """Reports that GetModelMetadata asks for another field than signature_def."""
    return _invalid(f"Metadata field {field} is not supported")


# Signature, inputs and outputs of a Predict request.


def signature_not_found(name: str) -> ServingError:
    """Reports that the model has no signature of this name."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')


def signature_not_callable(method: str, callable_methods: Sequence[str]) -> ServingError:
    """Reports that the signature's method is none that a server can call."""
    return ServingError(
        grpc.StatusCode.INTERNAL,
        f"Expected prediction signature method_name to be one of {{{', '.join(callable_methods)}}}. Was: {method}",
    )


def input_count(sent: set[str], expected: set[str]) -> ServingError:
    """Reports that the request has too many or too few inputs."""
    return _invalid(
        f"input size does not match signature: {len(sent)}!={len(expected)} len({_names(sent)}) != "
        f"len({_names(expected)}). Sent extra: {_names(sent - expected)}. "
        f"Missing but required: {_names(expected - sent)}."
    )


def input_missing(alias: str, feed: str, sent: set[str], defaults: Iterable[str]) -> ServingError:
    """Reports that an input without a default value is missing."""
    return _invalid(
        f"Signature input alias: {alias}(feed name: {feed}) not found in request and "
        f"no default value provided. Inputs expected to be in the request {_names(sent)}, or default input "
        f"alias set: {','.join(sorted(defaults))}"
    )


def input_unknown(sent: set[str], expected: set[str]) -> ServingError:
    """Reports that the signature lacks an input of the request."""
    return _invalid(
        f"Inputs contains invalid name. Used request inputs: {','.join(sorted(sent & expected))}, "
        f"request input: {','.join(sorted(sent))}"
    )


def input_dtype(position: int, expected: str, received: str) -> ServingError:
    """Reports that an input has the wrong dtype."""
    return _invalid(f"Expects arg[{position}] to be {expected} but {received} is provided")


def input_shape(alias: str, expected: tf.TensorShape, received: tf.TensorShape) -> ServingError:
    """Reports that an input has the wrong shape."""
    return _invalid(f"input {alias}: expected shape {expected}, received {received}")


def input_unreadable(alias: str) -> ServingError:
    """Reports that a tensor's bytes do not match its dtype and shape."""
    return _invalid(f"tensor parsing error: {alias}")


def input_too_large(alias: str, largest: int, shape: Sequence[int]) -> ServingError:
    """Reports that the declared shape needs more than `largest` bytes."""
    return _exhausted(f"input {alias}: expected at most {largest} bytes, received a tensor of shape {list(shape)}")


def output_unknown(alias: str, outputs: Iterable[str]) -> ServingError:
    """Reports that the output filter names an output that the signature lacks."""
    return _invalid(
        f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {_names(outputs)}."
    )


def output_repeated(alias: str) -> ServingError:
    """Reports that the output filter names an output twice."""
    return _invalid(f"duplicate output tensor alias: {alias}")


# Execution and limits.


def batch_too_large(size: int, largest: int) -> ServingError:
    """Reports that a request has more clips than a batch may have."""
    return _invalid(f"Task size {size} is larger than maximum input batch size {largest}")


def graph_failed(error: tf.errors.OpError) -> ServingError:
    """Reports that the graph failed, with the kernel's message but without Python's stack trace around it."""
    wrapped = r"\AGraph execution error:\s+(Detected at .*?\nNode: '[^']*'\n)?"
    message = re.sub(wrapped, "", error.message, flags=re.DOTALL)
    return ServingError(status_code(error), message.partition("\n\nOriginal stack trace for")[0])


def out_of_memory() -> ServingError:
    """Reports that the request needs more memory than is free."""
    return _exhausted("the request does not fit into memory")


def too_many_bytes(size: int, in_flight: int, most: int) -> ServingError:
    """Reports that the request would exceed the limit on bytes in flight."""
    return _exhausted(f"request of {size} bytes rejected: {in_flight} of {most} bytes are in flight")


def deadline_before_start() -> ServingError:
    """Reports that the deadline passed while the request waited for other requests."""
    return ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the request was started")


# Loading and configuration.


def warm_up_failed(number: int, error: ServingError) -> ServingError:
    """Reports that a warm-up request, numbered from 0, failed."""
    return ServingError(error.code, f"warm-up request {number}: {error}")


def models_not_loaded(reasons: Sequence[str]) -> ServingError:
    """Reports that models of a new configuration have no version that loads."""
    return ServingError(
        grpc.StatusCode.UNKNOWN, f"{len(reasons)} servable(s) did not become available: {{{', '.join(reasons)}}}"
    )


def label_of_unloaded_version(model: str, version: int) -> ServingError:
    """Reports that a configuration labels a version that is not loaded."""
    return ServingError(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"Request to assign label to version {version} of model {model}, which is not currently "
        "available for inference",
    )


def config_type() -> ServingError:
    """Reports that the configuration is no ModelConfigList."""
    return _invalid(
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
    )


def config_repeats_model(model: str) -> ServingError:
    """Reports that the configuration lists a model twice."""
    return _invalid(f"Illegal to list model {model} multiple times in config list")


def config_relative_path(model: str, base_path: str) -> ServingError:
    """Reports that the base path of a model is relative."""
    return _invalid(f"Expected model {model} to have an absolute path or URI; got base_path()={base_path}")


def config_platform(model: str, platform: str) -> ServingError:
    """Reports that the platform of a model is not tensorflow."""
    return _invalid(f"model {model}: expected model_platform tensorflow, received {platform or 'none'}")


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _exhausted(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
