"""The result of a run for each combination of failed component and decision of Pusher."""

import pytest
from tfx.types import standard_artifacts

from framecast.pipeline.component_names import COMPONENTS, OPTIONAL
from framecast.pipeline.runs.progress import Watcher
from framecast.pipeline.runs.result import RunResult
from framecast.pipeline.runs.runner import NodeRun
from tests.artifacts import stored_artifact

_AFTER_PUSHER = ("Report", "BulkInference")
_BEFORE_PUSHER = tuple(sorted({*COMPONENTS, *OPTIONAL} - {"Pusher", *_AFTER_PUSHER}))
_PUSHED = {"pushed": 1, "pushed_version": "7", "pushed_destination": "serving/7"}
# Decision of Pusher: properties of its artifact, and whether it came from the cache.
_DECISIONS = {
    "pushed": (_PUSHED, False),
    "unchanged": (_PUSHED, True),
    "rejected": ({"pushed": 0, "reason": "rejected", "pushed_version": "7"}, False),
    "": None,
}
_EXIT_CODES = {
    **{("", decision): code for decision, code in (("pushed", 0), ("unchanged", 0), ("rejected", 3), ("", 0))},
    **{(failed, ""): 1 for failed in (*_BEFORE_PUSHER, "Pusher")},
    **{(failed, decision): 1 for failed in _AFTER_PUSHER for decision in ("pushed", "unchanged", "rejected")},
}


class _Screen:
    def done(self, *arguments):
        pass


@pytest.mark.parametrize(("failed", "decision"), _EXIT_CODES)
def test_exit_code_of_failure_and_decision(failed, decision):
    result = RunResult()
    watcher = Watcher(_Screen(), result, "forecast")
    if (pushed := _DECISIONS[decision]) is not None:
        properties, cached = pushed
        artifact = stored_artifact(standard_artifacts.PushedModel, **properties)
        watcher.finished(NodeRun("Pusher", cached, 0.1, None, {"pushed_model": artifact}))
    if failed:
        watcher.failed(failed, ValueError("no clip can be drawn"), 0.1, 2**30)
    watcher.conclude()
    assert result.exit_code == _EXIT_CODES[failed, decision]
    assert result.decision == decision
    assert result.version == ("7" if decision else None)
    assert (result.verdict == "failed") == bool(failed)
    if failed:
        assert result.why.startswith(f"{failed}: no clip can be drawn")
        assert (f"\nPusher had finished: {decision}: " in result.why) == bool(decision)
