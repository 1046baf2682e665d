"""`framecast data skew`: exit codes and features with skew, for similar and for different requests."""

import json
import re
import shutil

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import statistics_pb2

from framecast.clips.codec import decode_frames, encode_clip
from framecast.clips.demo.moving_digits import make_demo
from framecast.clips.records import find_files, write_records
from framecast.clips.validation import read_clips
from framecast.pipeline.config import config
from framecast.pipeline.runs import run
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from framecast.serving.client.request_log import RequestLog
from tests.pipeline.config_file import write_config

_HORIZON = 5
_SPEC = ClipSpec(frames=FrameRange(min=1, max=16))


def _movies(folder, seed, clips):
    """Makes dim clips, every third of them black, so that many clips share a value, as in dry radar data."""
    make_demo(folder, clips=clips, seed=seed, size=32, frames=(8, 16))
    clips = [decode_frames(clip, _SPEC) for path in find_files([str(folder)]) for clip in read_clips(path, _SPEC)]
    return [frames // 2 * np.uint8(number % 3 > 0) for number, frames in enumerate(clips)]


def _brighter(movies):
    return [(frames * 1.4).astype(np.uint8) for frames in movies]


class Project:
    """Two training sets with their configurations, and requests."""

    def __init__(self, folder):
        self.folder = folder
        self.training = _movies(folder / "demo", 0, 420)
        self.requests = [frames[:-_HORIZON] for frames in _movies(folder / "more", 1, 210)]
        for name, movies in (("dim", self.training), ("bright", _brighter(self.training))):
            (folder / name).mkdir()
            data = f'{{train: "{name}/*", shares: {{train: 8, val: 1, eval: 1}}}}'
            write_config(
                folder,
                f"{name}.yaml",
                data=data,
                clip="{frames: {min: 8, max: 16}, intervals: [0.1]}",
                task="{horizon: 5}",
            )
            records = (
                encode_clip(frames, example_id=f"{number}", media_id=f"{number}", frame_rate=10).SerializeToString()
                for number, frames in enumerate(movies)
            )
            write_records(folder / name / "clips.tfrecord.gz", records)

    def run(self, name):
        settings = config.load(str(self.folder / f"{name}.yaml"))
        assert run.run(settings, str(self.folder / "work"), None, "StatisticsGen", quiet=True).exit_code == 0


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("skew"))
    project.run("dim")
    return project


@pytest.fixture
def log(tmp_path):
    """Writes requests with a client's request log; returns the folder."""

    def write(clips):
        folder = tmp_path / "requests"
        shutil.rmtree(folder, ignore_errors=True)
        requests = RequestLog(folder, share=1)
        requests.add(clips)
        requests.close()
        return folder

    return write


@pytest.fixture
def skew(framecast, project):
    """Runs `framecast data skew`; returns the exit code and the JSON."""

    def compare(*arguments):
        done = framecast("data", "skew", project.folder / "work", *arguments, "--json")
        return done.code, json.loads(done.out)

    return compare


def _skewed(found):
    return [entry["feature"] for entry in found["divergences"] if entry["skew"]]


def test_requests_like_the_training_clips_pass(project, skew, log):
    code, found = skew(log(project.requests))
    assert (code, found["logged_clips"], found["bad_clips"]) == (0, 210, 0)


def test_brighter_requests_have_skew_in_brightness(project, skew, log):
    code, found = skew(log(_brighter(project.requests)))
    assert code == 3
    # Black pixels stay black, so empty share and content do not change.
    assert _skewed(found) == ["clip/mean", "clip/deviation", "clip/motion"]


def test_mostly_black_requests_have_skew_in_content(project, skew, log):
    code, found = skew(log([frames * np.uint8(number % 8 == 1) for number, frames in enumerate(project.requests)]))
    assert code == 3
    assert {"clip/empty_share", "clip/content"} <= set(_skewed(found))


