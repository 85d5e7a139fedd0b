"""The modified equation of Euler's method as kauri (Shmelev, 2025) has it, by substitution of B-series in floats."""

import pytest

import momentumflow as mf
from momentumflow.expansion.trees import symmetry, trees

kauri = pytest.importorskip("kauri", reason="kauri is not installed: it is a development dependency")


def in_kauri(tree):
    return [in_kauri(child) for child in tree]


@pytest.mark.parametrize("order", range(1, 8))
def test_gradient_descent_equals_euler(order):
    """ω(τ) = log(δ_∅ + δ_•) of Chartier, Hairer & Vilmart (2010) is β(τ); order 7 takes kauri 3 s."""
    found = mf.modified_equation(order, 0, 0)
    for tree in trees(order):
        assert kauri.omega(kauri.Tree(in_kauri(tree))) / symmetry(tree) == pytest.approx(
            float(found[tree]), abs=1e-14
        )
