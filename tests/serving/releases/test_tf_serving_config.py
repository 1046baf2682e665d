"""TensorFlow Serving's configuration files, checked against its protocol buffers and documented flags."""

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from framecast.serving.releases import tf_serving_config

# Flags of `tensorflow_model_server --help` in 2.16.1 and 2.20.0, with the type of each value.
_FLAGS = {
    "port": int, "rest_api_port": int, "rest_api_num_threads": int, "rest_api_timeout_in_ms": int,
    "rest_api_enable_cors_support": bool, "grpc_socket_path": str, "enable_batching": bool,
    "allow_version_labels_for_unavailable_models": bool, "batching_parameters_file": str,
    "enable_per_model_batching_parameters": bool, "model_config_file": str, "model_config_file_poll_wait_seconds": int,
    "model_name": str, "model_base_path": str, "num_load_threads": int, "num_unload_threads": int,
    "max_num_load_retries": int, "load_retry_interval_micros": int, "file_system_poll_wait_seconds": int,
    "flush_filesystem_caches": bool, "tensorflow_session_parallelism": int, "tensorflow_session_config_file": str,
    "tensorflow_intra_op_parallelism": int, "tensorflow_inter_op_parallelism": int, "ssl_config_file": str,
    "platform_config_file": str, "per_process_gpu_memory_fraction": float, "saved_model_tags": str,
    "grpc_channel_arguments": str, "grpc_max_threads": int, "enable_model_warmup": bool, "monitoring_config_file": str,
    "enable_grpc_healthcheck_service": bool, "thread_pool_factory_config_file": str,
}  # fmt: skip

_FIXED = {"height": 64, "width": 48, "batch_sizes": [1, 4, 16]}


def _message(package, name, fields):
    """Describes a message by fields `(name, number, type or wrapper, repeated)`, because the API package lacks it."""
    kinds = {"bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL, "string": 9, "int64": 3}
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=package, syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name=name)
    for field, number, kind, repeated in fields:
        added = message.field.add(name=field, number=number, label=3 if repeated else 1)
        if kind in kinds:
            added.type = kinds[kind]
        else:
            added.type, added.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, kind
    return file


def _class(files, full_name):
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    for file in files:
        pool.Add(file)
    # Protobuf 6 has GetMessageClass only, protobuf 3.20 MessageFactory only.
    get = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory().GetPrototype
    return get(pool.FindMessageTypeByName(full_name))


@pytest.fixture(scope="module")
def batching_parameters():
    """`BatchingParameters` of servables/tensorflow/session_bundle_config.proto."""
    number, flag = ".google.protobuf.Int64Value", ".google.protobuf.BoolValue"
    fields = [
        ("max_batch_size", 1, number, False), ("batch_timeout_micros", 2, number, False),
        ("max_enqueued_batches", 3, number, False), ("num_batch_threads", 4, number, False),
        ("thread_pool_name", 5, ".google.protobuf.StringValue", False), ("allowed_batch_sizes", 6, "int64", True),
        ("pad_variable_length_inputs", 7, "bool", False), ("enable_large_batch_splitting", 8, flag, False),
        ("max_execution_batch_size", 9, number, False),
    ]  # fmt: skip
    file = _message("tensorflow.serving", "BatchingParameters", fields)
    return _class([file], "tensorflow.serving.BatchingParameters")


@pytest.fixture(scope="module")
def monitoring_config():
    """`MonitoringConfig` of config/monitoring_config.proto."""
    inner = _message(
        "tensorflow.serving", "PrometheusConfig", [("enable", 1, "bool", False), ("path", 2, "string", False)]
    )
    outer = _message(
        "tensorflow.serving",
        "MonitoringConfig",
        [("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig", False)],
    )
    outer.dependency.append(inner.name)
    return _class([inner, outer], "tensorflow.serving.MonitoringConfig")


def test_models_config_loads_newest_and_labels_versions():
    text = tf_serving_config.models_config({"stable": 8, "canary": 9})
    (model,) = tf_serving_config.parse_models_config(text).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("framecast", "/models/framecast", "tensorflow")
    assert dict(model.version_labels) == {"stable": 8, "canary": 9}
    assert model.model_version_policy.WhichOneof("policy_choice") == "latest"
    assert model.model_version_policy.latest.num_versions == 2


