"""Draws docs/overview.png, the figure of the README: run `python docs/overview.py`."""

from pathlib import Path

import jax
import jax.numpy as jnp

import momentumflow as mf
from momentumflow import _plot

H, LAM, FINAL = 2.0**-6, 0.9, 1.2


def loss(u):
    return jnp.sum(jnp.log(jnp.cosh(jnp.array([1.0, 4.0]) * u)))


def draw_paths(ax, name, make):
    method, u0 = make(H, LAM), jnp.array([1.0, 1.0])
    run = mf.iterate(method, loss, u0, round(FINAL / H))
    times = jnp.linspace(0, FINAL, 400)
    for label, model in (
        ("rescaled gradient flow (8)", mf.RescaledGradientFlow),
        ("momentum ODE (11)", mf.MomentumODE),
    ):
        flow = mf.solve(model(method), loss, u0, times)
        ax.plot(times, flow.params[:, 1], **_plot.of(label).line(label=label))
    ax.plot(run.times, run.params[:, 1], **_plot.of(name).line(linestyle="none", label=name))
    ax.set(xlabel="$t = nh$", ylabel="$u_2$", title=f"λ = {LAM:g}, $h = 2^{{-6}}$")
    ax.legend()


def draw_orders(ax):
    u0, rates = jnp.array([1.0, 1.0]), [2.0**-k for k in range(5, 13)]
    cases = {
        "rescaled gradient flow (8)": (mf.RescaledGradientFlow, "rest"),
        "momentum ODE (11)": (mf.MomentumODE, "rest"),
        "slow flow (20)": (mf.SlowFlow, "manifold"),
    }
    for label, (model, start) in cases.items():
        study = mf.convergence_study(lambda h: mf.heavy_ball(h, 0.5), model, loss, u0, rates, 1.0, start)
        look = _plot.of(label).line(marker="o", markersize=4)
        ax.plot(
            study.learning_rates,
            study.errors,
            **look,
            label=f"{label}, from {'rest' if start == 'rest' else 'the manifold'}",
        )
    for order, level in ((1, 1.6), (2, 0.05)):
        _plot.reference_slope(ax, rates, level, order)
    ax.set_yscale("log")
    _plot.log2_axis(ax, rates)
    ax.set(xlabel="$h$", ylabel="$\\max_n|u_n-u(t_n)|$", title="Heavy ball, λ = 0.5", ylim=(1e-8, 4))
    ax.legend(loc="lower right", fontsize=8, frameon=True, framealpha=1, edgecolor="none")


def main():
    jax.config.update("jax_enable_x64", True)
    with _plot.style():
        figure = _plot.figure(10.0, 3.4)
        axes = figure.subplots(1, 3)
        draw_paths(axes[0], "HB", mf.heavy_ball)
        draw_paths(axes[1], "NAG", mf.nesterov)
        draw_orders(axes[2])
        figure.savefig(Path(__file__).with_name("overview.png"), dpi=120)


if __name__ == "__main__":
    main()
