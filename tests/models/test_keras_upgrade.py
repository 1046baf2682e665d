"""Private parts of Keras that the layers depend on; a failure names what an upgrade of Keras changed."""

import importlib
import inspect
import pathlib

import keras

_ARGUMENTS = {"go_backwards", "mask", "unroll", "zero_output_for_mask", "return_all_outputs"}
_ADVICE = "see what keras.layers.RNN.inner_loop calls now, and change models/convlstm.py"


def test_keras_has_the_private_loop_over_time():
    backend = importlib.import_module("keras.src.backend")
    loop = getattr(backend, "rnn", None)
    assert loop is not None, f"Keras {keras.__version__} has no keras.src.backend.rnn: {_ADVICE}"
    missing = _ARGUMENTS - set(inspect.signature(loop).parameters)
    assert not missing, f"keras.src.backend.rnn of Keras {keras.__version__} takes no {sorted(missing)}: {_ADVICE}"


def test_only_convlstm_imports_private_keras():
    root = pathlib.Path(__file__).parents[2]
    folders = ("schemas", "clips", "evaluation", "models", "serving", "components", "pipeline")
    files = [path for folder in folders for path in (root / folder).rglob("*.py") if "keras.src" in path.read_text()]
    assert [str(path.relative_to(root)) for path in files] == ["models/convlstm.py"]
