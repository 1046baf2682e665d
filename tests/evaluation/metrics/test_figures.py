"""Selection of figures."""

from framecast.evaluation.metrics import figures as metric_figures

POWERS = {
    f"power_{length}{ending}{lead}": 0.5
    for length in ("2px", "4px", "128px")
    for ending in ("", "_black")
    for lead in ("", "/lead_1")
}


def test_powers_except_sharpness_are_details():
    assert list(metric_figures.overall(POWERS)) == ["power_4px", "power_4px_black"]
    assert list(metric_figures.powers(POWERS)) == ["power_2px", "power_2px_black", "power_128px", "power_128px_black"]


def test_horizon_is_the_last_lead_time():
    assert metric_figures.horizon({"mse": 0.1, "mse/lead_2": 0.1, "mse/lead_10": None}) == 10
    assert metric_figures.horizon({"mse": 0.1}) == 0


def test_base_metric_drops_the_reference():
    names = ["mse", "mse_black", "mse_persistence_blurred", "mse_frame"]
    assert [metric_figures.base_metric(name, names) for name in names] == [None, "mse", "mse", None]
