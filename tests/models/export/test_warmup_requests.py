"""Warm-up requests, compared with the lengths and batch sizes that clients send."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models import spec
from framecast.models.export import warmup
from framecast.models.export.warmup_requests import warmup_requests
from framecast.models.length_buckets import BUCKETS
from framecast.models.networks import builders
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.export.exporting import make_module

_TASK = spec.ForecastTask(horizon=2, context=spec.ContextSpec(min=3))


def _module(clip, task=_TASK, preset="convlstm-tiny"):
    model = builders.build(spec.ModelSpec(preset=preset), task, clip, keras.DTypePolicy("float32"))
    return make_module(model, task, clip)


def _clips(lengths, dtype="uint8", side=8):
    """By padded length, a clip of the given number of frames."""
    rng, clips = np.random.default_rng(0), {}
    for padded, length in lengths.items():
        clips[padded] = ((rng.uniform(size=(padded, side, side, 1)) * 200).astype(dtype), length)
        clips[padded][0][length:] = 0
    return clips


def _shapes(requests):
    return [
        (*request["inputs"]["frames"].shape[:2], int(request["inputs"]["length"][0]))
        for request in requests
        if "signature_name" not in request
    ]


def test_requests_cover_batch_sizes_and_legal_lengths():
    module = _module(ClipSpec(frames=FrameRange(min=1, max=8)))
    clips = _clips({2: 2, 4: 4, 6: 2, 8: 7})
    requests = warmup_requests(module, clips, (1, 3))
    shapes = _shapes(requests)
    assert shapes == list(itertools.chain(*([(n, 3, 3), (n, 4, 4), (n, 6, 3), (n, 8, 7)] for n in (1, 3))))
    for request in requests[:8]:
        frames = request["inputs"]["frames"]
        kept = 8 if frames.shape[1] == 3 else frames.shape[1]
        np.testing.assert_array_equal(frames, [clips[kept][0][: frames.shape[1]]] * len(frames))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_exported_model_answers_every_request(tmp_path, dtype):
    module = _module(ClipSpec(frames=FrameRange(min=1, max=8), dtype=dtype))
    clips = _clips({4: 4, 8: 7}, dtype)
    warmup.write_warmup(str(tmp_path), warmup_requests(module, clips, (1, 2)))
    signatures, answers = module.signatures(), []
    for request in warmup.read_warmup(str(tmp_path)):
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        answers.append((request.model_spec.signature_name, signatures[request.model_spec.signature_name](**inputs)))
    assert [name for name, _ in answers] == ["serving_default"] * 6 + ["serve_examples", "step", "step"]
    assert all(np.isfinite(value).all() for _, answer in answers for value in answer.values())
    np.testing.assert_allclose(answers[6][1]["forecast"], answers[2][1]["forecast"], atol=1e-6)
    assert [answer["frames_seen"].numpy().tolist() for _, answer in answers[7:]] == [[3], [4]]


def test_large_clips_get_large_batches_at_longest_length():
    module = _module(ClipSpec(frames=FrameRange(min=1, max=24)))
    clips = _clips({8: 8, 16: 16, 24: 24}, side=256)
    shapes = [shape[:2] for shape in _shapes(warmup_requests(module, clips, (1, 4, 16)))]
    assert shapes == [(1, 3), (1, 8), (1, 16), (1, 24), (4, 24), (16, 24)]


def test_label_model_gets_no_stream_request():
    task = spec.ClassifyTask(kind="classify", classes=2)
    module = _module(ClipSpec(frames=FrameRange(min=1, max=8)), task, "cnn-convlstm-small")
    requests = warmup_requests(module, _clips({8: 8}), (1,))
    assert _shapes(requests) == [(1, 1, 1), (1, 8, 8)]
    assert [request.get("signature_name") for request in requests[2:]] == ["serve_examples"]


def test_most_batch_sizes_stay_within_request_limit():
    module = _module(ClipSpec(frames=FrameRange(min=1, max=24)))
    clips = _clips({length: length for length in range(4, 4 + BUCKETS)}, side=4)
    sizes = spec.ExportSpec(batch_sizes=range(1, 101)).batch_sizes
    assert 100 * BUCKETS < len(warmup_requests(module, clips, sizes)) <= warmup.MAX_REQUESTS
    with pytest.raises(ValueError, match="expected at most 100 numbers, received 101"):
        spec.ExportSpec(batch_sizes=range(1, 102))


@pytest.mark.parametrize(("sizes", "received"), [((4, 1), "4, 1"), ((1, 1), "1, 1"), ((0, 4), "0, 4"), ((), "none")])
def test_batch_sizes_must_ascend_from_one(sizes, received):
    with pytest.raises(ValueError, match=f"batch_sizes\n.*expected ascending numbers from 1 on, received {received}"):
        spec.ExportSpec(batch_sizes=sizes)
