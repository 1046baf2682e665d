"""Plain-text tables."""

from framecast.pipeline.tables import cell, columns


def test_numbers_are_right_aligned_and_text_left():
    text = columns([["metric", "overall", "verdict"], ["mse", cell(0.25), "better"], ["  lead 1", "12.5", "no"]])
    assert text.splitlines() == [
        "metric    overall  verdict",
        "mse          0.25  better",
        "  lead 1     12.5  no",
    ]


def test_missing_numbers_do_not_change_the_alignment():
    text = columns([["", "seconds"], ["a", cell(None)], ["b", ""], ["c", cell(12345.6)]])
    assert text.splitlines() == ["     seconds", "a       none", "b", "c  1.235e+04"]


def test_long_cells_and_markup_are_printed_unchanged():
    path = "[bold]/very" * 200
    assert columns([["path"], [path]]) == f"path\n{path}"
