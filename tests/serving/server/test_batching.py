"""Batching: the parameters file, and concurrent calls that share a run of the model."""

import concurrent.futures

import grpc
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.export.warmup import predict_request
from framecast.serving.server import signature_runner
from framecast.serving.server.batching import BatchingParameters, read_batching
from framecast.serving.server.errors import ServingError
from framecast.serving.server.servable import Servable

LATE = 3_000_000  # Microseconds that a batch waits for calls: enough for calls sent together on a busy machine.


class Doubler(tf.Module):
    """Doubles numbers, refuses negative ones, and returns the batch size of the run."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "x")])
    def serve(self, x):
        check = tf.debugging.assert_non_negative(x, "x: expected no negative numbers")
        with tf.control_dependencies([check]):
            return {"doubled": 2 * x, "run": tf.repeat(tf.shape(x)[0], tf.shape(x)[0])}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("doubler"))
    module = Doubler()
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
    return folder


def ask(loaded, *arrays):
    """Sends all arrays concurrently; returns the named outputs, or the error, of each."""

    def predict(x):
        try:
            outputs = loaded.predict(predict_request({"x": np.asarray(x, np.float32)}, model="m")).outputs
        except ServingError as error:
            return error
        return {name: tf.make_ndarray(tensor) for name, tensor in outputs.items()}

    with concurrent.futures.ThreadPoolExecutor(len(arrays)) as pool:
        return list(pool.map(predict, arrays))


def test_concurrent_calls_share_a_run(model):
    loaded = Servable(1, model, BatchingParameters(4, LATE, num_batch_threads=1))
    arrays = [np.full((1, 2), number) for number in range(4)]
    for array, answer in zip(arrays, ask(loaded, *arrays), strict=True):
        np.testing.assert_array_equal(answer["doubled"], 2 * array)
        assert answer["run"].tolist() == [4]


def test_batch_is_padded_to_an_allowed_size(model):
    loaded = Servable(1, model, BatchingParameters(8, LATE, num_batch_threads=1, allowed_batch_sizes=(1, 8)))
    answers = ask(loaded, [[1], [2]], [[3]])
    assert [answer["run"].tolist() for answer in answers] == [[8, 8], [8]]
    assert [answer["doubled"].tolist() for answer in answers] == [[[2], [4]], [[6]]]


def test_calls_of_other_shapes_run_separately(model):
    loaded = Servable(1, model, BatchingParameters(4, LATE, num_batch_threads=1))
    answers = ask(loaded, [[1, 2]], [[1, 2, 3]], [[4, 5]])
    assert [answer["run"].tolist() for answer in answers] == [[2], [1], [2]]


def test_call_refused_by_the_graph_fails_alone(model):
    loaded = Servable(1, model, BatchingParameters(3, LATE, num_batch_threads=1))
    first, refused, last = ask(loaded, [[1]], [[-1]], [[2]])
    assert (first["doubled"].tolist(), last["doubled"].tolist()) == ([[2]], [[4]])
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected no negative numbers" in str(refused)


def test_request_above_max_batch_size_is_refused(model):
    loaded = Servable(1, model, BatchingParameters(4, LATE))
    (refused,) = ask(loaded, np.zeros((5, 1)))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert str(refused) == "Task size 5 is larger than maximum input batch size 4"


def test_empty_request_and_many_shapes_are_answered(model, monkeypatch):
    monkeypatch.setattr(signature_runner, "_MOST_SHAPES", 4)
    loaded = Servable(1, model, BatchingParameters(4, 0))
    for size in range(7):
        (answer,) = ask(loaded, np.ones((1, size)))
        assert answer["doubled"].tolist() == [[2.0] * size]
    (answer,) = ask(loaded, np.ones((0, 3)))
    assert answer["doubled"].shape == (0, 3)


def test_example_of_the_batching_guide_is_read(tmp_path):
    """The first text is the example in TensorFlow Serving's batching guide."""
    path = tmp_path / "batching.config"
    path.write_text(
        "max_batch_size { value: 128 }\nbatch_timeout_micros { value: 0 }\n"
        "max_enqueued_batches { value: 1000000 }\nnum_batch_threads { value: 8 }\n"
    )
    assert read_batching(str(path)) == BatchingParameters(128, 0, 1_000_000, 8)
    path.write_text("# sizes\nmax_batch_size { value: 4 }\nallowed_batch_sizes: 1\nallowed_batch_sizes: 4\n")
    assert read_batching(str(path)).allowed_batch_sizes == (1, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_sizes { value: 1 }", 'has no field named "max_batch_sizes"'),
        ("allowed_batch_sizes: 4\nallowed_batch_sizes: 8", "allowed_batch_sizes: expected ascending sizes that end"),
        ("num_batch_threads { value: 0 }", "num_batch_threads: expected at least 1, received 0"),
    ],
)
def test_bad_parameter_is_refused_with_its_file(tmp_path, text, message):
    path = tmp_path / "batching.config"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path}: .*{message}"):
        read_batching(str(path))
