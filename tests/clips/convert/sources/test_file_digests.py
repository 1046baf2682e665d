"""Tests when a file is read for its digest."""

import hashlib
import os

from framecast.clips.convert.sources.file_digests import FileDigests


def test_digest_follows_changed_content(tmp_path):
    path = tmp_path / "a.npy"
    for content in (b"one", b"three"):
        path.write_bytes(content)
        assert FileDigests().of(str(path)) == hashlib.sha256(content).hexdigest()


def test_units_of_one_file_read_it_once(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"one")
    os.utime(path, ns=(0, 0))
    FileDigests().of(str(path))
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 0))
    assert FileDigests().of(str(path)) == hashlib.sha256(b"one").hexdigest()
