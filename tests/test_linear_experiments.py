"""The experiments of the linear theory hold, and their checks see what is wrong."""

import pytest

from momentumflow._progress import SILENT
from momentumflow.experiments import cycling_heavy_ball, optimal_tuning, stability_plane

MODULES = (stability_plane, optimal_tuning, cycling_heavy_ball)
DAMAGE = [
    (stability_plane, "gap", lambda x: x + 1e-3),
    (stability_plane, "disagreeing", lambda x: x + 1),
    (stability_plane, "defect", lambda x: x + 1e-6),
    (stability_plane, "dot_regime", lambda x: 3 - x),
    (stability_plane, "dot_factor", lambda x: 1.001 * x),
    (stability_plane, "regime", lambda x: 0 * x + 1),
    (optimal_tuning, "measured", lambda x: x + 1e-5),
    (optimal_tuning, "power", lambda x: 0 * x),
    (optimal_tuning, "worst", lambda x: 0.99 * x),
    (optimal_tuning, "beside", lambda x: x**2),
    (cycling_heavy_ball, "cycle", lambda x: x + 1e-11),
    (cycling_heavy_ball, "half_trace", lambda x: -x),
    (cycling_heavy_ball, "determinant", lambda x: x + 1e-6),
    (cycling_heavy_ball, "border", lambda x: x + 1e-3),
    (cycling_heavy_ball, "cycles", lambda x: 0 * x),
    (cycling_heavy_ball, "end", lambda x: 0 * x),
    (cycling_heavy_ball, "end", lambda x: x + 1),
    (cycling_heavy_ball, "exact", lambda x: x + 1),
]


def name(module):
    return module.__name__.split(".")[-1]


@pytest.fixture(scope="module")
def measured():
    return {module: module.run(module.PRESETS["quick"], SILENT) for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_it_holds(measured, module):
    assert {c.name for c in module.checks(measured[module]) if not c.held} == set()


@pytest.mark.parametrize(("module", "key", "change"), DAMAGE, ids=[f"{name(m)}-{k}" for m, k, _ in DAMAGE])
def test_the_checks_see_another_number(measured, module, key, change):
    damaged = measured[module].assign({key: change(measured[module][key])})
    assert not all(c.held for c in module.checks(damaged))


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_it_is_drawn_in_a_readable_size(measured, module):
    figure = module.plot(measured[module])
    assert min(text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))) >= 8
