"""Tests the lazy public interfaces of `framecast.schemas`, `framecast.clips` and `framecast.clips.convert`."""

import subprocess
import sys

import numpy as np
import pytest

from framecast import clips, schemas
from framecast.clips import convert


@pytest.mark.parametrize("package", [schemas, clips, convert], ids=lambda package: package.__name__)
def test_every_exported_name_resolves(package):
    assert package.__all__
    assert all(getattr(package, name).__name__ == name for name in package.__all__)


def test_import_loads_nothing_heavy():
    code = (
        "import sys, framecast.schemas, framecast.clips, framecast.clips.convert;"
        "print({'apache_beam', 'numpy', 'pydantic', 'tensorflow'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_example_of_the_docstring_runs(tmp_path, frames):
    path = tmp_path / "clips.tfrecord.gz"
    example = clips.encode_clip(frames, example_id="storm-0", media_id="storm", frame_rate=1 / 300)
    clips.write_records(path, [example.SerializeToString()])
    spec = schemas.ClipSpec(frames=schemas.FrameRange(min=2, max=24))
    (read,) = clips.read_clips(str(path), spec)
    np.testing.assert_array_equal(clips.decode_frames(read, spec), frames)
