"""The record of a trial, and the median stopping rule."""

import pytest

from framecast.models.tuning.trial_progress import TrialProgress, TrialStopped, check_median


def test_median_rule_equals_table():
    others = [{5: 1.0, 10: 0.5}, {5: 2.0, 10: 3.0}, {5: 4.0}]
    check_median(5, {5: 2.0}, others)  # As good as the median.
    with pytest.raises(TrialStopped, match="above 2, the median of 3"):
        check_median(5, {5: 2.1}, others)
    check_median(10, {5: 9.0, 10: 9.0}, others)  # Only two trials were evaluated at this step.
    check_median(10, {5: 1.0, 10: 9.0}, [*others, {5: 9.0, 10: 9.0}])  # Its lowest loss counts.


def test_written_record_is_read_back(tmp_path):
    assert TrialProgress.read(str(tmp_path)) == TrialProgress()
    progress = TrialProgress(evaluations={6: 0.5, 12: 0.25, 18: 0.75}, seconds=1.5, why="stopped")
    progress.write(str(tmp_path))
    assert TrialProgress.read(str(tmp_path)) == progress
    assert progress.best_step == 12
