"""What decides a trained model's checkpoints."""

from framecast.models.trainer import _state_digest

_SETTINGS = {
    "train": {"steps": 10},
    "export": {"precision": "float32", "batch_sizes": [1, 4, 16]},
    "events": None,
    "contract": "a",
    "state": "work/state",
}


def test_what_is_made_of_the_weights_decides_no_checkpoint():
    for changed in ({"export": {"precision": "float32", "batch_sizes": [1]}}, {"events": {}}, {"contract": "b"}):
        assert _state_digest({**_SETTINGS, **changed}, ["a"]) == _state_digest(_SETTINGS, ["a"])
    assert _state_digest({**_SETTINGS, "train": {"steps": 11}}, ["a"]) != _state_digest(_SETTINGS, ["a"])
    assert _state_digest(_SETTINGS, ["a", "b"]) != _state_digest(_SETTINGS, ["a"])
