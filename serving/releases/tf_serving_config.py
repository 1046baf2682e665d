"""Generates TensorFlow Serving's configuration files and command line for a folder of versions.

    files = texts({"stable": 8, "canary": 9}, card, tensorflow="2.16.2")
    files["models.config"], files["compose.yaml"]

Flags and fields are those of `tensorflow_serving/model_servers/main.cc`, `config/model_server_config.proto`,
`config/monitoring_config.proto` and `BatchingParameters` in `servables/tensorflow/session_bundle_config.proto`. Most
files are written as text, because `tensorflow-serving-api` 2.16 has a message for `models.config` only.
"""

import functools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

FOLDER = "tensorflow_serving"  # In the folder of versions: TensorFlow Serving ignores names that are not numbers.
MODELS = "models.config"
BATCHING = "batching.config"
MODEL = "framecast"  # Model name in requests.

# Seconds between two reads of the labels by a server; a command that cannot ask the servers waits that long.
LABELS_POLL_SECONDS = 10
# Number of newest versions that are loaded: stable and its predecessor, for a rollback, or stable and canary.
LOADED_VERSIONS = 2

# TensorFlow Serving's release by minor version of TensorFlow. There is none for 2.21.
_RELEASES = {"2.16": "2.16.1", "2.21": "2.20.0"}

_BASE_PATH = f"/models/{MODEL}"  # In the container; a server without one needs this path too.
_GRPC_PORT, _REST_PORT = 8500, 8501
_METRICS = "/monitoring/prometheus/metrics"
_BATCH_TIMEOUT_MICROS = 5000
_ENQUEUED_BATCHES = 100
_GENERATED = "Rewritten by every push, promote and rollback: edits are lost."


def texts(labels: Mapping[str, int], card: Mapping[str, Any], tensorflow: str) -> dict[str, str | None]:
    """Returns the text of each file by file name; None for a file that must not exist.

    Args:
        labels: Version of each label.
        card: `assets.extra/framecast.json` of the newest version.
        tensorflow: Version of TensorFlow that exported the model, such as `2.16.2`.
    """
    batching = batching_config(card)
    flags = server_flags(batching is not None)
    release = serving_release(tensorflow)
    facts = {
        "generated": _GENERATED,
        "model": MODEL,
        "base_path": _BASE_PATH,
        "folder": FOLDER,
        "flags": flags,
        "grpc_port": _GRPC_PORT,
        "rest_port": _REST_PORT,
        "metrics": _METRICS,
        "image": f"tensorflow/serving:{release}",
        "no_batching": why_no_batching(card),
        "batching_file": BATCHING,
        "largest_batch": _batch_sizes(card)[-1],
        "poll_seconds": LABELS_POLL_SECONDS,
        "other_release": None if tensorflow.startswith(release.rpartition(".")[0] + ".") else tensorflow,
    }
    return {
        MODELS: models_config(labels),
        BATCHING: batching,
        "monitoring.config": monitoring_config(),
        "compose.yaml": _render(_COMPOSE, facts),
        "README.md": _render(_README, facts),
    }


def models_config(labels: Mapping[str, int]) -> str:
    """Returns the text of a `ModelServerConfig`: which versions are loaded, and their labels."""
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(name=MODEL, base_path=_BASE_PATH, model_platform="tensorflow")
    # Not `specific` version numbers: a label can only move to a loaded version, so each change would need two steps.
    model.model_version_policy.latest.num_versions = LOADED_VERSIONS
    for label, version in sorted(labels.items()):
        model.version_labels[label] = version
    return f"# {_GENERATED}\n{text_format.MessageToString(config)}"


def parse_models_config(text: str) -> model_server_config_pb2.ModelServerConfig:
    """Parses the text of a `ModelServerConfig`.

    Raises:
        ValueError: If it cannot be parsed.
    """
    try:
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"expected a ModelServerConfig, received: {error}") from error