def test_divergence_over_training_tenths_equals_scipy(project, skew, log):
    _, found = skew(log(_brighter(project.requests)))
    with open(found["statistics"], "rb") as file:
        (statistics,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read()).datasets
    (mean,) = (feature for feature in statistics.features if feature.path.step[0] == "clip/mean")
    (tenths,) = (found for found in mean.num_stats.histograms if found.type == statistics_pb2.Histogram.QUANTILES)
    ends = np.unique([tenth.high_value for tenth in tenths.buckets])
    ingested = (project.folder / "work" / "artifacts" / "ClipExampleGen").glob("examples/*/Split-train/*")
    training = [decode_frames(clip, _SPEC) for path in ingested for clip in read_clips(str(path), _SPEC)]
    assert len(training) == found["training_clips"]
    counts = []
    for movies in (training, _brighter(project.requests)):
        means = np.float32([np.mean(frames / 255) for frames in movies])
        counts.append(np.bincount(np.digitize(means, ends, right=True), minlength=len(ends) + 1))
    (entry,) = (entry for entry in found["divergences"] if entry["feature"] == "clip/mean")
    assert entry["divergence"] == pytest.approx(jensenshannon(*counts, base=2) ** 2, abs=2e-3)


def test_bad_requests_are_counted_and_named(project, skew, log):
    broken = [np.repeat(frames, 3, axis=-1) for frames in project.requests]
    folder = log(project.requests[5:] + broken[:5])
    code, found = skew(folder)
    assert (code, found["logged_clips"], found["bad_clips"]) == (0, 210, 5)
    assert f"{next(folder.iterdir())}, record 205: clip requests-" in found["bad"][0]
    assert "expected 1 channels, received 3" in found["bad"][0]
    code, found = skew(log(project.requests[100:] + broken[:100]))
    assert (code, found["bad_clips"], _skewed(found)) == (3, 100, ["clip contract"])
    code, found = skew(log(broken))
    assert (code, _skewed(found)) == (3, ["clip contract"])


def test_given_threshold_replaces_the_default(project, skew, log):
    assert skew(log(project.requests), "--threshold", 0)[0] == 3
    assert skew(log(_brighter(project.requests)), "--threshold", 1)[0] == 0


def test_table_marks_features_with_skew(framecast, project, log):
    answer = framecast("data", "skew", project.folder / "work", log(_brighter(project.requests)))
    rows = [re.split(r" {2,}", line) for line in answer.text.splitlines()]
    verdicts = {row[0]: row[-1] == "skew" for row in rows if len(row) == 4}
    assert verdicts == {
        "clip contract": False,
        "clip/mean": True,
        "clip/deviation": True,
        "clip/empty_share": False,
        "clip/motion": True,
        "clip/content": False,
    }


def test_workdir_without_statistics_is_named(framecast, project, tmp_path, log):
    settings = config.load(str(project.folder / "dim.yaml"))
    run.run(settings, str(tmp_path / "work"), None, "ClipExampleGen", quiet=True)
    answer = framecast("data", "skew", tmp_path / "work", log(project.requests[:1]))
    assert answer.code == 1
    assert f"{tmp_path / 'work'}: expected a run whose StatisticsGen finished, received none" in answer.text


def test_usage_errors_and_failures_have_different_codes(framecast, project, tmp_path, log):
    requests = log(project.requests[:1])
    answer = framecast("data", "skew", tmp_path, requests)
    assert answer.code == 1
    assert f"{tmp_path}: expected the work directory of a run" in answer.text
    answer = framecast("data", "skew", project.folder / "work", tmp_path / "nowhere")
    assert answer.code == 1
    assert "nowhere: expected files, received none" in answer.text
    assert framecast("data", "skew", project.folder / "work").code == 2
    assert framecast("data", "skew", project.folder / "work", requests, "--threshold", 2).code == 2


def test_newest_run_is_compared_also_if_cached(project, skew, log):
    bright = log(_brighter(project.requests))
    project.run("bright")
    assert skew(bright)[0] == 0
    project.run("dim")
    assert skew(bright)[0] == 3