def test_batch_sizes_are_those_of_the_warmup(batching_parameters):
    parameters = text_format.Parse(tf_serving_config.batching_config(_FIXED), batching_parameters())
    assert list(parameters.allowed_batch_sizes) == [1, 4, 16]
    assert parameters.max_batch_size.value == 16  # A server does not start if the last allowed size differs.
    assert parameters.pad_variable_length_inputs
    assert parameters.batch_timeout_micros.value == 5000
    assert parameters.max_enqueued_batches.value == 100
    assert not parameters.HasField("num_batch_threads")


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ({**_FIXED, "height": None, "width": None}, "clips may have any size"),
        ({"batch_sizes": [1, 4]}, "clips may have any size"),
        ({**_FIXED, "batch_sizes": [1]}, "for one clip per request"),
        ({"height": 64, "width": 64}, "for one clip per request"),
        ({}, "for one clip per request"),
    ],
)
def test_batching_needs_fixed_size_and_warmed_up_batches(card, why):
    files = tf_serving_config.texts({"stable": 1}, card, "2.16.2")
    assert files["batching.config"] is None
    command = yaml.safe_load(files["compose.yaml"])["services"]["cpu"]["command"]
    assert not any("batching" in flag for flag in command)
    for name in ("compose.yaml", "README.md"):
        assert why in files[name]


def test_metrics_path_is_the_documented_one(monitoring_config):
    config = text_format.Parse(tf_serving_config.monitoring_config(), monitoring_config())
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"


@pytest.mark.parametrize("card", [_FIXED, {}])
def test_every_flag_is_documented(card):
    files = tf_serving_config.texts({"stable": 1}, card, "2.16.2")
    services = yaml.safe_load(files["compose.yaml"])["services"]
    assert services["cpu"]["command"] == services["gpu"]["command"]
    given = {}
    for flag in services["cpu"]["command"]:
        name, _, value = flag.removeprefix("--").partition("=")
        kind = _FLAGS[name]
        assert value in ("true", "false") if kind is bool else kind(value) is not None
        given[name] = value
        assert flag in files["README.md"]
    assert given["model_config_file_poll_wait_seconds"] == str(tf_serving_config.LABELS_POLL_SECONDS)
    assert "rest_api_port" in given  # Without it there are no metrics.
    for name, value in given.items():
        if name.endswith("_file"):
            assert value.startswith("/models/framecast/tensorflow_serving/")
            assert files[value.rpartition("/")[2]] is not None


def test_compose_mounts_read_only_and_listens_on_localhost():
    files = tf_serving_config.texts({"stable": 1}, _FIXED, "2.16.2")
    services = yaml.safe_load(files["compose.yaml"])["services"]
    for profile, image in (("cpu", "tensorflow/serving:2.16.1"), ("gpu", "tensorflow/serving:2.16.1-gpu")):
        service = services[profile]
        assert (service["image"], service["profiles"]) == (image, [profile])
        assert service["volumes"] == [
            {"type": "bind", "source": "..", "target": "/models/framecast", "read_only": True}
        ]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert "labels/stable/metadata" in service["healthcheck"]["test"][-1]
    (device,) = services["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert "deploy" not in services["cpu"]


@pytest.mark.parametrize(("status", "healthy"), [("200 OK", True), ("404 Not Found", False), (None, False)])
def test_health_check_asks_the_stable_version(status, healthy):
    import http.server
    import subprocess
    import threading

    asked = []

    class Rest(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            code, _, reason = status.partition(" ")
            self.send_response(int(code), reason)
            self.end_headers()

        def log_message(self, *_):
            pass

    test = yaml.safe_load(tf_serving_config.texts({"stable": 1}, {}, "2.16.2")["compose.yaml"])
    kind, *command = test["services"]["cpu"]["healthcheck"]["test"]
    assert kind == "CMD"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rest) as server:
        port = server.server_address[1]
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        # Compose reads `$$` as `$`.
        command[-1] = command[-1].replace("$$", "$").replace("8501", str(port))
        done = subprocess.run(command, capture_output=True, timeout=30)
        if status is not None:
            server.shutdown()
    assert (done.returncode == 0) == healthy, done.stderr
    assert asked == ([] if status is None else ["/v1/models/framecast/labels/stable/metadata"])


@pytest.mark.parametrize(
    ("tensorflow", "release", "noted"),
    [("2.16.2", "2.16.1", False), ("2.21.0", "2.20.0", True), ("2.19.1", "2.19.0", False)],
)
def test_image_matches_the_exporting_tensorflow(tensorflow, release, noted):
    assert tf_serving_config.serving_release(tensorflow) == release
    files = tf_serving_config.texts({"stable": 1}, {}, tensorflow)
    for name in ("compose.yaml", "README.md"):
        assert (f"exported by TensorFlow {tensorflow}" in files[name]) == noted
