"""`Client.stream`: order, reading ahead and errors."""

import threading

import numpy as np
import pytest

from framecast.serving.client import Client


def test_stream_keeps_the_order_of_mixed_sizes(fake, random_clip):
    server = fake()
    clips = [random_clip(seed, 2 + seed % 5 // 3) for seed in range(50)]
    with Client(server.address, model="toy", max_batch=3) as client:
        streamed = list(client.stream(clips))
    np.testing.assert_array_equal([outputs["last"] for outputs in streamed], [clip[-1] for clip in clips])
    for request in server.predicts:
        assert request.inputs["frames"].tensor_shape.dim[0].size <= 3
    assert len(server.predicts) == 20  # Runs of 3 and of 2 consecutive clips of equal length.


class Endless:
    """An endless iterable of clips, which counts the clips read."""

    def __init__(self, clip):
        self.read = 0
        self._clip = clip

    def __iter__(self):
        while True:
            self.read += 1
            yield self._clip


def test_stream_reads_ahead_only_for_requests_in_flight(fake, random_clip):
    server, endless = fake(), Endless(random_clip(0))
    lock, in_flight, most = threading.Lock(), [0], [0]

    def wait_for_others():
        with lock:
            in_flight[0] += 1
            most[0] = max(most[0], in_flight[0])
        full.wait(5)
        with lock:
            in_flight[0] -= 1

    full = threading.Barrier(3)  # Opens for three requests at a time, so fewer in flight fail the test.
    server.before_answer = wait_for_others
    with Client(server.address, model="toy", max_batch=2) as client:
        stream = client.stream(endless, in_flight=3)
        for taken in range(1, 37):
            next(stream)
            assert endless.read - taken <= 3 * 2
        full.abort()
        stream.close()
    assert most[0] == 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda clip: clip[..., :0], "clip 2: expected channel 1, received 0"),
        (np.float32, "clip 2: expected dtype uint8, received float32"),
        (np.ndarray.tolist, "clip 2: expected an array .* received list"),
    ],
)
def test_stream_yields_outputs_before_a_refused_clip(fake, random_clip, spoil, message):
    clips = [random_clip(0), random_clip(1), spoil(random_clip(2)), random_clip(3)]
    with Client(fake().address, model="toy") as client:
        stream = client.stream(clips)
        for clip in clips[:2]:
            np.testing.assert_array_equal(next(stream)["last"], clip[-1])
        with pytest.raises(ValueError, match=message):
            next(stream)


def test_batch_and_in_flight_below_1_are_refused(fake, random_clip):
    address = fake().address
    with pytest.raises(ValueError, match="max_batch: expected at least 1, received 0"):
        Client(address, model="toy", max_batch=0)
    with (
        Client(address, model="toy") as client,
        pytest.raises(ValueError, match="in_flight: expected at least 1, received 0"),
    ):
        list(client.stream([random_clip(0)], in_flight=0))
