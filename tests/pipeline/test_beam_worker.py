"""Beam's pool starts the worker; outputs for a runner that does not read are measured in a separate process."""

import concurrent.futures
import json
import operator
import pathlib
import resource
import socket
import subprocess
import sys
import threading
from functools import partial

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import data_plane
from apache_beam.testing.util import assert_that, equal_to

_WORKER = pathlib.Path(sys.executable).parent / "framecast-beam-worker"
_ELEMENT = 1 << 18  # A clip of 16 frames of 128x128.
_ELEMENTS = 1600


@pytest.fixture
def pool():
    """HOST:PORT of Beam's pool of workers, started as kubeflow/flink/cluster.yaml does."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    module = "apache_beam.runners.worker.worker_pool_main"
    command = [sys.executable, "-W", "ignore", "-m", module, f"--service_port={port}"]
    with subprocess.Popen([*command, f"--container_executable={_WORKER}"]) as process:
        try:
            with grpc.insecure_channel(f"localhost:{port}") as channel:
                grpc.channel_ready_future(channel).result(60)
            yield f"localhost:{port}"
        finally:
            process.terminate()


def test_pool_starts_the_worker(pool):
    flags = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL"]
    options = PipelineOptions([*flags, f"--environment_config={pool}"])
    with beam.Pipeline(options=options) as pipeline:
        # A worker cannot import this file.
        found = pipeline | beam.Create(["argv"]) | beam.Map(partial(getattr, sys)) | beam.Map(operator.itemgetter(0))
        assert_that(found, equal_to([str(_WORKER)]))


def test_pending_outputs_spill_and_arrive_in_small_messages():
    command = [sys.executable, "-W", "ignore", __file__]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout.splitlines()[-1])
    # Pending outputs do not block a stage, because Flink sends it all of its input first.
    assert found["written"], "Beam blocks: framecast.pipeline.beam_worker no longer replaces its queue"
    assert found["grown"] < _ELEMENTS * _ELEMENT / 2, (
        "Beam keeps outputs in memory: framecast.pipeline.beam_worker no longer replaces _GrpcDataChannel._to_send"
    )
    assert found["read"] == [number % 256 for number in range(_ELEMENTS)]
    assert max(found["sizes"]) < 3 << 20, (
        "Beam sends large messages: framecast.pipeline.beam_worker no longer sets _DEFAULT_SIZE_FLUSH_THRESHOLD"
    )


def _measure():
    """Writes elements before the runner reads any; returns the memory growth, the message sizes and the elements."""
    from apache_beam.portability.api import beam_fn_api_pb2_grpc

    from framecast.pipeline import beam_worker

    beam_worker.spill_outputs()
    reads, over, sizes, read = threading.Event(), threading.Event(), [], []

    class _Runner(beam_fn_api_pb2_grpc.BeamFnDataServicer):
        def Data(self, request_iterator, context):  # noqa: N802 - gRPC's name
            reads.wait()
            for elements in request_iterator:
                sizes.append(elements.ByteSize())
                for data in elements.data:
                    read.extend(data.data[::_ELEMENT])
                    if data.is_last:
                        over.set()
            return iter(())

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), options=[("grpc.max_receive_message_length", -1)])
    beam_fn_api_pb2_grpc.add_BeamFnDataServicer_to_server(_Runner(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    with grpc.insecure_channel(f"localhost:{port}", options=[("grpc.max_send_message_length", -1)]) as connection:
        channel = data_plane.GrpcClientDataChannel(beam_fn_api_pb2_grpc.BeamFnDataStub(connection))
        output = channel.output_stream("1", "clips")

        def write():
            for number in range(_ELEMENTS):
                output.write(bytes([number % 256]) * _ELEMENT)
                output.maybe_flush()
            output.close()

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(60)
        written = not writer.is_alive()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        reads.set()
        over.wait()
        channel.close()
        channel.wait()
    server.stop(None)
    return {"written": written, "grown": grown, "sizes": sizes, "read": read}


if __name__ == "__main__":
    print(json.dumps(_measure()))
