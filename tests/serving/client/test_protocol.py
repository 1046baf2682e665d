"""Requests of the client: metadata, versions, labels, batches and padded outputs."""

import numpy as np
import pytest
import tensorflow as tf

from framecast.serving.client import Client


def test_clips_are_sent_as_raw_bytes_in_batches(fake, random_clip):
    server = fake()
    clips = [random_clip(seed) for seed in range(5)]
    with Client(server.address, model="toy", max_batch=2) as client:
        forecasts = client.forecast(clips)
    assert [request.inputs["frames"].tensor_shape.dim[0].size for request in server.predicts] == [2, 2, 1]
    assert server.predicts[0].inputs["frames"].tensor_content == np.stack(clips[:2]).tobytes()
    np.testing.assert_array_equal(forecasts, np.float32([clip[-1:] for clip in clips]))


def test_metadata_are_requested_once(fake, random_clip):
    server = fake()
    with Client(server.address, model="toy") as client:
        for seed in range(3):
            client.forecast([random_clip(seed)])
        list(client.stream([random_clip(3)] * 70))
    assert len(server.metadata_requests) == 1


def test_metadata_are_requested_again_for_another_version(fake, random_clip):
    server = fake()
    with Client(server.address, model="toy") as client:
        client.forecast([random_clip(0)])
        server.version = 2
        client.forecast([random_clip(0)])
        assert len(server.metadata_requests) == 2
        client.forecast([random_clip(0)])
    assert len(server.metadata_requests) == 2
    assert client.version == 2


def test_clip_is_checked_against_the_served_version(fake, random_clip):
    server = fake()
    clip = random_clip(0)
    with Client(server.address, model="toy") as client:
        client.forecast([clip])
        server.version, server.dtype = 2, tf.float32
        # Version 1 would refuse this clip; version 2 accepts it.
        client.forecast([np.float32(clip)])
        server.version, server.dtype = 3, tf.uint16
        # Version 2 would accept this clip; version 3 refuses it, with the client's message in place of the graph's.
        with pytest.raises(ValueError, match="clip 0: expected dtype uint16, received float32"):
            client.forecast([np.float32(clip)])


def test_every_request_has_the_label(fake, random_clip):
    server = fake()
    with Client(server.address, model="toy", label="stable") as client:
        client.forecast([random_clip(0)])
    for request in (*server.predicts, *server.metadata_requests):
        assert request.model_spec.WhichOneof("version_choice") == "version_label"
        assert request.model_spec.version_label == "stable"


def test_outputs_of_a_padded_clip_are_cut(fake, random_clip):
    server = fake()
    server.padded_to = 9
    short, long = random_clip(0, 3, 8, 6), random_clip(1, 12, 8, 6)
    with Client(server.address, model="toy") as client:
        for clip, outputs in zip((short, long), client.answer([short, long]), strict=True):
            means = np.float32(clip.mean((1, 2, 3)))
            np.testing.assert_allclose(outputs["anomaly_score"], means)
            np.testing.assert_allclose(outputs["probabilities"], np.stack([means, -means], -1))
            # Neither output has a time axis, although axis 0 is longer than the clip.
            assert outputs["classes"].shape == (40,)
            assert outputs["last"].shape == (8, 6, 1)


def test_model_without_forecasts_is_refused_with_its_outputs(fake, random_clip):
    server = fake()
    server.outputs = {"anomaly_score", "clip_anomaly_score"}
    message = r"model toy version 1: expected the output forecast, received \['anomaly_score', 'clip_anomaly_score'\]"
    with Client(server.address, model="toy") as client, pytest.raises(ValueError, match=message):
        client.forecast([random_clip(0)])
