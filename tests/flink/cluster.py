"""A real standalone Flink cluster on this machine, with Beam's job server: what `make test-flink` runs on.

with FlinkCluster(folder, task_managers=2) as cluster:
    ...  # beam: cluster.section

It is made of Maven's and PyPI's packages, by the versions and checksums beside this file, and is kept under
`~/.cache/framecast/flink`. Each task manager has a pool of Python workers, as a sidecar on Kubernetes.
"""

import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil

_HERE = pathlib.Path(__file__).resolve().parent
_UV = _HERE.parents[1] / ".venv-tools/bin/uv"
_CACHE = pathlib.Path.home() / ".cache/framecast/flink"
_PINNED = ("pom.xml", "libraries.txt", "jars.sha256")
_POOL = "worker-pool"  # What task managers call the pool beside them.
_SECONDS = 180  # Timeout of each wait while the cluster starts.
# Packages that Flink 1.16 accesses by reflection; Java opens them only on request.
_OPENS = ["--add-exports=java.base/sun.net.util=ALL-UNNAMED"] + [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        "java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "java.util", "java.util.concurrent",
        "java.util.concurrent.atomic", "java.text", "java.time", "sun.nio.ch",
    )
]  # fmt: skip
_LOG4J = """
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %-5p %c{1} %m%n
"""


