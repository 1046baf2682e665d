"""The command line: fast answers, exit codes, nothing heavy imported before it is needed."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from framecast.models.export.warmup import predict_request
from framecast.serving.client.client import predict_stub

_ROOT = pathlib.Path(__file__).parent.parent.parent
_HEAVY = ("tensorflow", "tfx", "apache_beam", "keras")


def _framecast(*arguments):
    command = [sys.executable, "-m", "framecast.pipeline.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("arguments", [["--help"], ["run", str(_ROOT / "configs/demo.yaml"), "--set=train.stesp=1"]])
def test_help_and_configuration_errors_import_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from framecast.pipeline import cli\n"
        f"sys.argv = ['framecast', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        f"loaded = [name for name in {_HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_configuration_error_is_one_message_and_exit_code_2():
    done = _framecast("run", str(_ROOT / "configs/demo.yaml"), "--set=train.stesp=1")
    assert done.returncode == 2
    assert "train.stesp: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_component_is_answered_with_the_closest():
    done = _framecast("run", str(_ROOT / "configs/demo.yaml"), "--to=Trianer")
    assert done.returncode == 2
    assert "did you mean Trainer?" in done.stderr


def test_an_unreachable_server_is_named_without_a_traceback():
    done = _framecast("query", str(next((_ROOT / "examples/radar/eval").iterdir())), "--address=127.0.0.1:1")
    assert done.returncode == 1
    assert "UNAVAILABLE" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "serve: expected either a folder of versions or --model_config_file"),
        (["folder", "--model_config_file=x"], "serve: expected either a folder of versions or --model_config_file"),
        (["folder", "--batching_parameters_file=x"], "--batching_parameters_file: expected --enable_batching with it"),
    ],
)
def test_serve_refuses_flags_that_contradict_each_other_within_a_second(arguments, message):
    done = _framecast("serve", *arguments)
    assert done.returncode == 2
    assert done.stderr == f"framecast: {message}\n"


def test_serve_takes_tensorflow_servings_files_and_stops_when_it_is_told(tmp_path):
    subprocess.run([sys.executable, str(_ROOT / "tests/serving/toy.py"), str(tmp_path / "toy")], check=True)
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


def test_no_library_talks_to_the_user():
    done = _framecast("check", str(_ROOT / "configs/radar.yaml"), "--set=model.preset=convlstm-tiny", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["findings"]["training step"].startswith("loss 0.")


def test_inspect_says_what_is_in_a_folder_and_draws_it(framecast, tmp_path):
    folder = _ROOT / "examples/radar"
    answer = framecast(
        "data", "inspect", folder / "train", folder / "eval", "--sheet", tmp_path / "sheet.png", "--json"
    )
    assert answer.code == 0, answer.text
    found = json.loads(answer.out)
    assert (found["clips"], found["sizes"]) == (40, {"128x128x1 uint8 PNG": 40})
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert framecast("data", "inspect", folder).code == 1  # README.md is no TFRecord.
