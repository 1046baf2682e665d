"""The command line: light imports, one-line errors, exit codes, silent libraries."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from framecast.models.export.warmup import predict_request
from framecast.serving.client.client import predict_stub
from tests.serving import toy

_ROOT = pathlib.Path(__file__).parents[3]
_HEAVY = ("tensorflow", "tfx", "apache_beam", "keras")


def _framecast(*arguments):
    command = [sys.executable, "-m", "framecast.pipeline.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_light_commands_import_nothing_heavy():
    commands = [
        ["--help"],
        ["run", "--help"],
        ["run", str(_ROOT / "configs/demo.yaml"), "--set=train.stesp=1"],
        ["serve", "folder", "--model_config_file=x"],
    ]
    code = (
        "import sys\n"
        "from framecast.pipeline.cli import main as cli\n"
        f"for arguments in {commands!r}:\n"
        "    sys.argv = ['framecast', *arguments]\n"
        "    try:\n        cli.main()\n    except SystemExit:\n        pass\n"
        f"    loaded = [name for name in {_HEAVY!r} if name in sys.modules]\n"
        "    assert not loaded, (arguments, loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_configuration_error_is_one_line_exit_2():
    done = _framecast("run", str(_ROOT / "configs/demo.yaml"), "--set=train.stesp=1")
    assert done.returncode == 2
    assert done.stderr == "framecast: --set train.stesp=1: train.stesp: unknown key (received 1)\n"


def test_unknown_component_suggests_the_closest(framecast):
    answer = framecast("run", _ROOT / "configs/demo.yaml", "--to=Trianer")
    assert answer.code == 2
    assert "did you mean Trainer?" in answer.text


def test_unreachable_server_is_named_without_traceback(framecast):
    answer = framecast("query", next((_ROOT / "examples/radar/eval").iterdir()), "--address=127.0.0.1:1")
    assert answer.code == 1
    assert "UNAVAILABLE" in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "serve: expected either a folder of versions or --model_config_file"),
        (["folder", "--model_config_file=x"], "serve: expected either a folder of versions or --model_config_file"),
        (["folder", "--batching_parameters_file=x"], "--batching_parameters_file: expected --enable_batching with it"),
    ],
)
def test_serve_rejects_contradictory_flags(framecast, arguments, message):
    answer = framecast("serve", *arguments)
    assert (answer.code, answer.text) == (2, f"framecast: {message}\n")


def test_serve_reads_configuration_files_stops_on_sigterm(tmp_path):
    toy.export(1.0, str(tmp_path / "toy" / "7"))
    (tmp_path / "batching.config").write_text("max_batch_size { value: 4 }")
    (tmp_path / "models.config").write_text(
        f'model_config_list {{ config {{ name: "toy" base_path: "{tmp_path}/toy" model_platform: "tensorflow" '
        'version_labels { key: "stable" value: 7 } } }'
    )
    command = [sys.executable, "-m", "framecast.pipeline.cli.main", "serve", "--port=0", "--json", "--enable_batching"]
    command += [f"--batching_parameters_file={tmp_path}/batching.config", "--grpc_max_threads=8"]
    command += [f"--model_config_file={tmp_path}/models.config", "--model_config_file_poll_wait_seconds=1"]
    command += ["--allow_version_labels_for_unavailable_models", "--file_system_poll_wait_seconds=0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            banner = json.loads(server.stdout.readline())
            assert banner["models"] == {"toy": [7]}
            request = predict_request({"frames": np.zeros((1, 3, 8, 6, 1), np.uint8), "length": [3]}, model="toy")
            request.model_spec.version_label = "stable"
            assert predict_stub(f"127.0.0.1:{banner['port']}")(request, timeout=60).model_spec.version.value == 7
        finally:
            server.terminate()
        assert server.wait() == 0
        assert server.stderr.read() == ""


def test_libraries_print_nothing():
    done = _framecast(
        "check", str(_ROOT / "configs/radar.yaml"), "--set=model.preset=convlstm-tiny", "--set=train.crop=32", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["findings"]["training step"].startswith("loss 0.")


def test_inspect_counts_clips_and_draws_a_sheet(framecast, tmp_path):
    folder = _ROOT / "examples/radar"
    answer = framecast(
        "data", "inspect", folder / "train", folder / "eval", "--sheet", tmp_path / "sheet.png", "--json"
    )
    assert answer.code == 0, answer.text
    found = json.loads(answer.out)
    assert (found["clips"], found["sizes"]) == (40, {"128x128x1 uint8 PNG": 40})
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert framecast("data", "inspect", folder).code == 1  # README.md is no TFRecord.
