"""Tests record counts, digests, damage and duplicates in a survey of clip files."""

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from framecast.clips.beam import BEAM_RUNNER
from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from framecast.clips.survey import survey_files


def _clip(name):
    frames = np.zeros((2, 4, 4, 1), np.uint8)
    return encode_clip(frames, example_id=name, media_id="m", frame_rate=1.0).SerializeToString(deterministic=True)


def _make_pipeline():
    return beam.Pipeline(options=PipelineOptions([f"--runner={BEAM_RUNNER}"]))


@pytest.fixture
def survey(tmp_path):
    def run(**files):
        paths = []
        for name, records in files.items():
            paths.append(str(tmp_path / name))
            write_records(paths[-1], records)
        (tmp_path / "work").mkdir(exist_ok=True)
        return survey_files(paths, _make_pipeline, str(tmp_path / "work"))

    return run


def test_digest_depends_on_records_only(survey, tmp_path):
    found = survey(a=[_clip("x"), _clip("y")], b=[_clip("z")], c=[])
    facts = [found.files[str(tmp_path / name)] for name in "abc"]
    assert [own.records for own in facts] == [2, 1, 0]
    assert len({own.digest for own in facts}) == 3
    assert (found.faults, found.duplicates) == ([], {})
    again = survey(a=[_clip("x"), _clip("y")], b=[_clip("w")])
    assert again.files[str(tmp_path / "a")] == facts[0]
    assert again.files[str(tmp_path / "b")] != facts[1]


def test_duplicate_names_are_listed_except_first(survey, tmp_path):
    found = survey(a=[_clip("x"), b"no clip", _clip("y")], b=[_clip("y"), _clip("x"), _clip("x")])
    assert set(found.duplicates) == {(str(tmp_path / "b"), record) for record in range(3)}
    assert found.duplicates[str(tmp_path / "b"), 2] == (
        f"{tmp_path}/b, record 2: clip x: expected a unique example/id, also used by {tmp_path}/a, record 0"
    )


def test_damage_is_listed_and_readable_records_counted(survey, tmp_path):
    survey(a=[_clip("x"), _clip("y"), _clip("z")])
    path = tmp_path / "a"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    found = survey_files([str(path)], _make_pipeline, str(tmp_path / "work"))
    assert found.files[str(path)].records == 2
    assert len(found.faults) == 1
    assert found.faults[0].startswith(f"{path}, record 2: truncated data")
