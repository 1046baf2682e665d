"""The precision that `auto` chooses on simulated machines."""

import keras
import pytest
import tensorflow as tf

from framecast.models.training import precision

_ZEN3, _ZEN4 = "flags\t\t: fpu fma avx2", "flags\t\t: fpu fma avx2 avx512f avx512_bf16"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Simulates a CPU, by a line of /proc/cpuinfo, and GPUs, by their compute capabilities."""

    def pretend(cpu, capabilities=()):
        path = tmp_path / "cpuinfo"
        if cpu:
            path.write_text(f"processor\t: 0\n{cpu}\nbogomips\t: 4890.85\n")
        monkeypatch.setattr(precision, "_CPU", path)
        details = [{"compute_capability": one} if one else {} for one in capabilities]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(len(details))))
        monkeypatch.setattr(tf.config.experimental, "get_device_details", details.__getitem__)

    return pretend


@pytest.mark.parametrize(
    ("cpu", "gpus", "expected"),
    [
        (_ZEN3, [], "float32"),
        (_ZEN4, [], "mixed_bfloat16"),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile", [], "mixed_bfloat16"),
        (None, [], "float32"),
        (_ZEN3, [(8, 0)], "mixed_bfloat16"),
        (_ZEN3, [(9, 0), (9, 0)], "mixed_bfloat16"),
        (_ZEN4, [(7, 5)], "float32"),
        (_ZEN4, [(9, 0), (7, 0)], "float32"),
        (_ZEN4, [None], "float32"),
    ],
)
def test_auto_is_bfloat16_on_supporting_machines(machine, cpu, gpus, expected):
    machine(cpu, gpus)
    assert precision.policy("auto").name == expected


def test_explicit_precision_is_kept(machine):
    machine(_ZEN3)
    assert precision.policy("mixed_bfloat16").name == "mixed_bfloat16"
    assert precision.policy("float32").name == "float32"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["float32"], "float32"),
        (["float32", "mixed_bfloat16"], "mixed_bfloat16"),
        (["mixed_bfloat16", "mixed_float16"], "mixed_float16 with a scaled loss"),
        (["float16"], "float16 with a scaled loss"),
    ],
)
def test_precision_of_model_is_that_of_its_layers(layers, expected):
    model = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(4, dtype=dtype) for dtype in layers)])
    assert model.dtype_policy.name == "float32"
    assert precision.describe(model) == expected
