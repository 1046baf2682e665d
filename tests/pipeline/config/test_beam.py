"""The `beam` section becomes flags that Beam's own parser reads; contradictions are rejected."""

import os
import types

import psutil
import pydantic
import pytest
import yaml
from apache_beam.options import pipeline_options as options

from framecast.pipeline.config import beam
from framecast.pipeline.config.beam import BeamSpec

_DATAFLOW = {"project": "p", "region": "europe-west4", "temp_location": "gs://b/tmp", "image": "r/framecast:1"}
_RUNNER = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"


def _read(input_bytes=0, **section):
    """Returns the options that Beam's parser reads from the flags."""
    return options.PipelineOptions(BeamSpec.model_validate(section).beam_flags(input_bytes)).get_all_options()


def test_default_engine_is_this_machine():
    read = _read()
    assert read["runner"] == _RUNNER
    assert (read["direct_num_workers"], read["direct_running_mode"]) == (1, "in_memory")


@pytest.fixture
def machine(monkeypatch):
    """Fakes a machine of three cores and 64 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=64 << 30))
    return monkeypatch


@pytest.mark.usefixtures("machine")
def test_large_inputs_use_all_cores():
    threshold = beam.WORTH_PROCESSES_BYTES
    assert _read(threshold - 1)["direct_num_workers"] == 1
    read = _read(threshold)
    assert (read["direct_num_workers"], read["direct_running_mode"]) == (3, "multi_processing")
    assert BeamSpec().describe(threshold - 1) == ""
    assert "3 processes" in BeamSpec().describe(threshold)


@pytest.mark.parametrize(("gibibytes", "processes"), [(4, 2), (1, 1)])
def test_memory_limits_the_processes(machine, gibibytes, processes):
    machine.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=gibibytes << 30))
    assert BeamSpec().processes(beam.WORTH_PROCESSES_BYTES) == processes


def test_given_parallelism_ignores_the_input_size():
    assert _read(parallelism=2)["direct_num_workers"] == 2
    assert _read(1 << 50, parallelism=1)["direct_num_workers"] == 1
    assert "beam.parallelism" in BeamSpec(parallelism=2).describe(0)


@pytest.mark.parametrize("engine", ["flink", "spark"])
def test_cluster_defaults_to_a_local_job_server(engine):
    read = _read(engine=engine)
    assert read["runner"] == "PortableRunner"
    assert (read["job_endpoint"], read["artifact_endpoint"]) == ("localhost:8099", "localhost:8098")
    assert (read["environment_type"], read["environment_config"]) == ("EXTERNAL", "localhost:50000")
    assert "job server localhost:8099" in BeamSpec(engine=engine).describe(0)


def test_cluster_endpoints_are_configurable():
    read = _read(engine="flink", parallelism=8, job_endpoint="flink-jobs:9099", worker_pool="pool:50001", slots=2)
    assert (read["job_endpoint"], read["artifact_endpoint"]) == ("flink-jobs:9099", "flink-jobs:8098")
    assert read["environment_config"] == "pool:50001"
    assert (read["parallelism"], read["sdk_worker_parallelism"]) == (8, "2")
    assert _read(engine="flink", artifact_endpoint="else:1")["artifact_endpoint"] == "else:1"


def test_dataflow_section_becomes_its_flags():
    read = _read(engine="dataflow", parallelism=20, dataflow=_DATAFLOW | {"machine_type": "n2-highmem-4"})
    assert read["runner"] == "DataflowRunner"
    for key in ("project", "region", "temp_location"):
        assert read[key] == _DATAFLOW[key]
    assert (read["sdk_container_image"], read["sdk_location"]) == (_DATAFLOW["image"], "container")
    assert (read["max_num_workers"], read["machine_type"]) == (20, "n2-highmem-4")


def test_raw_flags_override_the_section():
    assert _read(engine="flink", flags=["--environment_type=LOOPBACK"])["environment_type"] == "LOOPBACK"


_REFUSED = {
    "an unknown engine": ({"engine": "ray"}, "engine"),
    "no process": ({"parallelism": 0}, "parallelism"),
    "an endpoint of an engine that has none": (
        {"job_endpoint": "a:1"},
        "job_endpoint: expected engine flink or spark, received local",
    ),
    "slots of an engine that has none": ({"slots": 2}, "slots: expected engine flink or spark, received local"),
    "an endpoint without a port": ({"engine": "flink", "worker_pool": "a"}, "expected HOST:PORT"),
    "an address of the web": ({"engine": "flink", "job_endpoint": "http://a:1"}, "expected HOST:PORT"),
    "parallelism of Spark": ({"engine": "spark", "parallelism": 2}, "parallelism: expected none"),
    "Dataflow without its section": ({"engine": "dataflow"}, "dataflow: expected project"),
    "Dataflow without a project": (
        {"engine": "dataflow", "dataflow": {k: v for k, v in _DATAFLOW.items() if k != "project"}},
        "dataflow.project",
    ),
    "Dataflow's section for another engine": ({"dataflow": _DATAFLOW}, "received them with engine local"),
    "a temporary folder elsewhere": (
        {"engine": "dataflow", "dataflow": _DATAFLOW | {"temp_location": "s3://b"}},
        "expected gs://",
    ),
}


@pytest.mark.parametrize(("section", "expected"), _REFUSED.values(), ids=_REFUSED.keys())
def test_contradiction_is_rejected_with_its_key(section, expected):
    with pytest.raises(pydantic.ValidationError) as refused:
        BeamSpec.model_validate(yaml.safe_load(yaml.safe_dump(section)))
    assert expected in str(refused.value)
