"""The report of a pushed, a rejected and a failed run."""

import base64
import dataclasses
import html.parser
import math
import pathlib
import re

import pytest

from framecast.evaluation.report.evidence import Evidence
from framecast.evaluation.report.report import write_report

_SECTIONS = ["verdict", "metrics", "slices", "answers", "training", "data", "timings", "provenance"]
_VOID = {"meta", "img", "br", "line", "path", "rect", "circle"}
_CONFIG = {
    "data": {"split_by": "clip/media_id"},
    "clip": {"frames": {"min": 8, "max": 12}, "value": {"unit": "dBZ", "scale": 0.25, "offset": -10.0}},
    "task": {"kind": "forecast", "horizon": 3, "context": {"min": 4}},
    "model": {"preset": "convlstm-tiny", "builder": None},
    "train": {"steps": 150, "loss": "mse"},
    "evaluate": {"thresholds": {"mse": {"max": 0.01}}},
}
_FIGURES = {
    "mse": 0.0123456789,
    "psnr": None,
    "mse_persistence": 0.03,
    "mse_persistence_blurred": 0.02,
    "skill": 0.3827160493827,
    **{f"mse/lead_{lead}": 0.004 * lead for lead in (1, 2, 3)},
    **{f"psnr/lead_{lead}": None if lead == 3 else 30.0 - lead for lead in (1, 2, 3)},
    **{f"mse_persistence/lead_{lead}": 0.01 * lead for lead in (1, 2, 3)},
    **{f"mse_persistence_blurred/lead_{lead}": 0.008 * lead for lead in (1, 2, 3)},
    **{f"skill/lead_{lead}": 0.5 - 0.1 * lead for lead in (1, 2, 3)},
    **{f"power_{length}px{key}": 0.4 for length in (2, 4, 128) for key in ("", "/lead_1", "/lead_2", "/lead_3")},
}
_EXAMPLES = {"id": 1, "key": "examples", "uri": "/artifacts/1", "execution": 1, "run": "20251231-120000-000001"}
_PUSHED = Evidence(
    config=_CONFIG,
    record={
        "verdict": "pushed",
        "why": "version 7 at serving/7",
        "version": "7",
        "figures": _FIGURES,
        "misses": [],
        "seconds": 222.4,
        "time": "2026-01-01T12:00:00+00:00",
        "data": "d1d1",
        "code": "c0de",
        "packages": {"tensorflow": "2.16.2"},
        "components": [
            {"name": "ServingModel", "state": "cached", "seconds": 0.1, "peak_memory": None, "note": "version 6"},
            {"name": "Trainer", "state": "done", "seconds": 137.5, "peak_memory": 2300 * 2**20, "note": "val loss 0.1"},
        ],
        "lineage": [
            {"id": 4, "component": "ClipExampleGen", "state": "cached", "inputs": [], "outputs": [_EXAMPLES]},
            {"id": 5, "component": "Trainer", "state": "failed", "inputs": [_EXAMPLES], "outputs": []},
        ],
        "drift": [
            {
                "span": 3, "clips": 96, "before": 2, "clips_before": 97, "why_not": "",
                "divergences": {"clip/mean": 0.94}, "thresholds": {"clip/mean": 0.3},
            }
        ],
    },
    ingest={
        "splits": {"train": {"clips": 52, "frames": 624, "short": 1}},
        "groups": {"train": 4},
        "short": 1,
        "lengths": {"8": 12, "12": 40},
        "sizes": {"128x96": 52},
        "reasons": {"frame-count": 5},
    },
    validated=True,
    training={
        "train": {"padding_share": 0.125, "bytes_per_pixel": 1.05},
        "best": {"step": 50, "val_loss": 0.0135, "metric": {"skill": 0.4375}},
        "start": "warm start from version 6",
        "precision": "mixed_bfloat16",
    },
    curves={
        "loss": [[1, 0.5], [100, 0.02]], "val_loss": [[50, 0.03]], "learning_rate": [[1, 0.0], [100, 0.001]],
        "gradient_norm": [[1, 20.0], [100, 0.125]], "val_skill": [[50, 0.4375]],
    },
    card={"frame_rate": 1 / 300},
    slices={
        "content: dense": {"mse": 0.02, "skill": 0.25},
        "content: sparse": {"mse": 0.01, "skill": 0.5},
        "source: radar": {"mse": 0.015, "skill": 0.3},
    },
    intervals={
        "recordings": 23,
        "figures": {"mse": [0.0111, 0.0333], "mse/lead_1": [0.002, 0.008], "skill": None},
        "slices": {"content: dense": {"skill": [0.1212, 0.3434]}, "content: sparse": {"skill": None}},
        "serving": {"mse/lead_1": [0.001, 0.009]},
        "differences": {"mse": [-0.0022, 0.0044]},
    },
    spectra={
        "truth": [[1e-4, 2e-4, 4e-4] + [None] * 10] * 3,
        "candidate": [[1e-5 / lead, 2e-5, 4e-5] + [None] * 10 for lead in (1, 2, 3)],
        "black": [[0.0, 0.0, 0.0] + [None] * 10] * 3,
    },
    serving={"mse": 0.015, "mse/lead_1": 0.005, "mse/lead_2": 0.01, "mse/lead_3": 0.015},
    extrapolation={
        "clips": 17,
        "figures": {
            "candidate": {"mse": 0.01, **{f"mse/lead_{lead}": 0.0125 * lead for lead in (1, 2, 3)}},
            "extrapolation": {"mse": 0.02, **{f"mse/lead_{lead}": 0.0135 * lead for lead in (1, 2, 3)}},
        },
    },
    shown=[
        {
            "role": "best", "clip": "<script>alert(1)</script>", "mse": 0.007, "skill_persistence": 0.8, "stride": 3,
            "gif": base64.b64encode(b"GIF89a").decode(),
        }
    ],
    sample={"clips": 16, "rule": "By skill."},
)  # fmt: skip
_MISS = {"metric": "mse", "lead_time": 2, "slice": "overall", "value": 0.0234567, "bound": "at most 0.01"}
_REJECTED = Evidence(
    **{**vars(_PUSHED), "record": {**_PUSHED.record, "verdict": "rejected", "version": None, "misses": [_MISS]}}
)
_FAILED = Evidence(
    config=_CONFIG, record={"verdict": "failed", "why": "ClipExampleGen: 1 bad clips or files:\nx < y", "version": None}
)


