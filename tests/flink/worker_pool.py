"""Beam's pool of Python workers, on one address, that start WORKER: `python worker_pool.py ADDRESS WORKER`.

Beam's own command listens on every address of a port. Here two task managers share a machine, as no two pods do, and
each needs a separate pool.
"""

import sys
import threading

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils import thread_pool_executor

if __name__ == "__main__":
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(
        BeamFnExternalWorkerPoolServicer(use_process=True, container_executable=sys.argv[2]), server
    )
    server.add_insecure_port(sys.argv[1])
    server.start()
    threading.Event().wait()
