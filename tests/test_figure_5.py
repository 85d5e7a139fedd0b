"""Figure 5: nothing of Theorem 5 holds with the paper's h; inside the assumptions its corrected rate does."""

import numpy as np
import pytest

from momentumflow._progress import SILENT
from momentumflow.experiments import _figure_5_panels as panels
from momentumflow.experiments import paper_figure_5 as experiment


@pytest.fixture(scope="module")
def measured():
    return experiment.run(experiment.PRESETS["quick"], SILENT)


def test_it_holds(measured):
    assert {check.name for check in experiment.checks(measured) if not check.held} == set()


def test_the_corrected_bound_holds_at_every_step_and_the_printed_rate_is_right_only_near_tau(measured):
    assert float(experiment.over_bound(measured, "rate").max()) <= 1
    for name in measured["optimizer"].values:
        rows = measured.sel(optimizer=name)
        violated = panels.inside_decays(rows) > rows["ladder_printed_rate"].values
        assert violated.tolist() == [share < 1 for share in rows["share"].values]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: {"distance": data["distance"] * 1.01 ** data["n"]},
        lambda data: {"delta": 0 * data["delta"]},
        lambda data: {"inside_distance": data["inside_distance"] * 1.001 ** data["m"]},
        lambda data: {"inside_rate": data["inside_rate"] - 1e-5},
        lambda data: {"inside_printed_rate": data["inside_rate"]},
        lambda data: {"inside_off": data["inside_off"] + 1e-8},
        lambda data: {"inside_residual": data["inside_residual"] + 1e-9},
        lambda data: {"inside_margin": data["inside_margin"] - 1},
        lambda data: {"ladder_root": data["ladder_root"] + 1e-6},
        lambda data: {"ladder_rate": data["ladder_rate"] - 1e-4},
        lambda data: {"ladder_distance": data["ladder_distance"] * 1.0001 ** data["m"]},
        lambda data: {"ladder_printed_rate": data["ladder_rate"]},
    ],
)
def test_the_checks_see_an_error(measured, change):
    assert not all(check.held for check in experiment.checks(measured.assign(change(measured))))


def test_decay_is_the_factor_of_a_geometric_sequence():
    n = np.arange(3, 60)
    assert panels.decay(n, 7 * 0.93**n) == pytest.approx(0.93, rel=1e-12)


def test_it_is_drawn_in_a_readable_size(measured):
    figure = experiment.plot(measured)
    assert len(figure.axes) == 12
    assert min(text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))) >= 8
