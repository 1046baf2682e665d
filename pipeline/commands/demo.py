"""`make demo`: generates clips, runs the pipeline, serves the model and forecasts held-out clips.

python -m framecast.pipeline.commands.demo --folder demo
"""

import argparse
import json
import pathlib
import subprocess
import sys

_CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"
_CLIPS = 700
_FRAMECAST = [sys.executable, "-W", "ignore", "-m", "framecast.pipeline.cli.main"]


def main() -> int:
    """Runs the demo and returns the exit code of the first failed step, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="demo")
    folder = pathlib.Path(parser.parse_args().folder).resolve()
    clips = folder / "clips"
    if not clips.exists():
        print(f"making moving digits in {clips}", flush=True)
        make = [sys.executable, "-W", "ignore", "-m", "framecast.clips.demo.moving_digits"]
        made = subprocess.run([*make, str(clips), f"--clips={_CLIPS}", "--seed=1"], stderr=subprocess.PIPE, text=True)
        if made.returncode:  # Shown only on failure, because TensorFlow prints start-up messages.
            print(made.stderr, file=sys.stderr)
            return made.returncode
    serving = folder / "serving" / "digits"
    settings = [f"data.train={clips}/train/*", f"data.eval={clips}/eval/*", f"push.directory={serving}"]
    overrides = [f"--set={setting}" for setting in settings]
    code = subprocess.run([*_FRAMECAST, "run", str(_CONFIG), *overrides, f"--workdir={folder / 'work'}"]).returncode
    if code:
        return code
    return _ask_server(serving, sorted((clips / "eval").iterdir()), folder / "forecast.gif")


def _ask_server(serving: pathlib.Path, clips: list[pathlib.Path], gif: pathlib.Path) -> int:
    command = [*_FRAMECAST, "serve", str(serving), "--port=0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            banner = server.stdout.readline()
            if not banner:
                return server.wait() or 1
            address = f"127.0.0.1:{json.loads(banner)['port']}"
            print(f"serving on {address}; forecasting held-out clips through gRPC", flush=True)
            query = ["query", *map(str, clips), f"--address={address}", "--holdout", f"--to={gif}"]
            return subprocess.run([*_FRAMECAST, *query]).returncode
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
