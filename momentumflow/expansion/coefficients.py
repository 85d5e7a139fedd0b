"""Modified equations and manifold expansions, with coefficients exact in (λ, a)."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _validate
from ..methods.linear_memory import AbstractLinearMemory
from ..methods.momentum import MomentumMethod
from .invariance import Expansions, Number, Scheme, expand
from .trees import Tree, latex, name, symmetry
from .trees import order as size

_LIMITS = {
    "with numbers": (
        12,
        "order 12 (4 766 trees) takes 13 s in fractions, 2 s in floats, a further one three times it",
    ),
    "with symbols": (
        10,
        "order 9 takes 7 s in λ and a minute in λ and a, a further one four times it: give numbers",
    ),
    "under jit": (8, "order 8 takes a minute and a half to compile, a further one four times it"),
}
"""Highest order by what the coefficients are made of, and the time that was measured on one core."""


class Expansion(Mapping[Tree, Any]):
    r"""$\sum_\tau h^{|\tau|-1} c_\tau F(\tau)(u)$: rooted trees to coefficients, in the order of h.

    A mapping from a tree to $c_\tau$ (the symmetry of the tree is in it); `str` and LaTeX read as a formula.
    For v' and y' of `phase_expansion` the power of h is one less.
    Coefficients are sympy expressions in λ and a, `Fraction`s, or floats, as the arguments were.

    !!! example

        >>> import momentumflow as mf
        >>> equation = mf.modified_equation(2)
        >>> [(len(tree), str(c)) for tree, c in equation.items()]
        [(0, '1/(1 - lambda)'), (1, '(-lambda - 1)/(2*(1 - lambda)**3)')]
    """

    def __init__(self, coefficients: Mapping[Tree, Any], left: str, power: int = 0) -> None:
        self._coefficients = dict(coefficients)
        self._left = left
        self._power = power

    def __getitem__(self, tree: Tree) -> Any:
        return self._coefficients[tree]

    def __iter__(self) -> Iterator[Tree]:
        return iter(self._coefficients)

    def __len__(self) -> int:
        return len(self._coefficients)

    @property
    def order(self) -> int:
        """Nodes of the largest tree."""
        return max(map(size, self))

    def __str__(self) -> str:
        terms = [f"({c}) {self._step(tree, 'h^{}')}{name(tree)}" for tree, c in self.items() if c != 0]
        return f"{self._left} = " + " + ".join(terms)

    def __repr__(self) -> str:
        return f"<Expansion of order {self.order}: {len(self)} trees>"

    def _repr_latex_(self) -> str:
        return f"${self.latex()}$"

    def latex(self) -> str:
        r"""The formula in LaTeX, without dollars."""
        from sympy import latex as typeset
        from sympy import sympify

        left = rf"\dot {self._left[0]}" if self._left.endswith("'") else self._left
        terms = [
            rf"\left({typeset(sympify(c))}\right) {self._step(tree, 'h^{{{}}} ')}{latex(tree)}"
            for tree, c in self.items()
            if c != 0
        ]
        return f"{left} = " + " + ".join(terms)

    def _step(self, tree: Tree, form: str) -> str:
        k = size(tree) - 1 + self._power
        return "" if k == 0 else "h " if k == 1 else form.format(k) + ("" if form.endswith(" ") else " ")


def modified_equation(order: int, momentum: Any = None, lookahead: Any = 0) -> Expansion:
    r"""The slow flow of the family (7) to any order,
    $\dot u = \bar\lambda f + hF_2(u) + \dots + h^{p-1}F_p(u)$, with exact coefficients.

    Started on the invariant manifold, the method stays within $O(h^p)$ of it. Order 2 is Kovachki & Stuart
    (2021), eq. (20), with (19) corrected; at λ = a = 0 it is the classical modified equation of gradient descent
    (Hairer, Lubich & Wanner, Geometric Numerical Integration, IX.9).

    **Arguments:**

    - `order`: p, from 1 to 12, with symbols to 10.
    - `momentum`: λ in [0, 1): `None` for a symbol, a `Fraction` or an int for exact numbers, or a float.
    - `lookahead`: a ≥ 0, likewise (`None` for a symbol); "momentum" is Nesterov.

    **Returns:** an `Expansion`. **Raises:** `ValueError` for an order or values outside these ranges.

    !!! example

        >>> from fractions import Fraction
        >>> import momentumflow as mf
        >>> print(mf.modified_equation(2, Fraction(1, 2), "momentum"))
        u' = (2) f + (-4) h f'[f]
    """
    expansions, convert = _family(order, momentum, lookahead)
    return Expansion({t: convert(c, symmetry(t)) for t, c in expansions.flow.items()}, "u'")


def manifold_expansion(order: int, momentum: Any = None, lookahead: Any = 0) -> Expansion:
    r"""The invariant manifold of the family (7) to any order, $v = \bar\lambda f + hg_1 + \dots + h^{p-1}g_{p-1}$.

    **Arguments** and **Raises:** as `modified_equation`.

    Order 2 is Kovachki & Stuart (2021), eq. (31).

    !!! example

        >>> import momentumflow as mf
        >>> mf.manifold_expansion(2)[((),)]
        -1/(1 - lambda)**3
    """
    expansions, convert = _family(order, momentum, lookahead)
    return Expansion({t: convert(rows[0], symmetry(t)) for t, rows in expansions.manifold.items()}, "v")


def step_expansion(order: int, momentum: Any = None, lookahead: Any = 0) -> Expansion:
    r"""One step of the family (7) on its invariant manifold, $z = (u_{n+1} - u_n)/h$ in terms of $u = u_n$,
    $z = \bar\lambda f + hz_2(u) + \dots + h^{p-1}z_p(u)$: the method without its memory.

    **Arguments** and **Raises:** as `modified_equation`.

    Order 2 is Cattaneo, Klusowski & Shigida (2024) at late times: $z_2 = -\lambda\bar\lambda^3f'f$ for heavy ball.

    !!! example

        >>> import momentumflow as mf
        >>> mf.step_expansion(2)[((),)], mf.step_expansion(2, lookahead="momentum")[((),)]
        (-lambda/(1 - lambda)**3, -lambda**2/(1 - lambda)**3)
    """
    expansions, convert = _family(order, momentum, lookahead)
    return Expansion({t: convert(c, symmetry(t)) for t, c in expansions.step.items()}, "z")


def modified_equation_of(method: AbstractLinearMemory, order: int) -> Expansion:
    r"""The slow flow of any linear-memory method with fixed $A, b, c$, with coefficients as floats.

    **Arguments:** `method`, not one whose momentum varies; `order` from 1 to 12, under `jit` to 8.

    **Returns:** an `Expansion` in powers of the method's own time step.

    !!! example

        >>> import momentumflow as mf
        >>> {len(t): round(float(c), 6) for t, c in mf.modified_equation_of(mf.heavy_ball(0.1, 0.5), 2).items()}
        {0: 2.0, 1: -6.0}
    """
    flow = _expand(method, order).flow
    return Expansion({tree: value / symmetry(tree) for tree, value in flow.items()}, "u'")


def manifold_of(method: AbstractLinearMemory, order: int) -> list[Expansion]:
    """The graph of every memory row of a linear-memory method, in powers of its own time step."""
    manifold = _expand(method, order).manifold
    return [
        Expansion({tree: rows[i] / symmetry(tree) for tree, rows in manifold.items()}, "v")
        for i in range(method.rows - 1)
    ]


def step_of(method: AbstractLinearMemory, order: int) -> Expansion:
    """(u_{n+1} - u_n)/Δt of a linear-memory method on its manifold, in powers of its own time step Δt."""
    step = _expand(method, order).step
    return Expansion({tree: value / symmetry(tree) for tree, value in step.items()}, "z")


def scheme_of(method: AbstractLinearMemory) -> Scheme:
    """The method's A, b, c over the arrays of JAX, the time step taken out.

    Of the family (7) λ and a are all that is left, as floats where they are known: they are when h is traced.
    """
    if isinstance(method, MomentumMethod):
        lam, a = (
            float(np.asarray(x)) if _validate.is_concrete(x) else x
            for x in (method.momentum, method.lookahead)
        )
        return Scheme([[1 / (1 - lam)]], [lam / (1 - lam)], [1], 1, [a])
    if method.varies:
        raise ValueError(
            f"{type(method).__name__} has momentum that varies with n and so no modified equation of its own: "
            "freeze the momentum with momentum_method"
        )
    A, b, c, _ = method.memory(0)
    A, b, c = jnp.asarray(A, float), jnp.asarray(b, float), jnp.asarray(c, float)
    dt = method.time_step
    resolvent = jnp.linalg.inv(jnp.eye(len(b) - 1) - A[1:, 1:])
    rows = range(len(b) - 1)
    return Scheme(
        [[resolvent[i, j] for j in rows] for i in rows],
        [(A[0, 1:] @ resolvent)[j] / dt for j in rows],
        [b[1 + j] for j in rows],
        b[0] / dt,
        [c[1 + j] / dt for j in rows],
    )


def _check_order(order: Any, made: str = "with numbers") -> int:
    order, (highest, times) = _validate.count("order", order), _LIMITS[made]
    if order > highest:
        raise ValueError(f"order must be <= {highest} {made}, got {order}: {times}")
    return order


def _expand(method: AbstractLinearMemory, order: int) -> Expansions:
    scheme = scheme_of(method)
    concrete = all(map(_validate.is_concrete, jax.tree.leaves(scheme)))
    return expand(scheme, _check_order(order, "with numbers" if concrete else "under jit"))


def _family(order: int, momentum: Any, lookahead: Any) -> tuple[Expansions, Any]:
    """Expansions of the family over the smallest ring that holds λ and a, and the way back to numbers."""
    symbolic = momentum is None or lookahead is None
    order = _check_order(order, "with symbols" if symbolic else "with numbers")
    lookahead = checked_lookahead(momentum, lookahead)
    if symbolic:
        return _symbolic(order, momentum, lookahead)
    lam, a = exact(momentum), exact(lookahead)
    amplification = 1 / (1 - lam)
    scheme = Scheme([[amplification]], [lam * amplification], [1], 1, [a])
    return expand(scheme, order), lambda value, sigma: value / sigma


def checked_lookahead(momentum: Any, lookahead: Any) -> Any:
    """`lookahead` with "momentum" put in its place where that is a number; raises for values out of range."""
    if momentum is not None:
        _validate.momentum_factor("momentum", float(momentum))
        if lookahead == "momentum":
            lookahead = momentum
    if isinstance(lookahead, str) and lookahead != "momentum":
        raise _validate.unknown("lookahead", lookahead, ("momentum",))
    if lookahead is not None and lookahead != "momentum":
        _validate.non_negative("lookahead", float(lookahead), "0 is heavy ball")
    return lookahead


def exact(value: Any) -> Number:
    """A Fraction for what is rational, a float for a float."""
    if isinstance(value, (float, np.floating, jax.Array)):
        return float(value)
    return Fraction(int(value.p), int(value.q)) if hasattr(value, "p") else Fraction(value)


def _symbolic(order: int, momentum: Any, lookahead: Any) -> tuple[Expansions, Any]:
    """Over the polynomials in λ̄ and a: with λ̄ for λ no quotient ever appears in the recursion."""
    import sympy

    ring, bar, a = sympy.ring("bar,a", sympy.QQ)
    lam, free = sympy.symbols("lambda a")
    number = None if momentum is None else sympy.Rational(str(exact(momentum)))
    amplification = bar if number is None else ring(1 / (1 - number))
    ahead = a if lookahead in (None, "momentum") else ring(sympy.Rational(str(exact(lookahead))))
    scheme = Scheme([[amplification]], [amplification - 1], [ring(1)], ring(1), [ahead])
    shown = lam if lookahead == "momentum" else free
    return expand(scheme, order), lambda value, sigma: _over_powers(value / sigma, lam, shown)


def _over_powers(value: Any, lam: Any, a: Any) -> Any:
    """A polynomial in λ̄ and a as one fraction: numerator in λ and a, denominator a power of 1-λ, cancelled."""
    import sympy

    gens = (lam,) if a == lam else (lam, a)
    power = max((i for i, _ in value.monoms()), default=0)
    terms = (c * (1 - lam) ** (power - i) * a**j for (i, j), c in value.terms())
    numerator = sympy.Poly(sympy.Add(*terms), *gens, domain=sympy.QQ)
    divisor = sympy.Poly(1 - lam, *gens, domain=sympy.QQ)
    while power > 0 and not numerator.is_zero and numerator.rem(divisor).is_zero:
        numerator, power = numerator.quo(divisor), power - 1
    denominator, whole = numerator.clear_denoms(convert=True)
    content, primitive = whole.primitive()
    return sympy.factor(primitive.as_expr()) / (1 - lam) ** power * sympy.Rational(content, denominator)
