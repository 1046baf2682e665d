"""The `beam` section of the configuration: the engine that runs the Beam components.

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
# Later stages of a job reuse workers only for this long, because the cache also holds workers that died: it must have
# expired before a failed job restarts.
_WORKERS_KEPT_MS = 5000

# Input size from which several processes are faster than one. Measured by benchmarks/engines.py on 2 cores: a second
# process costs the four components 41 s of imports per run and saves 0.6 of the 2.5 ms per 128x128 frame, so both are
# equal at 70,000 frames (300 MB of radar, 45 MB of digits). More cores save more.
WORTH_PROCESSES_BYTES = 1 << 28
# Memory of a process and its share of the parent: 3.1 GB for two in the Evaluator, by the same benchmark.
_PROCESS_BYTES = 3 << 29

# No container is used, but without a name TFX packs its sources for remote workers, once per component: 45 MB in the
# temporary directory that are never removed.
_NO_CONTAINER = "--sdk_container_image=in-process"


class DataflowSpec(Section):
    """Settings of Google Cloud Dataflow.

    Args:
        project: Google Cloud project.
        region: Region of the workers.
        temp_location: `gs://` folder for staged files.
        image: Container image of the workers, with framecast installed and Beam's `boot` as entry point.
        machine_type: Machine type of the workers; default: Dataflow's choice.
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
    """The engine that runs the Beam components: ingest, statistics, Transform and evaluation.

    Args:
        engine: `local`: this machine. `flink`, `spark`: a cluster, through Beam's job server; its workers see the same
            files under the same paths. `dataflow`: Google Cloud Dataflow.
        parallelism: Number of processes (`local`) or subtasks (`flink`), or largest number of workers (`dataflow`).
            Default: `local` decides from the input size, cores and memory; others use their own setting.
        job_endpoint: HOST:PORT of the job server; default localhost:8099.
        artifact_endpoint: HOST:PORT for a job's artifacts; default port 8098 of the job server.
        worker_pool: HOST:PORT of the Python worker pool, as seen from a task manager or executor; default
            localhost:50000.
        slots: Slots of a task manager or executor: as many Python workers are started next to it.
        dataflow: Settings of `dataflow`, required by that engine.
        flags: Raw Beam pipeline flags, added last.
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
    def _valid_endpoint(cls, endpoint: str | None) -> str | None:
        if endpoint is not None:
            host, _, port = endpoint.rpartition(":")
            if not host or "/" in host or not port.isdigit():
                raise ValueError(f"expected HOST:PORT, such as {_JOB_ENDPOINT}, received {endpoint}")
        return endpoint

    @pydantic.model_validator(mode="after")
    def _keys_match_engine(self) -> "BeamSpec":
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
        """Returns the number of local processes per component.

        Args:
            input_bytes: Total size of the input files.
        """
        if self.engine != "local":
            return 1
        return self.parallelism or (_fitting_processes() if input_bytes >= WORTH_PROCESSES_BYTES else 1)

    def describe(self, input_bytes: int) -> str:
        """Describes the engine in one line for the terminal; empty for one local process.

        Args:
            input_bytes: Total size of the input files.
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
        """Returns the pipeline flags of the Beam jobs.

        Args:
            input_bytes: Total size of the input files.
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
        # Framecast is installed in the image.
        "--sdk_location=container",
        *([f"--machine_type={spec.machine_type}"] if spec.machine_type else []),
        *([f"--max_num_workers={parallelism}"] if parallelism else []),
    ]


def _fitting_processes() -> int:
    """Returns the number of processes that fit this machine's cores and memory.

    From total memory, not free memory, because the flags are part of TFX's cache key.
    """
    return max(1, min(len(os.sched_getaffinity(0)), psutil.virtual_memory().total // _PROCESS_BYTES))
