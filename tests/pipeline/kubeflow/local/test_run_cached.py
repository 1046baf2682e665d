"""Caching of `framecast kubeflow run-local`: what changes the cache key of a task, and what does not."""

import pytest

from tests.pipeline.kubeflow.local import kfp_pipelines as kfp


def _chain(**changes):
    a = {"arguments": ["1"], "makes": ["x"], "parameters": {"p": ("STRING", kfp.parameter("q"))}, **changes}
    return {
        "a": kfp.task(kfp.WRITE, kfp.output_path("x"), *a.pop("arguments"), **a),
        "b": kfp.task(kfp.READ, kfp.input_path("x"), reads=["a.x"]),
    }


_Q = {"q": {"parameterType": "STRING"}}


def test_second_run_is_cached_only_with_cache_flag(run):
    first = run(_chain(), "q=1", pipeline=_Q, cache=True)
    second = run(_chain(), "q=1", pipeline=_Q, cache=True)
    assert kfp.states(first) == {"a": "done", "b": "done"}
    assert kfp.states(second) == {"a": "cached", "b": "cached"}
    assert second.tasks[0].artifacts == first.tasks[0].artifacts
    assert [task.fingerprint for task in second.tasks] == [task.fingerprint for task in first.tasks]
    assert kfp.states(run(_chain(), "q=1", pipeline=_Q)) == {"a": "done", "b": "done"}  # Without --cache.


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({}, "q=2"),  # An input's value.
        ({"arguments": ["2"]}, "q=1"),  # The command.
        ({"image": "image:2"}, "q=1"),
        ({"makes": ["x", "y"]}, "q=1"),  # The outputs.
        ({"returns": {"n": "STRING"}, "arguments": ["1"]}, "q=1"),
        ({"cache": False}, "q=1"),
    ],
)
def test_changed_key_reruns_task_and_its_readers(run, changes, given):
    run(_chain(), "q=1", pipeline=_Q, cache=True)
    chain = _chain(**changes)
    if "returns" in changes:
        chain["a"]["executor"]["container"]["command"][2] += (
            "; import os; os.makedirs('tmp/kfp/outputs', exist_ok=True)"
        )
        chain["a"]["executor"]["container"]["command"][2] += "; open('tmp/kfp/outputs/n', 'w').write('1')"
    assert kfp.states(run(chain, given, pipeline=_Q, cache=True)) == {"a": "done", "b": "done"}


def test_volumes_change_the_key_resources_do_not(run):
    run({"a": kfp.task()}, cache=True)
    asking = kfp.task()
    asking["executor"]["container"]["resources"] = {"cpuLimit": 2.0}
    asking["executor"]["container"]["env"] = [{"name": "WORD", "value": "x"}]
    assert kfp.states(run({"a": asking}, cache=True)) == {"a": "cached"}
    mount = {"pvcMount": [{"constant": "models", "mountPath": "/models"}]}
    assert kfp.states(run({"a": kfp.task()}, cache=True, platform={"a": mount})) == {"a": "done"}


def test_failed_task_is_not_cached(run, tmp_path):
    code = f"import os; exit(not os.path.exists({str(tmp_path / 'now')!r}))"
    assert kfp.states(run({"a": kfp.task(code)}, cache=True)) == {"a": "failed"}
    (tmp_path / "now").touch()
    assert kfp.states(run({"a": kfp.task(code)}, cache=True)) == {"a": "done"}
