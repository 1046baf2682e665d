"""Where the Beam components run: the `beam` section of the configuration.

BeamSpec(engine="flink", parallelism=8, job_endpoint="flink-job-server:8099").beam_flags(input_bytes=0)
"""

import os
from typing import Literal

import psutil
import pydantic

from framecast.clips.beam import BEAM_RUNNER
from framecast.schemas.section import Section

_JOB_ENDPOINT = "localhost:8099"
_ARTIFACT_PORT = 8098
_WORKER_POOL = "localhost:50000"
_PORTABLE = ("flink", "spark")
# Workers outlive the stage of a job that they were started for, and run the next. Not for long: after a failure the
# dead one is forgotten with the others, which must be before the job starts again.
_WORKERS_KEPT_MS = 5000

# From how many bytes of clips on several processes are quicker than one. By benchmarks/engines.py, on 2 cores, the
# imports of two cost the four components 41 s a run, and of the 2.5 ms that a frame of 128x128 takes in one they save
# .6: even at 70,000 frames, 300 MB of radar or 45 MB of digits. More cores save more.
WORTH_PROCESSES_BYTES = 1 << 28
# What a process holds, and its share of the one that feeds it: 3.1 GB for two in the Evaluator, by the same benchmark.
_PROCESS_BYTES = 3 << 29

# No container is used. Without a name here TFX packs its own sources for workers elsewhere, once for each component:
# 45 MB in the temporary directory that nothing removes.
_NO_CONTAINER = "--sdk_container_image=in-process"


class DataflowSpec(Section):
    """What a job on Google Cloud Dataflow must say.

    Args:
        project: The project that pays.
        region: Where the workers are.
        temp_location: `gs://` folder for what is staged.
        image: Container image of the workers: with framecast, and Beam's `boot` as its entry point.
        machine_type: Which decides a worker's memory and cores; Dataflow's own choice unless given.
    """

    project: str
    region: str
    temp_location: str
    image: str
    machine_type: str | None = None

    @pydantic.field_validator("temp_location")
    @classmethod
    def _in_cloud_storage(cls, location: str) -> str:
        if not location.startswith("gs://"):
            raise ValueError(f"expected gs:// and a folder, received {location}")
        return location


