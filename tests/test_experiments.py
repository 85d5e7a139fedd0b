"""Experiments: checks, the registry and its contract, the model module, the look of figures."""

import dataclasses
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import momentumflow.experiments as experiments
from momentumflow import _plot
from momentumflow._progress import SILENT
from momentumflow.experiments import record, registry, slides_flat_minima
from momentumflow.experiments.checks import RELATIONS, Check
from momentumflow.experiments.store import DATA

INFRASTRUCTURE = {
    "checks", "doctor", "page", "record", "registry", "runner", "show", "store", "summary", "svg", "words",
}  # fmt: skip


def check(computed, relation="within", expected=1.0, tolerance=0.1, refutes=False):
    return Check("x", computed, expected, tolerance, relation, "a test", refutes)


@pytest.mark.parametrize(
    ("relation", "computed", "held"),
    [
        ("within", 1.05, True),
        ("within", 0.95, True),
        ("within", 1.2, False),
        ("within", 0.8, False),
        ("at most", 1.05, True),
        ("at most", -math.inf, True),
        ("at most", 1.2, False),
        ("at least", 0.95, True),
        ("at least", math.inf, True),
        ("at least", 0.8, False),
    ],
)
def test_a_check_holds_as_its_relation_says(relation, computed, held):
    assert check(computed, relation).held is held
    assert check(computed, relation).verdict == ("held" if held else "failed")
    assert check(computed, relation, refutes=True).held is not held
    assert check(computed, relation, refutes=True).verdict == ("failed" if held else "refuted")


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("refutes", [False, True])
def test_nan_never_holds(relation, refutes):
    assert not check(math.nan, relation, refutes=refutes).held
    assert not check(1.0, relation, expected=math.nan, refutes=refutes).held


@given(st.floats(), st.floats(), st.floats(min_value=0), st.sampled_from(list(RELATIONS)), st.booleans())
def test_a_check_survives_json(computed, expected, tolerance, relation, refutes):
    before = check(computed, relation, expected, tolerance, refutes)
    after = Check.from_dict(json.loads(json.dumps(before.to_dict(), allow_nan=False)))
    assert repr(after) == repr(before)  # repr, since nan != nan


def test_a_check_takes_arrays_of_one_number():
    assert check(jax.numpy.float32(1.0)).computed == 1.0
    assert type(check(np.float64(1.0)).computed) is float
    assert type(check(xr.DataArray(1.0)).computed) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relation": "about"}, "relation must be one of within, at most, at least, got 'about'"),
        ({"tolerance": -1.0}, "tolerance must be >= 0, got -1.0"),
        ({"tolerance": math.nan}, "tolerance must be >= 0, got nan"),
        ({"source": " "}, "must name the source"),
    ],
)
def test_a_check_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(check(1.0), **change)


def test_every_module_of_the_folder_is_registered_or_infrastructure():
    found = {path.stem for path in Path(experiments.__file__).parent.glob("*.py") if path.stem[:2] != "__"}
    shared = {name for name in found if name.startswith("_")}
    assert found - shared - INFRASTRUCTURE == {entry.module for entry in registry.entries()}


@pytest.mark.parametrize("entry", registry.entries(), ids=lambda entry: entry.id)
def test_an_experiment_keeps_the_contract(entry):
    experiment = registry.load(entry)
    assert isinstance(experiment, registry.Experiment)
    assert experiment.__doc__
    assert set(experiment.PRESETS) == set(registry.PRESET_NAMES)
    for config in experiment.PRESETS.values():
        assert type(config) is experiment.Config
        assert type(config).__dataclass_params__.frozen
        assert record.plain(config)
        assert len(record.config_digest(config)) == 64
    assert all((entry.title, entry.source, entry.statement.endswith(".")))


def test_ids_are_unique_and_an_unknown_one_names_the_nearest():
    ids = [entry.id for entry in registry.entries()]
    assert len(set(ids)) == len(ids)
    with pytest.raises(
        ValueError, match="unknown experiment 'slides-flat-minimum': did you mean 'slides-flat-minima'"
    ):
        registry.find("slides-flat-minimum")


def test_select():
    assert registry.select(()) == registry.select(["all"]) == registry.entries()
    assert registry.select(["paper-theorem-6", "paper-figure-1", "paper-theorem-6"]) == (
        registry.find("paper-theorem-6"),
        registry.find("paper-figure-1"),
    )
    with pytest.raises(ValueError, match="unknown experiment"):
        registry.select(["all", "nothing"])


def test_a_config_of_other_things_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Config:
        value: object

    assert record.plain(Config((1, "a", (2.0,)))) == {"value": [1, "a", [2.0]]}
    for value in (np.ones(1), math.inf, {1, 2}):
        with pytest.raises(TypeError, match="a Config holds numbers"):
            record.plain(Config(value))


@pytest.fixture(scope="module")
def flat_minima():
    config = dataclasses.replace(slides_flat_minima.PRESETS["quick"], shown_steps=500)
    return slides_flat_minima.run(config, SILENT)


def test_flat_minima_hold(flat_minima):
    checks = slides_flat_minima.checks(flat_minima)
    assert [c.verdict for c in checks] == ["held"] * 7
    # by hand: w1² - w2² = 2.8² - 3.4² = -3.72 and 2 w1 w2 = 1.2 give √(3.72² + 1.2²) = 3.9087594
    assert checks[4].expected == pytest.approx(3.9087594, abs=1e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.8, 0.9])
def test_flat_minima_checks_see_a_wrong_end(flat_minima, momentum):
    other = flat_minima.copy(deep=True)
    other["sharpness"].loc[{"momentum": momentum}] *= 1.02
    assert not all(c.held for c in slides_flat_minima.checks(other))


def test_flat_minima_checks_see_a_trend_that_turns(flat_minima):
    other = flat_minima.assign(
        sharpness=flat_minima["sharpness"].copy(data=flat_minima["sharpness"].values[::-1])
    )
    assert not slides_flat_minima.checks(other)[5].held


def test_flat_minima_are_drawn_from_what_was_stored(flat_minima, tmp_path):
    flat_minima.to_netcdf(tmp_path / DATA, engine="h5netcdf")
    stored = xr.load_dataset(tmp_path / DATA, engine="h5netcdf")
    figure = slides_flat_minima.plot(stored)
    assert [c.held for c in slides_flat_minima.checks(stored)] == [True] * 7
    assert len(figure.axes) == 2
    assert min(text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))) >= 8


def test_every_method_and_model_has_its_own_colour_and_look():
    styles = list(_plot.MODEL_STYLE.values())
    assert len({style.color for style in styles}) == len(styles)
    with pytest.raises(ValueError, match="unknown method or model 'HBB': did you mean 'HB'"):
        _plot.of("HBB")


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with _plot.style():
        assert mpl.rcParams["svg.hashsalt"] == "momentumflow"
        _plot.figure()
    assert dict(mpl.rcParams) == before


def test_axes_of_powers_of_two_and_slopes():
    ax, h = _plot.figure().subplots(), 2.0 ** np.arange(-16, -3)
    _plot.log2_axis(ax, h)
    assert [text.get_text() for text in ax.get_xticklabels()] == [f"$2^{{{k}}}$" for k in range(-4, -17, -2)]
    _plot.reference_slope(ax, h, 0.5, 2)
    x, y = ax.lines[0].get_data()
    assert np.allclose(np.diff(np.log2(y)) / np.diff(np.log2(x)), 2)
    assert y[-1] == 0.5