def why_no_batching(card: Mapping[str, Any]) -> str:
    """Returns why a server must not batch requests; empty if it may."""
    if _batch_sizes(card) == [1]:
        return "the model was exported and warmed up for one clip per request"
    if card.get("height") is None or card.get("width") is None:
        return (
            "clips may have any size: TensorFlow Serving rejects a batch of different sizes or pads the frames, "
            "which changes forecasts; set clip.height and clip.width in the configuration to fix the size"
        )
    return ""


def batching_config(card: Mapping[str, Any]) -> str | None:
    """Returns the text of `BatchingParameters` for a model; None if requests must not be batched."""
    if why_no_batching(card):
        return None
    sizes = _batch_sizes(card)
    allowed = "\n".join(f"allowed_batch_sizes: {size}" for size in sizes)
    return f"""\
# {_GENERATED}
# Requests with more clips are rejected. Must be the last of the allowed sizes.
max_batch_size {{ value: {sizes[-1]} }}
# Batches are padded to one of these sizes, which the model was warmed up with.
{allowed}
# Time that a request waits for others: a longer wait gives larger batches and a higher latency.
batch_timeout_micros {{ value: {_BATCH_TIMEOUT_MICROS} }}
# Batches in the queue. A longer queue is rejected with UNAVAILABLE, so a burst must fit.
max_enqueued_batches {{ value: {_ENQUEUED_BATCHES} }}
# num_batch_threads is not set, because its default, the number of cores, is what TensorFlow Serving's guide recommends.
# Shorter clips are padded to the longest clip of a batch. Frames past `length` never change a prediction. All frames
# have {card["height"]}x{card["width"]} pixels, so only the time axis is padded.
pad_variable_length_inputs: true
"""


def monitoring_config() -> str:
    """Returns the text of a `MonitoringConfig`: Prometheus metrics on the REST port."""
    return f'# {_GENERATED}\nprometheus_config {{\n  enable: true\n  path: "{_METRICS}"\n}}\n'


def serving_release(tensorflow: str) -> str:
    """Returns TensorFlow Serving's release for a version of TensorFlow, such as `2.16.1` for `2.16.2`."""
    minor = ".".join(tensorflow.split(".")[:2])
    return _RELEASES.get(minor, f"{minor}.0")


def server_flags(batching: bool) -> list[tuple[str, str]]:
    """Returns the flags of `tensorflow_model_server` with their reasons."""
    files = f"{_BASE_PATH}/{FOLDER}"
    flags = [
        (f"--port={_GRPC_PORT}", "gRPC, for framecast.serving.client and framecast query"),
        (f"--rest_api_port={_REST_PORT}", "REST, for metrics and the health check"),
        (f"--model_config_file={files}/{MODELS}", "which versions are loaded, and their labels"),
        (
            f"--model_config_file_poll_wait_seconds={LABELS_POLL_SECONDS}",
            "the server polls the labels: promote and rollback need no restart",
        ),
        (
            "--allow_version_labels_for_unavailable_models=true",
            "a starting server reads the labels before it has loaded a version",
        ),
        (f"--monitoring_config_file={files}/monitoring.config", "Prometheus metrics"),
        ("--enable_grpc_healthcheck_service=true", "grpc.health.v1, for probes of Kubernetes and load balancers"),
        ("--num_load_threads=1", "versions load in a separate thread, so that requests do not wait"),
    ]
    if batching:
        flags += [
            ("--enable_batching=true", "concurrent requests are computed in one batch"),
            (f"--batching_parameters_file={files}/{BATCHING}", "largest batch and longest wait"),
        ]
    return flags


def _batch_sizes(card: Mapping[str, Any]) -> Sequence[int]:
    return card.get("batch_sizes") or [1]


def _render(template: str, facts: Mapping[str, Any]) -> str:
    return _compile(template).render(facts)


@functools.cache
def _compile(template: str) -> jinja2.Template:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(textwrap.dedent(template))


