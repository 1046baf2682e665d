"""What decides a trained model's checkpoints."""

from framecast.models.training.run_fn import _state_digest

_SETTINGS = {
    "train": {"steps": 10},
    "export": {"precision": "float32", "batch_sizes": [1, 4, 16]},
    "events": None,
    "contract": "a",
    "state": "work/state",
}


def test_what_is_made_of_the_weights_decides_no_checkpoint():
    for changed in ({"export": {"precision": "float32", "batch_sizes": [1]}}, {"events": {}}, {"contract": "b"}):
        assert _state_digest({**_SETTINGS, **changed}, ["a"], None) == _state_digest(_SETTINGS, ["a"], None)
    assert _state_digest({**_SETTINGS, "train": {"steps": 11}}, ["a"], None) != _state_digest(_SETTINGS, ["a"], None)
    assert _state_digest(_SETTINGS, ["a", "b"], None) != _state_digest(_SETTINGS, ["a"], None)


def test_what_training_starts_from_decides_its_checkpoints():
    digests = {_state_digest(_SETTINGS, ["a"], start) for start in (None, "weights of one model", "of another")}
    assert len(digests) == 3
