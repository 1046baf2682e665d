"""The command line: fast answers, exit codes, nothing heavy imported before it is needed."""

import json
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent.parent
_HEAVY = ("tensorflow", "tfx", "apache_beam", "keras")


def _framecast(*arguments):
    command = [sys.executable, "-m", "framecast.pipeline.cli", *arguments]
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
    found = json.loads(answer.text)
    assert (found["clips"], found["sizes"]) == (40, {"128x128x1 uint8 PNG": 40})
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert framecast("data", "inspect", folder).code == 1  # README.md is no TFRecord.