class _Page(html.parser.HTMLParser):
    """Checks that every tag is closed, and collects tags, attributes and texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.cells, self.texts = [], [], [], {}, []
        self._cell = None
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _VOID or (tag in {"circle", "path", "rect"} and self.get_starttag_text()[-2] != "/"):
            self.open.append(tag)
        if "data-key" in attributes:
            self._cell = attributes["data-key"]
            self.cells[self._cell] = [attributes["data-value"], ""]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())
        self._cell = None

    def handle_data(self, data):
        self.texts.append(data)
        if self._cell:
            self.cells[self._cell][1] += data

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def _page(tmp_path, evidence):
    with open(write_report(tmp_path / "report", evidence), encoding="utf-8") as file:
        return _Page(file.read())


@pytest.mark.parametrize("evidence", [_PUSHED, _REJECTED, _FAILED], ids=["pushed", "rejected", "failed"])
def test_page_is_complete_and_self_contained(tmp_path, evidence):
    page = _page(tmp_path, evidence)
    assert [value for name, value in page.attributes if name == "id" and value in _SECTIONS] == _SECTIONS
    assert "script" not in page.tags
    assert "link" not in page.tags
    for name, value in page.attributes:
        if name in ("src", "href", "srcset"):
            assert value.startswith("data:"), value
    text = (tmp_path / "report" / "index.html").read_text()
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text


def test_page_has_every_figure_in_full_precision(tmp_path):
    cells = _page(tmp_path, _PUSHED).cells
    assert {key: None if value == "None" else float(value) for key, (value, _) in cells.items()} == _FIGURES
    assert cells["mse"][1] == "0.01235"
    assert cells["psnr/lead_3"][1] == "not a number"


def test_pushed_run_shows_data_training_and_provenance(tmp_path):
    text = _page(tmp_path, _PUSHED).text
    for expected in (
        "Pushed",
        "convlstm-tiny for the task forecast, 3 frames ahead, run of 2026-01-01T12:00:00+00:00",
        "version 7 at serving/7", "Every threshold of the configuration was met",
        "Compared with the serving model (version 6) and the reference forecasts", "one frame every 5 minutes",
        "Best weights after step 50 of 150", "chosen by val skill 0.4375", "val_skill", "; warm start from version 6.",
        "12.5 %", "1.05", "128x96 (52 clips)", "frame-count", "0.94 > 0.3",
        "None: the statistics of every split match the schema", "137.5", "d1d1", "c0de", "2.16.2", "train.steps",
        "ServingModel cached 0.1 version 6", "Trainer done 137.5 2300 val loss 0.1",
        "ClipExampleGen 4 cached 1 examples 20251231-120000-000001", "Trainer 5 failed 1",
        "By skill.", "One pixel in 3 either way", "1 clips too short for the task",
    ):  # fmt: skip
        assert expected in text, expected
    assert "absent" not in {value for name, value in _page(tmp_path, _PUSHED).attributes if name == "class"}


def test_errors_are_drawn_in_the_clips_unit(tmp_path):
    page = _page(tmp_path, _PUSHED)
    # Root of 0.004 in [0, 1], a pixel value of 255 times 0.25 dBZ.
    assert f"candidate, 5: {math.sqrt(0.004) * 255 * 0.25:.4g}" in page.texts
    assert f"serving model, 15: {math.sqrt(0.015) * 255 * 0.25:.4g}" in page.texts
    assert f"persistence blurred, 10: {math.sqrt(0.016) * 255 * 0.25:.4g}" in page.texts


def test_spectra_are_drawn_in_the_clips_unit(tmp_path):
    page = _page(tmp_path, _PUSHED)
    assert [text for text in page.texts if text.endswith("minutes ahead") and text[0].isdigit()] == [
        "5 minutes ahead", "10 minutes ahead", "15 minutes ahead"
    ]  # fmt: skip
    assert f"truth, 4: {4e-4 * (255 * 0.25) ** 2:.4g}" in page.texts
    assert f"candidate, 2: {1e-5 / 3 * (255 * 0.25) ** 2:.4g}" in page.texts
    assert "(dBZ)², logarithmic" in page.texts
    assert "black has no waves" in page.text
    without = _page(tmp_path, dataclasses.replace(_PUSHED, spectra={}))
    assert "spectra" not in [value for name, value in without.attributes if name == "id"]


def test_powers_have_a_table_of_details(tmp_path):
    page = pathlib.Path(write_report(tmp_path, _PUSHED)).read_text()
    figures, powers = (
        page[page.index(f'<table id="{name}">') :].split("</table>")[0] for name in ("figures", "powers")
    )
    assert [name in figures for name in ("power_2px", "power_4px", "power_128px")] == [False, True, False]
    assert [name in powers for name in ("power_2px", "power_4px", "power_128px")] == [True, False, True]
    card = (tmp_path / "model_card.md").read_text()
    assert [f"| power_{length}px |" in card for length in (2, 4, 128)] == [False, True, False]


def test_skills_far_apart_have_a_linear_axis(tmp_path):
    skills = {f"skill_black/lead_{lead}": 0.9 for lead in (1, 2, 3)} | {
        f"skill/lead_{lead}": 0.01 for lead in (1, 2, 3)
    }
    record = {**_PUSHED.record, "figures": {**_FIGURES, "skill_black": 0.9, **skills}}
    page = pathlib.Path(write_report(tmp_path, dataclasses.replace(_PUSHED, record=record))).read_text()
    assert "logarithmic" not in page[page.index("skill") :].split("</figure>")[0]


def test_training_curves_are_drawn(tmp_path):
    page = _page(tmp_path, _PUSHED)
    for expected in ("train, 100: 0.02", "val, 50: 0.03", "learning rate, 100: 0.001", "gradient norm, 1: 20"):
        assert expected in page.texts, expected
    charts = {value for name, value in page.attributes if name == "aria-label"}
    assert {"loss by optimizer steps: train, val", "norm by optimizer steps: gradient norm"} <= charts
    # Ticks of a logarithmic axis.
    figure = (
        (tmp_path / "report" / "index.html")
        .read_text()
        .partition("<h3>Gradient norm</h3>")[2]
        .partition("</figure>")[0]
    )
    assert all(f">{tick}</text>" in figure for tick in ("0.1", "1", "10"))


def test_trials_are_sorted_by_val_loss(tmp_path):
    def trial(number, rate, loss, **changes):
        found = {"trial": number, "values": {"train.learning_rate": rate, "train.crop": None}, "val_loss": loss}
        return {
            **found,
            "step": 6,
            "steps": 6,
            "status": "finished",
            "why": "",
            "seconds": 2.5,
            "best": False,
            **changes,
        }

    trials = [
        trial(1, 0.1, None, status="failed", why="loss at step 3: <nan>"),
        trial(2, 0.0123456, 0.0345678, best=True),
        trial(3, 1e-5, 0.25, status="stopped", why="above the median"),
    ]
    path = write_report(tmp_path, dataclasses.replace(_PUSHED, record={**_PUSHED.record, "trials": trials}))
    section = re.search(r'<section id="trials">.*?</section>', pathlib.Path(path).read_text(), re.S)[0]
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", section, re.S)]
    assert [row[0] for row in rows] == ["trial", "2", "3", "1"]
    assert rows[0][1:3] == ["train.learning_rate", "train.crop"]
    assert rows[1][:5] == ["2", "(best)", "0.01235", "null", "0.03457"]
    assert "stopped: above the median" in section
    assert "failed: loss at step 3: &lt;nan&gt;" in section


def test_clip_names_are_escaped(tmp_path):
    assert "Best: <script>alert(1)</script>" in _page(tmp_path, _PUSHED).text


def test_rejected_run_lists_missed_thresholds(tmp_path):
    page = _page(tmp_path, _REJECTED)
    assert "mse 2 overall 0.0234567 at most 0.01" in page.text
    assert "Every threshold of the configuration was met" not in page.text
    card = (tmp_path / "report" / "model_card.md").read_text()
    assert "- mse at lead time 2 (overall): expected at most 0.01, received 0.0234567" in card


def test_failed_run_names_the_missing_parts(tmp_path):
    page = _page(tmp_path, _FAILED)
    assert "ClipExampleGen: 1 bad clips or files: x < y" in page.text
    for expected in (
        "No figures: the run ended before the Evaluator", "No slices",
        "None: the run ended before there was an evaluated model",
        "No training curves: the run ended before the Trainer", "No data summary",
        "Not known: the run ended before or at ValidationGate",
        "Nothing compared", "Not known here", "the run ended before all data were read",
    ):  # fmt: skip
        assert expected in page.text, expected


def test_model_card_has_the_same_figures(tmp_path):
    write_report(tmp_path, _PUSHED)
    lines = (tmp_path / "model_card.md").read_text().splitlines()
    start = lines.index("| metric | overall | 95 % interval | serving | 5 | 10 | 15 |")
    assert lines[start + 1] == "|---|---|---|---|---|---|---|"
    assert lines[start + 2] == "| mse | 0.01235 | 0.0111 to 0.0333 | 0.015 | 0.004 | 0.008 | 0.012 |"
    assert lines[start + 3] == "| psnr | not a number |  |  | 29 | 28 | not a number |"
    assert "- data digest: d1d1" in lines
    assert "- `train.steps`: 150" in lines


def test_other_tasks_show_confusion_and_roc(tmp_path):
    config = {**_CONFIG, "task": {"kind": "classify", "classes": 2}}
    record = {"verdict": "pushed", "why": "", "figures": {"accuracy": 0.75, "cross_entropy": 0.5}}
    sums = {"labels": 4, "confusion": [[2.0, 1.0], [0.0, 1.0]]}
    classify = _page(tmp_path, Evidence(config, record, sample={"clips": 4, "sums": sums}))
    assert "true class 0 1 0 2 1 1 0 1" in classify.text
    config = {**_CONFIG, "task": {"kind": "anomaly"}}
    record = {"verdict": "pushed", "why": "", "figures": {"mse": 0.1, "clip_roc_auc": 1.0}}
    counts = {"normal": [3, 1, 0], "anomalous": [0, 1, 3]}
    sums = {f"{level}_{label}": counts[label] for level in ("clip", "frame") for label in counts}
    anomaly = _page(tmp_path, Evidence(config, record, sample={"clips": 8, "sums": sums}))
    assert "clip, 0.25: 1" in anomaly.texts
    unlabelled = {**sums, "clip_anomalous": [0, 0, 0], "frame_anomalous": [0, 0, 0]}
    none = _page(tmp_path, Evidence(config, record, sample={"clips": 8, "sums": unlabelled}))
    assert "are not labelled both normal and anomalous" in none.text


def test_intervals_are_listed_and_shaded(tmp_path):
    page = _page(tmp_path, _PUSHED)
    for expected in (
        "1,000 resamples of the eval split's 23 recordings", "0.0111 to 0.0333", "0.1212 to 0.3434",
        "-0.0022 to 0.0044", "candidate - serving",
    ):  # fmt: skip
        assert expected in page.text, expected
    bands = [value for name, value in page.attributes if name == "class" and value == "band"]
    assert len(bands) == 2  # Candidate and serving model, of the mse alone.
    write_report(tmp_path, _PUSHED)
    card = (tmp_path / "model_card.md").read_text()
    assert "intervals by a bootstrap over 23 recordings" in card
    assert "| 0.0111 to 0.0333 |" in card


def test_forecast_is_compared_with_extrapolation(tmp_path):
    text = " ".join(_page(tmp_path, _PUSHED).texts)
    assert "The first 17 clips of the eval split" in text
    assert "mse candidate 0.01 0.0125 0.025 0.0375" in " ".join(text.split())
    assert "mse extrapolation 0.02 0.0135 0.027 0.0405" in " ".join(text.split())
    text = _page(tmp_path, Evidence(**{**vars(_PUSHED), "extrapolation": {}})).text
    assert "pip install framecast[extrapolation]" in text


def test_run_without_intervals_mentions_none(tmp_path):
    text = _page(tmp_path, Evidence(**{**vars(_PUSHED), "intervals": {}})).text
    assert "bootstrap" not in text
    assert "95 %" not in text


def test_slice_of_every_clip_is_left_out(tmp_path):
    text = _page(tmp_path, _PUSHED).text
    assert "content: sparse" in text
    assert "source: radar" not in text
