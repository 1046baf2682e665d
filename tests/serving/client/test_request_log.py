"""The request log: logged clips equal the requested ones, and forecasts neither wait for the log nor fail with it."""

import logging
import os
import subprocess
import sys
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.records import find_files, read_records
from framecast.clips.validation import read_clips
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from framecast.serving.client import Client, RequestLog, request_log
from framecast.serving.server.model_config import one_model
from framecast.serving.server.server import Server

_SPEC = ClipSpec(frames=FrameRange(min=1, max=8))


@pytest.fixture(scope="module")
def address(exported, tmp_path_factory):
    base_path = tmp_path_factory.mktemp("toy")
    os.symlink(exported(1.0), base_path / "1")
    with Server(one_model("toy", str(base_path))) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "requests"


def logged(folder):
    """Returns the clips in a log, validated against the clip contract."""
    return [clip for path in find_files([str(folder)]) for clip in read_clips(path, _SPEC)]


def frames_of(clip):
    encoded = clip.feature_lists.feature_list["image/encoded"].feature
    return np.stack([tf.io.decode_png(frame.bytes_list.value[0]).numpy() for frame in encoded])


def text(clip, name):
    return clip.context.feature[name].bytes_list.value[0].decode()


def add(folder, clips, **arguments):
    log = RequestLog(folder, share=1, **arguments)
    log.add(clips)
    log.close()


def test_logged_clips_equal_the_requested_ones(address, folder, random_clip):
    asked = [random_clip(0), random_clip(1, 5, 16, 12), random_clip(2)]
    with Client(address, model="toy", log=RequestLog(folder, share=1, frame_rate=0.2)) as client:
        client.forecast(asked[:2])
        client.forecast(asked[2:])
    clips = logged(folder)
    for clip, frames in zip(clips, asked, strict=True):
        np.testing.assert_array_equal(frames_of(clip), frames)
    times = [time.int64_list.value[0] for time in clips[0].feature_lists.feature_list["image/timestamp"].feature]
    assert times == [0, 5_000_000, 10_000_000]
    assert len({text(clip, "example/id") for clip in clips}) == 3
    assert len({text(clip, "clip/media_id") for clip in clips}) == 1


def test_requested_examples_are_logged_unchanged(address, folder, tmp_path, random_clip):
    add(tmp_path / "made", [random_clip(0), random_clip(1, 5)])
    examples = [record for path in find_files([str(tmp_path / "made")]) for _, record in read_records(path)]
    with Client(address, model="toy", log=RequestLog(folder, share=1)) as client:
        client.forecast_examples(examples)
    assert [record for path in find_files([str(folder)]) for _, record in read_records(path)] == examples


def test_refused_requests_are_not_logged(address, folder, random_clip):
    with Client(address, model="toy", log=RequestLog(folder, share=1)) as client:
        with pytest.raises(grpc.RpcError):
            client.forecast([random_clip(0), np.zeros((0, 8, 6, 1), np.uint8)])
        with pytest.raises(grpc.RpcError):
            client.forecast_examples([tf.train.SequenceExample().SerializeToString()])
    assert not folder.exists()


def test_array_overwritten_later_is_logged_as_requested(folder, random_clip, monkeypatch):
    clip = random_clip(0)
    asked = clip.copy()
    go = threading.Event()
    encode = request_log.encode_clip
    monkeypatch.setattr(request_log, "encode_clip", lambda *args, **kwargs: go.wait() and encode(*args, **kwargs))
    log = RequestLog(folder, share=1)
    log.add([clip])
    clip[:] = 0
    go.set()
    log.close()
    np.testing.assert_array_equal(frames_of(logged(folder)[0]), asked)


def test_share_of_the_clips_is_logged(folder, tmp_path):
    clips = list(np.arange(400, dtype=np.uint16).reshape(400, 1, 1, 1, 1))
    drawn = []
    for place in (folder, tmp_path / "again"):
        log = RequestLog(place, share=0.25, seed=7)
        log.add(clips)
        log.close()
        spec = _SPEC.model_copy(update={"dtype": "uint16"})
        read = [clip for path in find_files([str(place)]) for clip in read_clips(path, spec)]
        drawn.append([text(clip, "example/id").rpartition("-")[2] for clip in read])
    assert drawn[0] == drawn[1]
    assert 65 <= len(drawn[0]) <= 135  # Within four standard deviations of the binomial's 100.


def test_files_are_completed_at_their_size(folder, random_clip):
    add(folder, [random_clip(seed) for seed in range(20)], file_bytes=3000)
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert len(sizes) > 2
    assert max(sizes) < 3000 + 1000
    assert len(logged(folder)) == 20
    assert all(path.suffix == ".tfrecord" and not path.name.startswith(".") for path in folder.iterdir())


