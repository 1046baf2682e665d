"""Measures `framecast data convert` beside the bare decode and encode: `python benchmarks/convert.py`.

Makes files in a temporary folder: a 720p video, a TIFF stack, a NetCDF file of which a part is read, Moving MNIST, and
radar composites. Converts each at two sizes, and does the same work by hand with the same libraries: decode to the
kept part in gray or RGB, encode every frame. Prints clips a second, CPU seconds and peak memory of all processes.
Times are less those of a conversion of one tiny clip (imports, Beam) and of the bare loop's imports; memory is all.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import convert_cases
import psutil
from measuring import measuring, mib, run_step

_POLL = 0.02  # Seconds between two readings of the memory.


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(convert_cases.CASES), default=list(convert_cases.CASES))
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, path, *size = arguments.measure
        case = convert_cases.CASES[name]
        print(json.dumps(case.make(pathlib.Path(path), int(size[0])) if size else _bare(case, path)))
        return
    with tempfile.TemporaryDirectory() as folder:
        start = _convert(convert_cases.TINY, pathlib.Path(folder))
        print(f"one tiny clip: {start['cpu']:.1f} s of CPU, {mib(start['peak'])} MiB", flush=True)
        columns = ("clips", "clips/s", "CPU s", "bare CPU s", "ratio", "MiB", "bare MiB")
        print(f"{'':<46}" + "".join(f"{column:>11}" for column in columns))
        for name in arguments.cases:
            _measure(name, start)


def _measure(name: str, start: dict[str, Any]) -> None:
    """Makes the files of a case at each size; prints a row per size, and the ratio of what the larger one adds."""
    case = convert_cases.CASES[name]
    times: list[tuple[float, float]] = []
    for size in case.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            run_step(name, str(folder / "in"), str(size))
            stored = sum(file.stat().st_size for file in (folder / "in").iterdir())
            found = _convert(case, folder)
            bare = run_step(name, str(folder / "in"))
        if bare["frames"] != found["frames"]:
            raise RuntimeError(f"{name}: {found['frames']} frames converted, {bare['frames']} by the bare loop")
        times.append((found["cpu"] - start["cpu"], bare["cpu"]))
        cpu, bare_cpu = times[-1]
        seconds = found["seconds"] - start["seconds"]
        cells = (
            f"{found['clips']}",
            f"{found['clips'] / seconds:.1f}" if seconds > 1 else "",  # Less is within the noise of the start.
            f"{cpu:.2f}",
            f"{bare_cpu:.2f}",
            f"{cpu / bare_cpu:.2f}",
            f"{mib(found['peak'])}",
            f"{mib(bare['peak'])}",
        )
        title = f"{name}, {size} {case.unit}, {stored / 1e6:.0f} MB"
        print(f"{title:<46}" + "".join(f"{cell:>11}" for cell in cells), flush=True)
    (small, small_bare), (large, large_bare) = times
    print(f"{'':<46}{'ratio of the difference':>44}{(large - small) / (large_bare - small_bare):>11.2f}", flush=True)


def _convert(case: convert_cases.Case, folder: pathlib.Path) -> dict[str, Any]:
    """Converts the files in `folder/in` by the command line."""
    if case is convert_cases.TINY:
        case.make(folder / "in", case.sizes[0])
    command = [sys.executable, "-W", "ignore", "-m", "framecast.pipeline.cli.main", "data", "convert"]
    command += [str(folder / "in"), "--to", str(folder / "out"), "--json", *case.options]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (folder / "printed").open("wb") as printed, subprocess.Popen(command, stdout=printed) as process:
        peak = [0]
        poll = threading.Thread(target=_follow, args=(process, peak))
        poll.start()
        process.wait()
        poll.join()
    if process.returncode:
        raise RuntimeError(f"'{' '.join(command)}' exited with code {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    manifest = json.loads((folder / "printed").read_text().splitlines()[-1])
    seconds = time.monotonic() - began
    return {"cpu": cpu, "seconds": seconds, "peak": peak[0], "clips": manifest["clips"], "frames": manifest["frames"]}


def _follow(process: subprocess.Popen, peak: list[int]) -> None:
    """Records the peak memory of a process and its children until it ends."""
    while process.poll() is None:
        try:
            parent = psutil.Process(process.pid)
            total = sum(child.memory_info().rss for child in [parent, *parent.children(recursive=True)])
        except psutil.NoSuchProcess:
            total = 0
        peak[0] = max(peak[0], total)
        time.sleep(_POLL)


def _bare(case: convert_cases.Case, path: str) -> dict[str, Any]:
    """Decodes and encodes the frames with the libraries alone, as a clip's frames are encoded."""
    from framecast.clips import image_codec

    frames = case.decode(path)
    image_codec.encode_png(next(frames))  # Imports the libraries.
    del frames
    measured = measuring()
    count = total = 0
    with open(os.devnull, "wb") as sink:
        for pixels in case.decode(path):
            data = image_codec.encode_png(pixels)
            sink.write(data)
            total += len(data)
            count += 1
    return {**measured(), "frames": count, "encoded": total}


if __name__ == "__main__":
    main()
