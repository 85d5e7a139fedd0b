"""Figures of results: what is drawn is what was measured, in the look of its name."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import momentumflow as mf
from momentumflow import _plot

H = 2.0 ** -np.arange(4, 11)


@pytest.fixture
def ax():
    return mf.plot.figure(4, 3).subplots()


@pytest.fixture(scope="module")
def run():
    return mf.iterate(mf.heavy_ball(0.05, 0.5), mf.Quadratic([1.0, 5.0]), jnp.array([1.0, 2.0]), 20)


def study(order=2, floor=1e-12, label="", rates=H):
    return mf.ConvergenceStudy(rates, 3 * rates**order, np.full(len(rates), floor), label)


def data(lines):
    return np.stack(lines.get_data(), axis=1)


def test_every_public_function_explains_itself():
    for name in mf.plot.__all__:
        assert ">>> " in getattr(mf.plot, name).__doc__


def test_a_trajectory_is_drawn_in_its_plane_or_against_time(run, ax):
    assert mf.plot.trajectories(run, ax, "HB") is ax
    (line,) = ax.lines
    assert np.allclose(data(line), run.params)
    assert (line.get_label(), line.get_marker(), line.get_linestyle()) == ("HB", "o", "None")
    assert to_hex(line.get_color()) == _plot.of("HB").color
    mf.plot.trajectories(run, ax, components=1, color="red", linestyle="--")
    assert np.allclose(data(ax.lines[1]), np.stack([run.times, run.params[:, 1]], axis=1))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time $t$", "$u_2$")
    mf.plot.trajectories({"mine": run, "momentum ODE (11)": run}, ax, components=(1, 0))
    assert [line.get_label() for line in ax.lines[2:]] == ["mine", "momentum ODE (11)"]
    assert np.allclose(data(ax.lines[3]), run.params[:, ::-1])


def test_the_entries_of_a_pytree_are_named(ax):
    params = {"bias": jnp.zeros(()), "weight": jnp.ones((2, 2))}
    loss = lambda p: p["bias"] ** 2 + jnp.sum(p["weight"] ** 2)  # noqa: E731
    run = mf.iterate(mf.gradient_descent(0.1), loss, params, 3)
    mf.plot.trajectories(run, ax, components=(0, 3))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("bias", "weight[1][0]")
    mf.plot.trajectories(mf.iterate(mf.gradient_descent(0.1), jnp.sum, jnp.ones((1, 1)), 3), ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time $t$", "$u_{1,1}$")


def test_what_is_not_finite_is_left_out(ax):
    run = mf.iterate(mf.gradient_descent(10.0), lambda u: jnp.sum(u**4), jnp.ones(1), 20)
    mf.plot.trajectories(run, ax)
    assert np.isfinite(ax.lines[0].get_ydata()[:5]).all()
    assert np.isnan(ax.lines[0].get_ydata()[-1])
    ax.figure.savefig("/dev/null", format="png")


def test_trajectories_refuse_what_they_cannot_draw(run, ax):
    wide = mf.iterate(mf.gradient_descent(0.1), lambda u: jnp.sum(u**2), jnp.ones(3), 3)
    with pytest.raises(ValueError, match=r"params have 3 entries: choose components=\(i, j\)"):
        mf.plot.trajectories(wide, ax)
    for components in (3, -1, (0, 3), (-1, 0)):
        with pytest.raises(ValueError, match=r"components must be i or \(i, j\) from 0 to 2, got"):
            mf.plot.trajectories(wide, ax, components=components)
    many = eqx.filter_vmap(lambda h: mf.iterate(mf.gradient_descent(h), jnp.sum, jnp.ones(1), 3))(jnp.ones(4))
    with pytest.raises(ValueError, match=r"one run is drawn, got an ensemble of shape \(4,\)"):
        mf.plot.trajectories(many, ax)
    with pytest.raises(ValueError, match="unknown method or model 'HBB': did you mean 'HB'"):
        mf.plot.look("HBB")


def test_the_distance_is_over_all_leaves(run, ax):
    other = eqx.tree_at(lambda r: r.params, run, run.params + jnp.array([3.0, 4.0]))
    mf.plot.distance(run, {"slow flow (20)": other, "the same": run}, ax)
    assert np.allclose(ax.lines[0].get_ydata(), 5)
    assert np.isnan(ax.lines[1].get_ydata()).all()  # no logarithm of 0
    assert ax.get_yscale() == "log"
    shorter = eqx.tree_at(lambda r: (r.times, r.params), run, (run.times[:5], run.params[:5]))
    with pytest.raises(ValueError, match="must have the run's times and params"):
        mf.plot.distance(run, shorter, ax)


def test_convergence_draws_each_study_and_one_slope_for_each_order(ax):
    studies = {"slow flow (20)": study(2), "(19) as printed": study(1), "mine": study(1, label="its own")}
    mf.plot.convergence(studies, ax)
    labels = [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]
    assert labels == ["slow flow (20)", "(19) as printed", "its own"]
    assert sorted(text.get_text() for text in ax.texts) == ["slope 1", "slope 2"]
    shown = {line.get_label(): line for line in ax.lines}
    assert np.allclose(data(shown["its own"]), np.stack([H, 3 * H], axis=1))
    assert (shown["slow flow (20)"].get_linestyle(), shown["slow flow (20)"].get_marker()) == ("-.", "o")
    bare = mf.plot.convergence(studies, mf.plot.figure().subplots(), reference=False)
    assert not bare.texts


def test_orders_are_those_above_the_floor(ax):
    mf.plot.orders({"HB": study(2, floor=3 * H[-2] ** 2)}, ax, expected=2)
    (line,) = ax.lines
    assert np.allclose(line.get_ydata()[:-2], 2)
    assert np.isnan(line.get_ydata()[-2:]).all()
    assert (line.get_linestyle(), line.get_marker()) == ("-", "o")
    assert ax.xaxis_inverted()
    mf.plot.orders(study(1, rates=H[2:]), ax, label="mine")
    assert ax.xaxis_inverted()
    left, right = ax.get_xlim()
    assert left > H[0]
    assert right < H[-2]


def test_a_stored_ladder_is_drawn_like_the_study(ax):
    error = np.where(np.arange(7) < 6, H, np.nan)  # padded, as ladders of unlike length are stored
    dims = ("kappa", "h")
    stored = xr.Dataset({"error": (dims, [error]), "floor": (dims, [0 * H])}, {"h": H, "kappa": [5]})
    mf.plot.convergence(stored.sel(kappa=5), ax)
    assert np.allclose(data(ax.lines[0]), np.stack([H[:-1]] * 2, axis=1))
    mf.plot.orders({"HB": stored.sel(kappa=5)}, mf.plot.figure().subplots())
    with pytest.raises(ValueError, match=r"a ladder has the one dimension h, got \('kappa', 'h'\)"):
        mf.plot.orders(stored, ax)


def test_contours_stay_within_the_limits_and_below_the_data(run, ax):
    mf.plot.trajectories(run, ax)
    before = ax.get_xlim(), ax.get_ylim()
    mf.plot.contours(mf.Quadratic([1.0, 5.0]), run.params[0], ax)
    assert (ax.get_xlim(), ax.get_ylim()) == before
    (curves,) = ax.collections
    assert curves.get_zorder() < ax.lines[0].get_zorder()
    u = max(curves.get_paths(), key=len).vertices
    heights = (u[:, 0] ** 2 + 5 * u[:, 1] ** 2) / 2  # Quadratic: ½⟨u, diag(1, 5)u⟩
    assert len(u) > 20
    assert np.isfinite(heights).all()
    with pytest.raises(ValueError, match="contours need two parameters, got 3"):
        mf.plot.contours(jnp.sum, jnp.ones(3), ax)


def test_new_axes_are_made_where_none_are_given(run):
    import matplotlib.pyplot as plt

    assert mf.plot.trajectories(run).figure.get_layout_engine() is not None
    plt.close("all")


def test_what_is_dense_is_drawn_as_pixels():
    figure = Figure()
    ax = figure.subplots()
    x = np.linspace(0, 1, 3000)
    (dense,), (line,), (few,) = ax.plot(x, x, "o"), ax.plot(x, x), ax.plot(x[:9], x[:9], "o")
    scatter, mesh = ax.scatter(x, x), ax.pcolormesh(np.ones((60, 60)))
    assert isinstance(mesh, QuadMesh)
    _plot.rasterise_dense(figure)
    assert [a.get_rasterized() for a in (dense, line, few, scatter, mesh)] == [True, False, False, True, True]


def test_the_cycle_of_colours_has_none_of_a_model():
    import matplotlib as mpl

    with mf.plot.style():
        cycle = {entry["color"] for entry in mpl.rcParams["axes.prop_cycle"]}
    assert not cycle & {style.color for style in _plot.MODEL_STYLE.values()}
