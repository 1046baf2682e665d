"""The private names of TFX that the local runner uses exist and are called."""

import inspect

from tfx.orchestration.beam import beam_dag_runner

_NODE = beam_dag_runner.PipelineNodeAsDoFn
_BROKEN = "this release of TFX broke framecast.pipeline.runs.runner, which reports each component of a run: "


def test_tfx_lets_the_runner_replace_its_node():
    assert beam_dag_runner.BeamDagRunner._PIPELINE_NODE_DO_FN_CLS is _NODE, (
        f"{_BROKEN}BeamDagRunner._PIPELINE_NODE_DO_FN_CLS no longer names the class that runs a node"
    )
    assert "_PIPELINE_NODE_DO_FN_CLS" in inspect.getsource(beam_dag_runner.BeamDagRunner.run_with_ir), (
        f"{_BROKEN}BeamDagRunner.run_with_ir no longer uses _PIPELINE_NODE_DO_FN_CLS"
    )


def test_tfx_node_has_the_overridden_method_and_fields():
    assert "self._run_node()" in inspect.getsource(_NODE.process), (
        f"{_BROKEN}PipelineNodeAsDoFn.process no longer calls _run_node, which the runner overrides"
    )
    for field in ("_mlmd_connection_config", "_pipeline_info", "_node_id"):
        assert f"self.{field} = " in inspect.getsource(_NODE.__init__), (
            f"{_BROKEN}PipelineNodeAsDoFn no longer sets {field}"
        )
