"""Two slips of Kovachki & Stuart (2021), §3.2.2, on u = e^t: the remainder of (13) and the lines before its limit."""

import math

import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.integrate import quad

import momentumflow as mf

from ..flows.higher_order import limit_operator
from ..linear.higher_order import higher_order_polynomial
from .checks import Check

TERMS = (2, 3, 4)
_PAPER = "Kovachki & Stuart (2021), §3.2.2"


def slips() -> xr.Dataset:
    """u = e^t at t = 0, λ = 0.9, h = 0.1: the remainder of (13), p = 2, 3, 4, and the limit, by both forms."""
    h, lam = 0.1, 0.9
    limit = float(limit_operator(jnp.exp, mf.heavy_ball(h, lam))(jnp.array(0.0)))
    exact = [h * limit - np.polyval(higher_order_polynomial(p, lam), h) for p in TERMS]
    forms = []
    for p in TERMS:
        plus, minus = (taylor_remainder(p, h), (-1) ** (p + 1) * taylor_remainder(p, -h))
        forms.append([h ** (p + 1) * (plus - lam * minus), h ** (p + 1) * (plus + lam * minus)])
    middle = (lam * math.exp(h) + math.exp(-h) - 1 - lam) / h
    return xr.Dataset(
        {
            "remainder": ("p", exact),
            "remainder_form": (("p", "form"), forms),
            "limit": limit,
            "limit_form": ("form", [middle, (math.exp(h) + lam * math.exp(-h) - 1 - lam) / h]),
        },
        {"p": list(TERMS), "form": ["printed", "right"]},
    )


def taylor_remainder(p: int, h: float, r: float = 1.0) -> float:
    """∫₀¹ (1-s)^p r^{p+1} e^{rsh} ds / p!: Taylor's remainder of e^{rt} over h^{p+1}."""
    return quad(lambda s: (1 - s) ** p * r ** (p + 1) * math.exp(r * s * h), 0, 1)[0] / math.factorial(p)


def checks(data: xr.Dataset) -> list[Check]:
    """The printed forms refuted, the right ones held."""
    found = []
    for p in data["p"].values:
        exact, cell = float(data["remainder"].sel(p=p)), data["remainder_form"].sel(p=p)
        text, small = f"remainder of (13), u = e^t, p = {p}", 1e-6 * abs(exact)
        printed = f"{_PAPER}: h^{{p+1}}(I⁺ - λI⁻), I⁻ as defined"
        found += [
            Check(text, exact, cell.sel(form="printed"), small, "within", printed, refutes=True),
            Check(text, exact, cell.sel(form="right"), small, "within", "h^{p+1}(I⁺ + λI⁻), Taylor"),
        ]
    text, limit = "limit of (13) on u = e^t", data["limit"]
    middle, last = f"{_PAPER}: λδ(t+h) + δ(t-h), middle lines", f"{_PAPER}: last line"
    forms = data["limit_form"]
    return [
        *found,
        Check(text, limit, forms.sel(form="printed"), 1e-6, "within", middle, refutes=True),
        Check(text, limit, forms.sel(form="right"), 1e-12, "within", last),
    ]
