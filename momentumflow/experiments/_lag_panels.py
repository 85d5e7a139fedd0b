"""The panels of the lag from rest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from .. import _plot

_GREY = "#555555"
_COLORS = {"HB": _plot.of("HB").color, "NAG": _plot.of("NAG").color, "a = 1": "#228833"}
_MARKERS = {"HB": "o", "NAG": "s", "a = 1": "D"}
_SLOW = _plot.of("slow flow (20)")
_THROUGH = "#cc79a7"
_ARROW = 45
_TIES = (2, 8, 16, 28, 44, 64)


def component(ax: Axes, case: xr.Dataset, lag: float) -> None:
    """u₁ of iterates and flows against n, at the largest h, and the lag."""
    cell = case.sel(layer_rate=case["layer_rate"].max()).isel(component=0, n=slice(91))
    n, look = cell["n"].values, _SLOW.line(linestyle="-", lw=1.4)
    ax.plot(n, cell["layer_through"], **look | {"color": _THROUGH}, label="slow flow through $u_0$")
    ax.plot(n, cell["layer_lagged"], **look, label=r"slow flow through $\tilde u_0$")
    dots = _plot.of("HB").line(markersize=2.8, label="$u_n$, every third")
    ax.plot(n[::3], cell["layer_run"][::3], **dots)
    height, start = float(cell["layer_through"][_ARROW]), float(_ARROW)
    ax.annotate("", (start + lag, height), (start, height), arrowprops={"arrowstyle": "<->", "color": _GREY})
    offset: dict[str, Any] = {"xytext": (-4, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
    ax.annotate(f"{lag:.1f} iterations", (start, height), **offset)
    ax.set(title=f"HB from rest, λ = {float(case['case_momentum']):g}", xlabel="$n$", ylabel="$u_1$")
    ax.legend(loc="lower left")


def plane(ax: Axes, case: xr.Dataset, title: str) -> None:
    """Iterates, the flow through u₀ and through ũ₀; grey: the same n on both."""
    cell = case.sel(layer_rate=case["layer_rate"].max())
    run, through, lagged = (cell[f"layer_{key}"].values for key in ("run", "through", "lagged"))
    look = _SLOW.line(linestyle="-", lw=1.4)
    ax.plot(*through.T, **look | {"color": _THROUGH}, label="slow flow through $u_0$")
    ax.plot(*lagged.T, **look, label=r"slow flow through $\tilde u_0$")
    ax.plot(*run[:80:2].T, **_plot.of("HB").line(markersize=2.8), label="$u_n$, every second")
    for n in _TIES:
        ax.plot(*np.stack([run[n], through[n]]).T, color=_GREY, lw=0.8)
    for point, word, offset in ((through[0], "$u_0$", (5, 4)), (lagged[0], r"$\tilde u_0$", (5, 4))):
        ax.plot(*point, marker="o", color="black", ms=4)
        ax.annotate(word, point, xytext=offset, textcoords="offset points", fontsize=11)
    ax.set(title=title, xlabel="$u_1$", ylabel="$u_2$")
    ax.margins(0.12)
    ax.legend()


def layer(ax: Axes, cells: xr.Dataset) -> None:
    """Iterations behind, at the smallest h."""
    n = cells["n"].values[:61]
    for i in range(cells.sizes["case"]):
        case = cells.isel(case=i)
        name, lam = str(case["case_optimizer"].values), float(case["case_momentum"])
        behind = case["layer_lag"].sel(layer_rate=case["layer_rate"].min()).values
        every = slice(1 + 2 * list(_COLORS).index(name), 61, 6)
        label = name if lam == cells["case_momentum"].values.max() else None
        ax.plot(
            n[every], behind[every], color=_COLORS[name], ls="", marker=_MARKERS[name], ms=3.5, label=label
        )
        if name == "HB":
            ax.plot(n, lam / (1 - lam) * (1 - lam**n), color=_GREY, lw=1, zorder=1)
            ax.annotate(
                f"λ = {lam:g}",
                (60, lam / (1 - lam)),
                xytext=(-4, 4),
                textcoords="offset points",
                ha="right",
                fontsize=9,
            )
    ax.plot([], [], color=_GREY, lw=1, label=r"$(1-\lambda^n)\,\lambda/(1-\lambda)$")
    ax.set(title="the layer, from rest", xlabel="$n$", ylabel="iterations behind the flow through $u_0$")
    ax.margins(y=0.12)
    ax.legend(loc="center right", bbox_to_anchor=(1, 0.66))


def lags(ax: Axes, data: xr.Dataset, expected: xr.DataArray) -> None:
    """Against λ, at the smallest h."""
    lam = np.linspace(0, 1, 400)[:-1] * float(data["momentum"].max()) * 1.01
    words = (r"from rest", r"$v_0=\frac{1}{2}\bar\lambda f(u_0)$", r"$v_0=2\bar\lambda f(u_0)$")
    for start, word in zip(expected["start"].values, words, strict=True):
        cell = data["lag"].sel(start=start).isel(rate=-1)
        share = float(expected.sel(start=start)[0] * (1 - data["momentum"][0]) / data["momentum"][0])
        ax.plot(lam, share * lam / (1 - lam), color=_GREY, lw=1)
        for name, size in zip(_COLORS, (6.5, 4.5, 2.5), strict=True):
            label = name if start == expected["start"].values[0] else None
            look: dict[str, Any] = {"color": _COLORS[name], "ls": "", "marker": _MARKERS[name], "ms": size}
            ax.plot(data["momentum"], cell.sel(optimizer=name), **look, label=label)
        end = share * float(data["momentum"][-1] / (1 - data["momentum"][-1]))
        ax.annotate(
            word,
            (data["momentum"][-1], end),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    ax.plot([], [], color=_GREY, lw=1, label=r"$(1-\sigma)\,\lambda/(1-\lambda)$")
    ax.set(title=r"lag after the layer, $v_0=\sigma\bar\lambda f(u_0)$", xlabel=r"$\lambda$")
    ax.set(ylabel="lag / iterations", xlim=(0, 1.45), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.legend(loc="upper left")


def errors(ax: Axes, data: xr.Dataset, expected: xr.DataArray) -> None:
    """From rest, the worst of the methods; dashed: measured against (8) in place of the slow flow."""
    h, momenta = data["rate"].values, data["momentum"].values
    for lam, color in zip(momenta, _plot.sequence(len(momenta)), strict=True):
        for key, look in (("lag", "-"), ("rescaled_lag", "--")):
            off = abs(data[key].sel(momentum=lam) - expected.sel(momentum=lam)).max("optimizer")
            ax.plot(
                h,
                off,
                color=color,
                ls=look,
                marker="o",
                ms=3.5,
                lw=1.1,
                label=f"λ = {lam:g}" if key == "lag" else None,
            )
    ax.plot([], [], color=_GREY, ls="--", lw=1.1, label="to (8)")
    _axis(ax, h)
    _plot.reference_slope(
        ax, h, 0.6 * float(abs(data["lag"] - expected).sel(momentum=momenta[0]).isel(rate=0).max()), 1
    )
    ax.set(title="from rest", ylabel=r"|lag $-\ \lambda/(1-\lambda)$| / iterations")
    ax.set_ylim(top=40)
    between: dict[str, Any] = {"bbox_to_anchor": (0.5, 0.17), "bbox_transform": ax.get_yaxis_transform()}
    ax.legend(ncols=3, loc="center", columnspacing=1, **between)


def distances(ax: Axes, data: xr.Dataset, words: Mapping[str, str]) -> None:
    """Late; open: the start across."""
    h = data["rate"].values
    colors = dict(zip(words, (_THROUGH, _SLOW.color, "#228833"), strict=True))
    rest, across = data["start"].values
    for key, word in words.items():
        for start, filled in ((rest, True), (across, False)):
            look: dict[str, Any] = {
                "color": colors[key],
                "marker": "o",
                "ms": 4.5,
                "lw": 1.1,
                "mfc": colors[key] if filled else "white",
            }
            ax.plot(
                h,
                data[key].sel(start=start),
                **look,
                ls="-" if filled else ":",
                label=word if filled else None,
            )
    ax.plot([], [], color=_GREY, marker="o", mfc="white", ls=":", ms=4.5, label="$v_0$ turned by 90°")
    _axis(ax, h)
    finest = data.sel(start=rest).isel(rate=-1)
    span = h.max() / h.min()
    _plot.reference_slope(ax, h, 5 * float(finest["through"]) * span, 1)
    _plot.reference_slope(ax, h, 0.5 * float(finest["lagged"]) * span**2, 2)
    ax.set(title=f"HB, λ = {float(data['momentum']):g}, $t\\geq T/2$: flow", ylabel="$\\max_n|u_n-u(t_n)|$")
    ax.set_ylim(bottom=0.03 * float(finest["lagged"]))
    ax.legend(loc="lower right")


def _axis(ax: Axes, h: np.ndarray) -> None:
    _plot.log2_axis(ax, h, most=6)
    ax.set(yscale="log", xlabel=r"$h\bar\lambda$")
