"""Memory of ingest and Transform against the size of the data: `python benchmarks/memory.py`.

Runs `framecast run --to ...` on a number of clips and on ten times as many, each in a process of its own, and prints
peak memory beside that of the imports alone. Nothing of ours holds a split's frames: the peak should hardly move. The
clips are noise, which no image format makes smaller: whatever holds them, encoded or not, shows.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records

_CONFIG = """
data: {{train: "{folder}/clips-{clips}/train/*", eval: "{folder}/clips-{clips}/eval/*"}}
clip: {{frames: {{min: 8, max: 24}}}}
task: {{horizon: 5, context: {{min: 3}}}}
model: {{preset: convlstm-tiny}}
train: {{steps: 1}}
push: {{directory: "{folder}/serving"}}
"""
_IMPORTS = "import framecast.pipeline.dag, framecast.pipeline.report_line, framecast.pipeline.runner"
_SIZE = 128
_FRAMES = 16


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100, help="clips of the smaller data set")
    smaller = parser.parse_args().clips
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        base = _peak([sys.executable, "-W", "ignore", "-c", _IMPORTS])
        print(f"imports alone: {_mib(base)} MiB")
        print(f"{'up to':<16}{'clips':>8}{'frames':>8}{'peak MiB':>10}{'above imports':>15}{'bytes a frame':>15}")
        peaks: dict[str, list[int]] = {}
        for clips in (smaller, 10 * smaller):
            _write(folder / f"clips-{clips}", clips)
            config = folder / f"{clips}.yaml"
            config.write_text(_CONFIG.format(folder=folder, clips=clips))
            for component in ("ClipExampleGen", "Transform"):
                command = [sys.executable, "-m", "framecast.pipeline.cli", "run", str(config), "--to", component]
                peak = _peak([*command, "--workdir", str(folder / f"work-{clips}-{component}")])
                peaks.setdefault(component, []).append(peak)
                frames = _FRAMES * clips
                print(
                    f"{component:<16}{clips:>8}{frames:>8}{_mib(peak):>10}{_mib(peak - base):>15}"
                    f"{(peak - base) // frames:>15}"
                )
        for component, (small, large) in peaks.items():
            print(
                f"{component}: 10 times the data, peak x {large / small:.2f}, above imports x "
                f"{(large - base) / (small - base):.2f}; a frame is {_SIZE * _SIZE} bytes of pixels"
            )


def _write(folder: pathlib.Path, clips: int) -> None:
    """Writes `clips` clips, a seventh of them for evaluation."""
    rng = np.random.default_rng(0)
    for split, count in (("train", clips - clips // 7), ("eval", clips // 7)):
        (folder / split).mkdir(parents=True)
        names = (f"{split}-{number}" for number in range(count))
        noise = (rng.integers(0, 256, (_FRAMES, _SIZE, _SIZE, 1), np.uint8) for _ in range(count))
        examples = (
            encode_clip(frames, example_id=name, media_id=name, frame_rate=1.0) for name, frames in zip(names, noise)
        )
        write_records(str(folder / split / "clips.tfrecord.gz"), (example.SerializeToString() for example in examples))


def _peak(command: list[str]) -> int:
    """Runs a command and returns the peak resident memory of its process in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_maxrss * 1024


def _mib(size: int) -> int:
    return round(size / 2**20)


if __name__ == "__main__":
    main()