def test_old_file_is_completed_without_another_request(folder, random_clip, monkeypatch, wait_until):
    monkeypatch.setattr(request_log, "_LONGEST_OPEN", 0.01)
    log = RequestLog(folder, share=1)
    log.add([random_clip(0)])
    wait_until(lambda: folder.exists() and list(folder.glob("2*.tfrecord")), what="a complete file")
    log.add([random_clip(1)])
    log.close()
    assert len(logged(folder)) == 2


def test_full_folder_ends_the_log_with_one_warning(address, folder, random_clip, caplog):
    clips = [random_clip(seed) for seed in range(20)]
    add(folder, clips[:3])
    log = RequestLog(folder, share=1, file_bytes=2000, most_bytes=6000)
    with Client(address, model="toy", log=log) as client:
        for clip in clips:
            assert len(client.forecast([clip])) == 1
    assert 3 < len(logged(folder)) < 20
    assert 5000 < sum(path.stat().st_size for path in folder.iterdir()) <= 6000
    assert [record.message for record in caplog.records if record.name == request_log.__name__] == [
        f"{folder}: request log ended: the folder has reached most_bytes=6000"
    ]


def test_unwritable_log_fails_no_forecast(address, folder, random_clip, caplog):
    folder.write_text("a file where the folder should be")
    with Client(address, model="toy", log=RequestLog(folder, share=1)) as client:
        for seed in range(3):
            assert len(client.forecast([random_clip(seed)])) == 1
    (record,) = [record for record in caplog.records if record.name == request_log.__name__]
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is FileExistsError


def test_disk_error_leaves_only_complete_files(folder, random_clip, monkeypatch, caplog):
    write = request_log.write_records

    def fail(path, records):
        write(path, [next(records)])
        raise OSError("no space left on device")

    add(folder, [random_clip(0)])
    monkeypatch.setattr(request_log, "write_records", fail)
    add(folder, [random_clip(1), random_clip(2)])
    assert len(logged(folder)) == 1
    assert len(list(folder.iterdir())) == 1
    assert "no space left on device" in caplog.text


def test_forecasts_do_not_wait_for_a_slow_log(address, folder, random_clip, monkeypatch, caplog):
    go = threading.Event()
    write = request_log.write_records
    monkeypatch.setattr(request_log, "write_records", lambda *args: go.wait() and write(*args))
    monkeypatch.setattr(request_log, "_MOST_WAITING", 5 * random_clip(0).nbytes)
    with Client(address, model="toy", log=RequestLog(folder, share=1)) as client:
        for seed in range(20):
            client.forecast([random_clip(seed)])
        go.set()
    # Five fit into the queue, and a sixth if the first was taken off before it arrived.
    dropped = 20 - len(logged(folder))
    assert dropped in (14, 15)
    assert f"dropped {dropped} clips" in caplog.text


def test_single_clip_may_exceed_the_queue(folder, random_clip, monkeypatch):
    monkeypatch.setattr(request_log, "_MOST_WAITING", 1)
    add(folder, [random_clip(0)])
    assert len(logged(folder)) == 1


def test_several_logs_share_a_folder(folder, random_clip):
    logs = [RequestLog(folder, share=1, file_bytes=1000) for _ in range(4)]
    for log in logs:
        log.add([random_clip(seed) for seed in range(10)])
    for log in logs:
        log.close()
    assert len({text(clip, "example/id") for clip in logged(folder)}) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"share": 1.5}, "share: .* received 1.5"), ({"frame_rate": 0}, "frame_rate: .* received 0")],
)
def test_argument_out_of_range_is_refused(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        RequestLog(folder, **arguments)


_CLIENT = """
import sys
import time
import numpy as np
from framecast.serving.client import Client
assert "framecast.clips.codec" not in sys.modules, "a client without a log imports the log's packages"
from framecast.serving.client.request_log import RequestLog
log = RequestLog(sys.argv[1], share=1, file_bytes=2**15)
# Noise does not compress: the first clip fills a file, and the others together do not.
log.add([np.random.default_rng(0).integers(0, 256, (8, 128, 64, 1), np.uint8)])
log.add([np.full((3, 8, 6, 1), number, np.uint8) for number in range(19)])
if sys.argv[2] == "wait":
    time.sleep(600)
"""


def _client(folder, then):
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", _CLIENT, str(folder), then])


def test_killed_process_leaves_complete_files(folder, wait_until):
    process = _client(folder, "wait")
    try:
        wait_until(lambda: list(folder.glob("2*.tfrecord")) and list(folder.glob(".2*.tfrecord")), what="an open file")
    finally:
        process.kill()
        process.wait()
    assert len(logged(folder)) == 1


def test_unclosed_log_is_completed_at_exit(folder):
    assert _client(folder, "end").wait(120) == 0
    assert len(logged(folder)) == 20
