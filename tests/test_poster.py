"""The poster's experiments and the order experiments hold, and their checks see what is wrong."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from momentumflow._progress import SILENT
from momentumflow.experiments import (
    poster_figure_1,
    poster_figure_2,
    poster_figure_4,
    slides_modified_flow,
    slides_variance,
    strongly_convex,
)

POSTER = (poster_figure_1, poster_figure_2, poster_figure_4)
DAMAGE = [
    (poster_figure_1, "iterates", 1 + 1e-6),
    (poster_figure_1, "radius", 1.01),
    (poster_figure_2, "speed_up", 1.001),
    (poster_figure_2, "best", 1.001),
    (poster_figure_2, "crossing", 1.001),
    (poster_figure_4, "iterates", 1 + 1e-6),
    (poster_figure_4, "radius", 0.4),
    (poster_figure_4, "converges", 0),
    (slides_variance, "trace", 1.1),
    (slides_variance, "sampled_covariance", 1.2),
    (slides_variance, "regulariser", 1.1),
]


@pytest.fixture(scope="module")
def measured():
    quick = {module: module.PRESETS["quick"] for module in (*POSTER, slides_variance)}
    quick[slides_variance] = dataclasses.replace(quick[slides_variance], runs=5_000)
    return {module: module.run(config, SILENT) for module, config in quick.items()}


@pytest.mark.parametrize("module", [*POSTER, slides_variance], ids=lambda m: m.__name__.split(".")[-1])
def test_it_holds(measured, module):
    assert {c.name for c in module.checks(measured[module]) if not c.held} == set()


@pytest.mark.parametrize(
    ("module", "name", "factor"), DAMAGE, ids=[f"{m.__name__.split('.')[-1]}-{n}" for m, n, _ in DAMAGE]
)
def test_the_checks_see_another_number(measured, module, name, factor):
    damaged = measured[module].assign({name: factor * measured[module][name]})
    assert not all(c.held for c in module.checks(damaged))


def orders(module, order):
    """What an order experiment would have measured had every error the order that `order` gives its cell."""
    h = 2.0 ** -np.arange(4, 12, dtype=float)
    dims, cells = cells_of(module)
    errors = np.array([h ** order(cell) for cell in cells])
    coords = {dim: list(dict.fromkeys(cell[i] for cell in cells)) for i, dim in enumerate(dims)}
    shape = [len(values) for values in coords.values()]
    return xr.Dataset(
        {
            "error": ((*dims, "h"), errors.reshape(*shape, len(h))),
            "floor": ((*dims, "h"), np.zeros((*shape, len(h)))),
        },
        {**coords, "h": h},
    )


def cells_of(module):
    if module is strongly_convex:
        return ("loss", "optimizer"), [(a, b) for a in module._LOSSES for b in module._METHODS]
    settings = module._ORDERS
    return ("loss", "setting", "model"), [
        (a, b, c) for a in module._LOSSES for b in settings for c in module._FLOWS
    ]


def modified(cell):
    return slides_modified_flow._ORDERS[cell[1]].get(cell[2], 2.0)


def tuned(cell):
    return 0.0 if cell[1] == strongly_convex._PRINTED else 0.5


def with_textbook(data):
    """The quadratic's errors again, as the route without the library gives them."""
    rows = data["error"].sel(loss="quadratic", optimizer=list(strongly_convex._TEXTBOOK)).values
    return data.assign(textbook=(("textbook_optimizer", "h"), rows))


def test_checks_of_orders_hold_for_the_stated_orders_only():
    right = orders(slides_modified_flow, modified)
    assert all(c.held for c in slides_modified_flow.checks(right))
    for cell in cells_of(slides_modified_flow)[1]:
        if cell[1:] in slides_modified_flow._CASES:
            wrong = orders(slides_modified_flow, lambda c, cell=cell: modified(c) + 0.5 * (c == cell))
            assert not all(c.held for c in slides_modified_flow.checks(wrong))


def test_checks_of_order_one_half_hold_for_it_only():
    right = with_textbook(orders(strongly_convex, tuned))
    assert all(c.held for c in strongly_convex.checks(right))
    for cell in cells_of(strongly_convex)[1]:
        wrong = with_textbook(orders(strongly_convex, lambda c, cell=cell: tuned(c) + 0.5 * (c == cell)))
        assert not all(c.held for c in strongly_convex.checks(wrong))
    other = right.assign(textbook=1.001 * right["textbook"])
    assert not all(c.held for c in strongly_convex.checks(other))