def install() -> pathlib.Path:
    """Returns the folder with Flink (`flink`) and the job server's jars (`jars`), fetched unless they are there.

    Raises:
        ValueError: When a jar is not the one that was pinned, naming it.
    """
    digest = hashlib.sha256(b"".join((_HERE / name).read_bytes() for name in _PINNED)).hexdigest()[:16]
    folder = _CACHE / digest
    if folder.exists():
        return folder
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
        part = pathlib.Path(temporary) / "part"
        jars = part / "jars"
        subprocess.run(
            ["mvn", "-B", "-q", "-f", _HERE / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"],
            check=True,
        )
        _verify(jars)
        uv = shutil.which("uv") or str(_UV)
        subprocess.run(
            [uv, "pip", "install", "-q", "--python", sys.executable, "--target", part / "libraries", "--no-deps",
             "--require-hashes", "-r", _HERE / "libraries.txt"],
            env=os.environ | {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"},
            check=True,
        )  # fmt: skip
        (part / "libraries/pyflink").rename(part / "flink")
        part.rename(folder)
    return folder


def _verify(jars: pathlib.Path) -> None:
    pinned = {}
    for line in (_HERE / "jars.sha256").read_text().splitlines():
        digest, name = line.split()
        pinned[name] = digest
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in jars.iterdir()}
    for name in sorted(pinned.keys() | found.keys()):
        if pinned.get(name) != found.get(name):
            raise ValueError(f"{name}: expected SHA-256 {pinned.get(name)}, received {found.get(name)}")


class FlinkCluster:
    """A job manager, task managers of one slot, a pool of workers beside each, and Beam's job server.

    Args:
        folder: For logs and temporary files.
        task_managers: How many.
    """

    def __init__(self, folder: pathlib.Path, task_managers: int = 2):
        self.folder = folder
        self._installed = install()
        self._rest = f"http://localhost:{_free_port()}"
        self._job_port, self._artifact_port, self._pool_port = _free_port(), _free_port(), _free_port()
        self._numbers = range(task_managers)
        self._processes: dict[str, subprocess.Popen] = {}

    @property
    def section(self) -> dict[str, Any]:
        """The `beam` section of a configuration that runs here."""
        return {
            "engine": "flink",
            "parallelism": len(self._numbers),
            "job_endpoint": f"localhost:{self._job_port}",
            "artifact_endpoint": f"localhost:{self._artifact_port}",
            "worker_pool": f"{_POOL}:{self._pool_port}",
        }

    def __enter__(self) -> "FlinkCluster":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self._processes.values():
            tree = [process, *_descendants(process.pid)]
            for one in tree:
                one.kill()
            process.wait()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j.properties").write_text(_LOG4J)
        conf = self.folder / "conf"
        conf.mkdir()
        ports = {
            "jobmanager.rpc.address": "localhost",
            "jobmanager.rpc.port": _free_port(),
            "jobmanager.bind-host": "localhost",
            "rest.port": self._rest.rpartition(":")[2],
            "taskmanager.host": "localhost",
            "taskmanager.bind-host": "localhost",
            "io.tmp.dirs": self.folder / "temporary",
        }
        lines = [f"{key}: {value}" for key, value in ports.items()]
        (conf / "flink-conf.yaml").write_text("\n".join([(_HERE / "flink-conf.yaml").read_text(), *lines, ""]))
        (self.folder / "temporary").mkdir()
        options, parameters = self._memory("GET_JM_RESOURCE_PARAMS")
        self._java(
            "job-manager",
            options,
            "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
            ["--configDir", conf, "--executionMode", "cluster", *parameters],
        )
        for number in self._numbers:
            self._start_worker_pool(number)
            self._start_task_manager(number)
        driver = "org.apache.beam.runners.flink.FlinkJobServerDriver"
        arguments = [
            f"--flink-master={self._rest.removeprefix('http://')}",
            f"--flink-conf-dir={conf}",
            "--job-host=localhost",
            f"--job-port={self._job_port}",
            f"--artifact-port={self._artifact_port}",
            "--expansion-port=0",
            f"--artifacts-dir={self.folder / 'staged'}",
        ]
        self._run("job-server", ["java", *_OPENS, "-Xmx512m", "-cp", f"{self._installed}/jars/*", driver, *arguments])
        await_("a job server", lambda: _listens("localhost", self._job_port), self._check)
        self.await_task_managers()

    def await_task_managers(self) -> None:
        """Waits until all of them have joined."""
        await_("task managers", lambda: self.get("/overview")["taskmanagers"] == len(self._numbers), self._check)

    def get(self, path: str) -> Any:
        """Returns what Flink's REST API answers; an empty mapping before it does."""
        try:
            with urllib.request.urlopen(self._rest + path, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            return {"taskmanagers": None}

    def running_steps(self) -> set[str]:
        """Returns the names of the running job's vertices that are running themselves."""
        steps = set()
        for job in self.get("/jobs/overview").get("jobs", []):
            if job["state"] == "RUNNING":
                vertices = self.get(f"/jobs/{job['jid']}").get("vertices", [])
                steps |= {vertex["name"] for vertex in vertices if vertex["status"] == "RUNNING"}
        return steps

    def workers(self, number: int) -> list[psutil.Process]:
        """Returns the Python workers beside a task manager."""
        return _descendants(self._processes[f"worker-pool-{number}"].pid)

    def kill_task_manager(self, number: int) -> None:
        """Ends a task manager as `kill -9` does."""
        process = self._processes[f"task-manager-{number}"]
        process.kill()
        process.wait()

    def replace_task_manager(self, number: int) -> None:
        """Starts one in place of one that was lost, as Kubernetes would."""
        self._start_task_manager(number)

    def memory(self) -> int:
        """Returns the resident bytes of task managers, pools and workers."""
        names = [f"{kind}-{number}" for kind in ("task-manager", "worker-pool") for number in self._numbers]
        pids = [self._processes[name].pid for name in names]
        processes = [tree for pid in pids for tree in (psutil.Process(pid), *_descendants(pid))]
        return sum(_resident(process) for process in processes)

    def _start_worker_pool(self, number: int) -> None:
        worker = pathlib.Path(sys.executable).parent / "framecast-beam-worker"
        address = f"{_address(number)}:{self._pool_port}"
        command = [sys.executable, "-W", "ignore", str(_HERE / "worker_pool.py"), address, str(worker)]
        self._run(f"worker-pool-{number}", command, os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
        await_("a worker pool", lambda: _listens(_address(number), self._pool_port), self._check)

    def _start_task_manager(self, number: int) -> None:
        # One name, and to each task manager another address.
        hosts = self.folder / f"hosts-{number}"
        hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n{_address(number)} {_POOL}\n")
        options, parameters = self._memory("GET_TM_RESOURCE_PARAMS")
        self._java(
            f"task-manager-{number}",
            [*options, f"-Djdk.net.hosts.file={hosts}"],
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            ["--configDir", self.folder / "conf", *parameters],
        )

    def _memory(self, command: str) -> tuple[list[str], list[str]]:
        """Returns Java's options and Flink's parameters by which Flink's own scripts start a process."""
        utils = "org.apache.flink.runtime.util.bash.BashJavaUtils"
        classes = f"{self._installed}/flink/bin/bash-java-utils.jar:{self._installed}/flink/lib/*"
        done = subprocess.run(
            ["java", "-cp", classes, utils, command, "--configDir", self.folder / "conf"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        prefix = "BASH_JAVA_UTILS_EXEC_RESULT:"
        options, parameters = (
            line.removeprefix(prefix).split() for line in done.stdout.splitlines() if line.startswith(prefix)
        )
        return options, parameters

    def _java(self, name: str, options: list[str], main: str, arguments: list[Any]) -> None:
        log4j = f"-Dlog4j.configurationFile={self.folder / 'log4j.properties'}"
        # Beam's jars are there before any job: see classloader.resolve-order.
        classes = f"{self._installed}/flink/lib/*:{self._installed}/jars/*"
        self._run(name, ["java", *options, *_OPENS, log4j, "-cp", classes, main, *map(str, arguments)])

    def _run(self, name: str, command: list[str], environment: Any = None) -> None:
        with open(self.folder / f"{name}.log", "a") as log:
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.folder
            )

    def _check(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text()
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{log[-4000:]}")


def await_(what: str, condition: Callable[[], Any], check: Callable[[], None], seconds: float = _SECONDS) -> Any:
    """Waits for a condition and returns what it gave.

    Args:
        what: Named in the error.
        condition: True, or something, once it holds.
        check: Raises when it cannot come true any more.
        seconds: For at most so long.

    Raises:
        TimeoutError: When it has not come true.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        check()
        if time.monotonic() > end:
            raise TimeoutError(f"expected {what} within {seconds} s")
        time.sleep(0.2)
    return found


def _address(number: int) -> str:
    return f"127.0.0.{number + 2}"


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # It is gone.
        return 0


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def _listens(host: str, port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((host, port)) == 0