class BeamSpec(Section):
    """How ingest, statistics, Transform and evaluations run.

    Args:
        engine: `local`: on this machine. `flink`, `spark`: by a job server of Beam, on a cluster whose workers see the
            same files under the same names; how much memory they have is the cluster's. `dataflow`: on Google Cloud.
        parallelism: Processes (`local`), subtasks (`flink`) or at most so many workers (`dataflow`). Unless given,
            `local` takes as many as data, cores and memory bear, the others what they are set to.
        job_endpoint: HOST:PORT of the job server; localhost:8099 unless given.
        artifact_endpoint: HOST:PORT where it takes what a job brings along; port 8098 of the job server unless given.
        worker_pool: HOST:PORT of the pool of Python workers, as a task manager or executor sees the one beside it;
            localhost:50000 unless given.
        slots: Of a task manager or executor: so many Python workers are started beside it.
        dataflow: Needed by that engine.
        flags: Raw pipeline flags, after these.
    """

    engine: Literal["local", "flink", "dataflow", "spark"] = "local"
    parallelism: int | None = pydantic.Field(default=None, ge=1)
    job_endpoint: str | None = None
    artifact_endpoint: str | None = None
    worker_pool: str | None = None
    slots: int = pydantic.Field(default=1, ge=1)
    dataflow: DataflowSpec | None = None
    flags: tuple[str, ...] = ()

    @pydantic.field_validator("job_endpoint", "artifact_endpoint", "worker_pool")
    @classmethod
    def _host_and_port(cls, endpoint: str | None) -> str | None:
        if endpoint is not None:
            host, _, port = endpoint.rpartition(":")
            if not host or "/" in host or not port.isdigit():
                raise ValueError(f"expected HOST:PORT, such as {_JOB_ENDPOINT}, received {endpoint}")
        return endpoint

    @pydantic.model_validator(mode="after")
    def _of_the_engine(self) -> "BeamSpec":
        for key in ("job_endpoint", "artifact_endpoint", "worker_pool", "slots"):
            if self.engine not in _PORTABLE and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: expected engine {' or '.join(_PORTABLE)}, received {self.engine}")
        if self.engine == "spark" and self.parallelism is not None:
            raise ValueError("parallelism: expected none where engine is spark, which takes spark.default.parallelism")
        if (self.engine == "dataflow") != (self.dataflow is not None):
            raise ValueError(
                "dataflow: expected project, region, temp_location and image where engine is dataflow, and only there; "
                f"received {'none' if self.dataflow is None else 'them'} with engine {self.engine}"
            )
        return self

    def processes(self, input_bytes: int) -> int:
        """Returns how many processes of this machine run each component.

        Args:
            input_bytes: Size of the clips' files.
        """
        if self.engine != "local":
            return 1
        return self.parallelism or (_fitting() if input_bytes >= WORTH_PROCESSES_BYTES else 1)

    def describe(self, input_bytes: int) -> str:
        """Returns where the Beam components run, for a person; empty for one process of this machine.

        Args:
            input_bytes: As for `processes`.
        """
        if self.engine != "local":
            endpoint = f", job server {self.job_endpoint or _JOB_ENDPOINT}" if self.engine in _PORTABLE else ""
            return f"Beam components run on {self.engine}{endpoint}"
        processes = self.processes(input_bytes)
        if processes == 1:
            return ""
        why = "beam.parallelism" if self.parallelism else f"{input_bytes / 1e6:.0f} MB of clips"
        return f"Beam components run in {processes} processes ({why})"

    def beam_flags(self, input_bytes: int = 0) -> list[str]:
        """Returns the pipeline flags of every Beam job.

        Args:
            input_bytes: As for `processes`.
        """
        return [*self._engine_flags(input_bytes), "--tfxio_use_byte_size_batching", *self.flags]

    def _engine_flags(self, input_bytes: int) -> list[str]:
        if self.engine == "local":
            processes = self.processes(input_bytes)
            several = ["--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
            return [f"--runner={BEAM_RUNNER}", _NO_CONTAINER, *(several if processes > 1 else [])]
        if self.dataflow is not None:
            return _dataflow_flags(self.dataflow, self.parallelism)
        job_endpoint = self.job_endpoint or _JOB_ENDPOINT
        artifact_endpoint = self.artifact_endpoint or f"{job_endpoint.rpartition(':')[0]}:{_ARTIFACT_PORT}"
        return [
            "--runner=PortableRunner",
            _NO_CONTAINER,
            f"--job_endpoint={job_endpoint}",
            f"--artifact_endpoint={artifact_endpoint}",
            "--environment_type=EXTERNAL",
            f"--environment_config={self.worker_pool or _WORKER_POOL}",
            f"--sdk_worker_parallelism={self.slots}",
            f"--environment_cache_millis={_WORKERS_KEPT_MS}",
            *([f"--parallelism={self.parallelism}"] if self.parallelism else []),
        ]


def _dataflow_flags(spec: DataflowSpec, parallelism: int | None) -> list[str]:
    return [
        "--runner=DataflowRunner",
        f"--project={spec.project}",
        f"--region={spec.region}",
        f"--temp_location={spec.temp_location}",
        f"--sdk_container_image={spec.image}",
        # What runs is in the image already.
        "--sdk_location=container",
        *([f"--machine_type={spec.machine_type}"] if spec.machine_type else []),
        *([f"--max_num_workers={parallelism}"] if parallelism else []),
    ]


def _fitting() -> int:
    """Returns how many processes this machine has cores and memory for.

    Of all its memory, not of what is free now: the flags are part of the key of TFX's cache.
    """
    return max(1, min(len(os.sched_getaffinity(0)), psutil.virtual_memory().total // _PROCESS_BYTES))
