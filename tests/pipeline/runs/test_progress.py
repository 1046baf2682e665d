"""The result of a run with a component that fails after the Pusher."""

import pytest
from tfx.types import standard_artifacts

from framecast.pipeline.runs.progress import Watcher
from framecast.pipeline.runs.result import RunResult
from framecast.pipeline.runs.runner import NodeRun


class _Screen:
    def done(self, *arguments):
        pass


@pytest.mark.parametrize(("cached", "verdict"), [(False, "pushed"), (True, "unchanged")])
def test_failed_report_leaves_the_verdict(cached, verdict):
    pushed = standard_artifacts.PushedModel()
    pushed.set_int_custom_property("pushed", 1)
    pushed.set_string_custom_property("pushed_version", "7")
    result = RunResult()
    watcher = Watcher(_Screen(), result, "forecast")
    watcher.finished(NodeRun("Pusher", cached, 0.1, None, {"pushed_model": pushed.mlmd_artifact}))
    watcher.failed("Report", ValueError("no clip can be drawn"), 0.1, 2**30)
    watcher.conclude()
    assert (result.verdict, result.version) == (verdict, "7")
    assert result.why.endswith("\nReport: no clip can be drawn")
