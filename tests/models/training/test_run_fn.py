"""The digest that names a training's checkpoint folder."""

from framecast.models.training.run_fn import _state_digest

_SETTINGS = {
    "train": {"steps": 10},
    "export": {"precision": "float32", "batch_sizes": [1, 4, 16]},
    "events": None,
    "contract": "a",
    "state": "work/state",
}


def test_export_and_evaluation_settings_keep_the_checkpoint():
    for changed in ({"export": {"precision": "float32", "batch_sizes": [1]}}, {"events": {}}, {"contract": "b"}):
        assert _state_digest({**_SETTINGS, **changed}, ["a"], None) == _state_digest(_SETTINGS, ["a"], None)
    assert _state_digest({**_SETTINGS, "train": {"steps": 11}}, ["a"], None) != _state_digest(_SETTINGS, ["a"], None)
    assert _state_digest(_SETTINGS, ["a", "b"], None) != _state_digest(_SETTINGS, ["a"], None)


def test_initial_weights_change_the_checkpoint():
    digests = {_state_digest(_SETTINGS, ["a"], start) for start in (None, "weights of one model", "of another")}
    assert len(digests) == 3
