"""The panels of Figure 5, and the decay per step that they draw."""

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from .. import _plot
from ._admissible import BELOW

_GREY, _CORRECTED = "#555555", "#228833"


def decay(n: np.ndarray, e: np.ndarray) -> float:
    """Factor per step: the slope of log e_n over n."""
    return math.exp(np.polyfit(n, np.log(e), 1)[0])


def inside_decays(cells: xr.Dataset) -> np.ndarray:
    """The decay of the ladder's e_n at each h, while e_n can be followed."""
    n, found = cells["m"].values, []
    for e in cells["ladder_distance"].transpose("share", "m").values:
        used = e > BELOW * e[0]
        found.append(decay(n[used], e[used]))
    return np.array(found)


def paper(first: Axes, second: Axes, third: Axes, cells: xr.Dataset, kappas: np.ndarray) -> None:
    """(u_n, v_n) in either direction, and e_n."""
    name = str(cells["optimizer"].values)
    _phase(first, cells, kappas[:1], 1, [_plot.of(name).color])
    first.legend()
    _phase(second, cells, kappas, 2, _plot.sequence(len(kappas)))
    _distances(third, cells, kappas)


def inside(first: Axes, second: Axes, third: Axes, cells: xr.Dataset, kappas: np.ndarray) -> None:
    """(u_n, v_n) and the exact graph, e_n over λⁿ with its bounds, the decay against h."""
    _inside_phase(first, cells, kappas)
    _inside_distances(second, cells, kappas)
    _rates(third, cells)


def _phase(ax: Axes, cells: xr.Dataset, kappas: np.ndarray, component: int, colors: list) -> None:
    name = str(cells["optimizer"].values)
    look = _plot.of(name).line(linestyle="-", lw=0.7, markersize=2.5)
    dashes = _plot.of("slow flow (20)").linestyle
    cells = cells.sel(kappa=kappas, component=component)
    highest = 1.1 * float(np.abs(cells["v"]).max())
    for kappa, color in zip(kappas, colors, strict=True):
        cell = cells.sel(kappa=kappa)
        slope = float(cell["slope"])
        ends = np.array([-1.0, 1.0]) * min(1.05, highest / abs(slope))
        ax.plot(cell["u"], cell["v"], **look | {"color": color}, label=name)
        ax.plot(ends, slope * ends, color=color, lw=1.6, ls=dashes, label="manifold (33)")
    ax.set(ylim=(-highest, highest), xlabel=f"$u_n$, component {component}", ylabel="$v_n$")


def _distances(ax: Axes, cells: xr.Dataset, kappas: np.ndarray) -> None:
    n, lam, h = cells["n"].values, cells.attrs["momentum"], cells.attrs["learning_rate"]
    nesterov = str(cells["optimizer"].values) == "NAG"
    for kappa, color in zip(kappas, _plot.sequence(len(kappas)), strict=True):
        cell = cells.sel(kappa=kappa)
        e, rate = cell["distance"].values, lam + h**2 * lam * float(cell["delta"])
        ax.plot(n, e / e[0], color=color, lw=0.9, label=f"κ = {kappa:g}")
        shown = n[n * np.log(rate) < 7]  # below the legend
        ax.plot(shown, rate**shown, color=color, lw=1.2, ls=(0, (4, 1, 1, 1)))
    ax.plot([], [], color=_GREY, lw=1.2, ls=(0, (4, 1, 1, 1)), label=r"$(\lambda+h^2\lambda\delta)^n$")
    word = r"$\sqrt{\lambda-ha}^{\,n}$" if nesterov else r"$\sqrt{\lambda}^{\,n}$"
    ax.plot(n, np.sqrt(lam - h * lam * nesterov) ** n, color=_GREY, lw=1.2, ls=":", label=word)
    ax.plot(n, lam**n, color=_GREY, lw=1.2, ls="--", label=r"$\lambda^n$")
    ax.set(yscale="log", ylim=(1e-6, 1e8), xlim=(-5, 250), xlabel="$n$", ylabel="$e_n/e_0$")
    ax.legend(ncols=2, loc="upper right", columnspacing=1)


def _inside_phase(ax: Axes, cells: xr.Dataset, kappas: np.ndarray) -> None:
    for kappa, color in zip(kappas, _plot.sequence(len(kappas)), strict=True):
        cell = cells.sel(kappa=kappa, component=2)
        ax.plot(cell["inside_u"], cell["inside_graph"], color=color, lw=1.2, label=f"κ = {kappa:g}")
        ax.plot(cell["inside_u"], cell["inside_v"], color=color, ls="", marker="o", ms=2.8)
    ax.plot([], [], color=_GREY, label="exact graph")
    ax.plot([], [], color=_GREY, ls="", marker="o", ms=2.8, label="$v_n$")
    ax.set(xlabel="$u_n$, component 2", ylabel="$v_n$")
    ax.legend(loc="lower left")


def _inside_distances(ax: Axes, cells: xr.Dataset, kappas: np.ndarray) -> None:
    """Over λⁿ, or the bounds would lie on each other."""
    n, lam = cells["m"].values, cells.attrs["momentum"]
    for kappa, color in zip(kappas, _plot.sequence(len(kappas)), strict=True):
        cell = cells.sel(kappa=kappa)
        e = cell["inside_distance"].values
        used = e > BELOW * e[0]
        shown = n[used]
        ax.plot(
            shown, e[used] / e[0] / lam**shown, color=color, ls="", marker="o", ms=2.8, label=f"κ = {kappa:g}"
        )
        for key, look in (("rate", "-"), ("printed_rate", "--")):
            ax.plot(shown, (float(cell[f"inside_{key}"]) / lam) ** shown, color=color, ls=look, lw=1.2)
    ax.plot([], [], color=_GREY, ls="-", label=r"$((\lambda+haB_1)(1+hK_2))^n$")
    ax.plot([], [], color=_GREY, ls="--", label=r"printed: $(\lambda+h^2\lambda\delta)^n$")
    ax.set(yscale="log", xlabel="$n$", ylabel=r"$e_n/(\lambda^n e_0)$", ylim=(0.9, 400))
    ax.legend(loc="upper left")


def _rates(ax: Axes, cells: xr.Dataset) -> None:
    lam, share = cells.attrs["momentum"], cells["share"].values
    look = _plot.of("(19) as printed").line(label=r"printed: $\lambda+h^2\lambda\delta$")
    dots = _plot.of(str(cells["optimizer"].values)).line(ms=4.5, label="measured")
    ax.plot(share, cells["ladder_rate"] - lam, color=_CORRECTED, label=r"$(\lambda+haB_1)(1+hK_2)$")
    ax.plot(share, cells["ladder_root"] - lam, color=_GREY, lw=0.9, label="fast root ρ")
    ax.plot(share, inside_decays(cells) - lam, **dots)
    ax.plot(share, cells["ladder_printed_rate"] - lam, **look)
    _plot.log2_axis(ax, share)
    ax.set(yscale="log", xlabel="$h/\\tau$", ylabel=r"decay of $e_n$ per step, less $\lambda$")
    ax.set_ylim(bottom=0.02 * float((cells["ladder_printed_rate"] - lam).min()))
    ax.legend(loc="lower right")