_COMPOSE = """\
# {{ generated }}
# docker compose -f {{ folder }}/compose.yaml --profile cpu up --detach
# With --profile gpu, the NVIDIA container toolkit gives the container one GPU.
{% if other_release %}
# The model was exported by TensorFlow {{ other_release }}, for which TensorFlow Serving has no release: this is the
# newest release before it. Test it with framecast query before production uses it.
{% endif %}
name: {{ model }}-serving
x-server: &server
  entrypoint: [tensorflow_model_server]
  command:
{% for flag, reason in flags %}
    # {{ reason }}
    - {{ flag }}
{% endfor %}
{% if no_batching %}
    # No --enable_batching: {{ no_batching }}.
{% endif %}
  volumes:
    # Models and configuration in one mount. The folder, not single files, because files are replaced by a rename.
    - {type: bind, source: .., target: {{ base_path }}, read_only: true}
  ports:
    # This machine only, because the server has neither authentication nor encryption.
    - 127.0.0.1:{{ grpc_port }}:{{ grpc_port }}
    - 127.0.0.1:{{ rest_port }}:{{ rest_port }}
  healthcheck:
    # Healthy once the stable version answers. The image has bash but no curl.
    test:
      - CMD
      - bash
      - -c
      - >-
        exec 3<>/dev/tcp/127.0.0.1/{{ rest_port }} &&
        printf 'GET /v1/models/{{ model }}/labels/stable/metadata HTTP/1.0\\r\\n\\r\\n' >&3 &&
        read -r line <&3 && [[ $$line == *' 200 '* ]]
    interval: 10s
    timeout: 5s
    start_period: 2m
  restart: unless-stopped
services:
  cpu:
    <<: *server
    profiles: [cpu]
    image: {{ image }}
  gpu:
    <<: *server
    profiles: [gpu]
    image: {{ image }}-gpu
    # TensorFlow takes nearly all GPU memory. Two versions are loaded, and up to three during a release: give the GPU
    # to this server alone, or limit it with --per_process_gpu_memory_fraction.
    deploy:
      resources:
        reservations:
          devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]
"""

_README = """\
# TensorFlow Serving for this folder of versions

{{ generated }}

```
docker compose -f {{ folder }}/compose.yaml --profile cpu up --detach
framecast query CLIPS.tfrecord.gz --address 127.0.0.1:{{ grpc_port }} --model {{ model }}
```

Without compose, from the folder of versions:

```
docker run --rm -p 127.0.0.1:{{ grpc_port }}:{{ grpc_port }} -p 127.0.0.1:{{ rest_port }}:{{ rest_port }} \\
  -v "$PWD:{{ base_path }}:ro" --entrypoint tensorflow_model_server {{ image }} \\
{% for flag, reason in flags %}
  {{ flag }}{{ "" if loop.last else " \\\\" }}
{% endfor %}
```

{% for flag, reason in flags %}
- `{{ flag.partition("=")[0] }}`: {{ reason }}.
{% endfor %}
{% if other_release %}

The model was exported by TensorFlow {{ other_release }}, for which TensorFlow Serving has no release: `{{ image }}` is
the newest release before it. Test it before production uses it.
{% endif %}

Labels: production requests `stable` (`model_spec.version_label`; in REST `/v1/models/{{ model }}/labels/stable`).
`canary` is a pushed version that was not promoted yet. A request without a label gets the newest version, canary or
not. A server follows a changed label within {{ poll_seconds }} s after it has loaded the version; until then it logs
that the configuration was refused and keeps the old label.

{% if no_batching %}
Requests are not batched: {{ no_batching }}.
{% else %}
Requests are batched up to {{ largest_batch }} clips; a request with more clips is rejected. If one request of a batch
fails, for example because `length` is out of range, all of them fail. Per-frame outputs are as long as the longest
clip of the batch: cut them to the length of the clip. A server reads `{{ batching_file }}` at start.
{% endif %}

Prometheus metrics: `http://127.0.0.1:{{ rest_port }}{{ metrics }}`.
"""
