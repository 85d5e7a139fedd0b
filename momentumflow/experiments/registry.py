"""The table of experiment ids. Importing it loads no JAX, matplotlib or xarray."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from .._errors import unknown
from .checks import Check

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

    from .._progress import Progress

PRESET_NAMES = ("quick", "full")


@runtime_checkable
class Experiment(Protocol):
    """What the module of an experiment holds; its docstring is the source's statement in our words.

    - `Config`: frozen dataclass of plain values (numbers, strings, tuples of them).
    - `PRESETS`: a `Config` for "quick" (seconds) and for "full" (as the source).
    - `run(config, progress)`: measures; labelled arrays of numbers or text, with a unit or a symbol each.
    - `plot(data)`: draws what `run` measured, and measures nothing.
    - `checks(data)`: compares what `run` measured with the source.
    """

    __file__: str
    Config: type
    PRESETS: Mapping[str, Any]

    def run(self, config: Any, progress: "Progress") -> "xarray.Dataset": ...

    def plot(self, data: "xarray.Dataset") -> "Figure": ...

    def checks(self, data: "xarray.Dataset") -> list[Check]: ...


@dataclass(frozen=True)
class Entry:
    """An experiment's id, its title, what it reproduces, and the statement it tests in one sentence."""

    id: str
    title: str
    source: str
    statement: str

    @property
    def module(self) -> str:
        """Name of the module of this folder that holds the experiment."""
        return self.id.replace("-", "_")


_ENTRIES = (
    Entry(
        "paper-figure-1",
        "Momentum against the rescaled gradient flow",
        "Kovachki & Stuart (2021), Figure 1 and Theorem 2",
        "Heavy ball and Nesterov follow the gradient flow of the effective learning rate h/(1-λ).",
    ),
    Entry(
        "paper-figure-2",
        "Order of the rescaled gradient flow",
        "Kovachki & Stuart (2021), Figure 2 and Theorem 2",
        "The distance of heavy ball and Nesterov to the rescaled gradient flow (8) is of order 1 in h.",
    ),
    Entry(
        "paper-figure-3",
        "Momentum against the momentum ODE",
        "Kovachki & Stuart (2021), Figure 3 and Theorem 3",
        "Heavy ball and Nesterov follow the second-order ODE (11), oscillations included.",
    ),
    Entry(
        "paper-figure-4",
        "Order of the momentum ODE",
        "Kovachki & Stuart (2021), Figure 4 and Theorem 3",
        "The distance of heavy ball and Nesterov to the momentum ODE (11) is of order 1 in h.",
    ),
    Entry(
        "paper-figure-5",
        "The invariant manifold and how fast it attracts",
        "Kovachki & Stuart (2021), Figure 5 and Theorem 5",
        "Momentum falls onto the graph v = λ̄f + hg at the rate (λ+haB₁)(1+hK₂), not at the printed λ+h²λδ; "
        "with the figure's own h no graph exists.",
    ),
    Entry(
        "paper-figure-6",
        "Six methods train an autoencoder",
        "Kovachki & Stuart (2021), Figure 6",
        "GF, HB and NAG end with the same error as h falls; NAG is the best at the largest h.",
    ),
    Entry(
        "paper-figure-7",
        "Order of the parameters of a network",
        "Kovachki & Stuart (2021), Figure 7",
        "On a network HB and NAG come to (35) with order 1 in h, HB-μ and NAG-μ to (36) with order ½.",
    ),
    Entry(
        "paper-appendix-c",
        "The largest learning rate with an invariant manifold",
        "Kovachki & Stuart (2021), Appendix C, Assumption 11",
        "Assumption 11 is Lemma 10 alone, holds for h < τ, and τ is the true threshold for heavy ball on an affine "
        "field, four fifths of it on 1 - cos u as λ → 1.",
    ),
    Entry(
        "paper-theorem-5",
        "How fast the invariant manifold attracts",
        "Kovachki & Stuart (2021), Theorem 5 and eq. (34)",
        "Under Assumption 11 the distance from the invariant manifold falls like ((λ+haB₁)(1+hK₂))ⁿ at least, "
        "and not like the printed (λ+h²λδ)ⁿ.",
    ),
    Entry(
        "paper-theorem-6",
        "The modified loss of the invariant manifold",
        "Kovachki & Stuart (2021), Theorem 6 and eq. (19)-(21)",
        "On the manifold momentum follows the gradient flow of Φ + ½hc|∇Φ|² to order 2, "
        "with c = λ̄(λ̄-a-½), not with the printed sign.",
    ),
    Entry(
        "paper-equation-13",
        "More terms do not help: the higher-order equations",
        "Kovachki & Stuart (2021), eq. (13) and §3.2.2",
        "(13) is consistent to order p+1, its error from rest stays of order 1, and from p = 5 it is unstable "
        "for every λ.",
    ),
    Entry(
        "strongly-convex",
        "Methods tuned to strong convexity",
        "Kovachki & Stuart (2021), §5, eq. (5), (36) and Appendix D",
        "HB-μ, NAG-μ and the splitting (36) follow ü + 2√μ u̇ + ∇Φ = 0 to order ½, "
        "the splitting not with its printed exponent.",
    ),
    Entry(
        "errata",
        "Printed and right",
        "Kovachki & Stuart (2021); the poster on Qian (1999); Ghosh et al. (ICLR 2023)",
        "Each number that a source prints wrongly is refuted, and its right form holds.",
    ),
    Entry(
        "poster-figure-1",
        "A ravine with and without momentum",
        "Poster on Qian (1999), Figure 1",
        "From the same start heavy ball reaches the minimum of a ravine sooner than gradient descent.",
    ),
    Entry(
        "poster-figure-2",
        "Speed-up of an oscillator by its momentum",
        "Poster on Qian (1999), Figure 2 and eq. (7)-(9)",
        "Momentum speeds up decay along an eigenvector iff k < μ̃²/(2m), most, by 2, at k = μ̃²/(4m).",
    ),
    Entry(
        "poster-figure-3",
        "A ravine in continuous time",
        "Poster on Qian (1999), Figure 3",
        "On E = ½wᵀAw, A = diag(3, 30), momentum improves convergence along k = 3 and not along k = 30.",
    ),
    Entry(
        "poster-figure-4",
        "A ravine in discrete time",
        "Poster on Qian (1999), Figure 4",
        "With a step at which gradient descent diverges momentum converges on ½wᵀAw, but not on the printed wᵀAw.",
    ),
    Entry(
        "slides-flat-minima",
        "Momentum ends at flatter minima",
        "Ghosh et al. (ICLR 2023), two-parameter example",
        "At a fixed effective learning rate the final sharpness of E = ½(y-w₁w₂x)² falls with λ.",
    ),
    Entry(
        "slides-modified-flow",
        "The implicit regulariser of momentum",
        "Ghosh et al. (ICLR 2023), IGR and IGR-M",
        "Gradient descent and heavy ball follow the flow with the regulariser to order 2, without it to order 1; "
        "heavy ball from rest needs the lagged start.",
    ),
    Entry(
        "slides-variance",
        "Variance and regularisation on mini-batches",
        "Ghosh et al. (ICLR 2023), Remarks",
        "The averaged gradient has the covariance (1-λ)/(1+λ)Σ; the expected regulariser grows by 1/(1-λ) "
        "only where the mean gradient vanishes.",
    ),
    Entry(
        "slides-classification",
        "Test accuracy with SGD and momentum",
        "Ghosh et al. (ICLR 2023), Some prevalent observations in deep learning",
        "Test accuracy rises with h, and with momentum its variation falls and it rises with λ: measured at a fixed h, "
        "where λ acts as its effective learning rate, and at a fixed h/(1-λ).",
    ),
    Entry(
        "slides-stochastic-flow",
        "The modified flow of momentum on mini-batches",
        "Ghosh et al. (ICLR 2023), IGRM-S",
        "Path by path, heavy ball and Nesterov on random mini-batches follow their modified flow to order 2, and "
        "without its regulariser to order 1.",
    ),
    Entry(
        "slides-family",
        "The family of modified flows of momentum",
        "Ghosh et al. (ICLR 2023), Family of O(h²) modified flows",
        "A drift that changes from step to step is O(h²) from momentum at rest, after the layer, iff it settles and "
        "makes up for the lag of λ/(1-λ) iterations; the slides' own is so from the first step on.",
    ),
    Entry(
        "diagonal-network",
        "What decides the path of momentum, and where a diagonal network ends",
        "Papazov, Pesme & Flammarion (AISTATS 2024)",
        "Runs of equal λ_eff = (1+λ)h/(2(1-λ)²) have the same path to order 2, of equal h/(1-λ)² to order 1; λ_eff "
        "decides how much of its balance a diagonal network loses.",
    ),
    Entry(
        "stochastic-equations",
        "Stochastic modified equations of momentum",
        "Li, Tai & E (2019)",
        "For 1-λ as small as √h the law of momentum with noisy gradients is that of a stochastic differential "
        "equation, to weak order 1 in √h, and to weak order 2 with its corrections.",
    ),
    Entry(
        "reshuffling",
        "Random reshuffling with momentum",
        "beyond Smith, Dherin, Barrett & De (ICLR 2021)",
        "With a fresh permutation each epoch the mean path descends a loss whose noise term has the constant κ(m, λ) "
        "in closed form, which momentum makes smaller than 1.",
    ),
    Entry(
        "lag-at-rest",
        "The lag of momentum from rest",
        "beyond Kovachki & Stuart (2021), Theorem 6: a start off the manifold",
        "From rest momentum falls onto its slow flow λ/(1-λ) iterations late, from (u₀, v₀) onto the one that starts "
        "at u₀ + hλλ̄(v₀ - λ̄f(u₀)).",
    ),
    Entry(
        "beyond-slow-flow",
        "The slow flow to order 6",
        "beyond Kovachki & Stuart (2021), Theorem 6",
        "On its manifold momentum follows the modified equation of order p to order p, while hk is below x₋, "
        "the radius of its series; above, a higher order is worse.",
    ),
    Entry(
        "beyond-transient",
        "The oscillations of momentum at large learning rates",
        "beyond Kovachki & Stuart (2021): the open problem of §3.3",
        "From rest, transient included, the inertial and the phase flow follow heavy ball and Nesterov where "
        "(11) misses their oscillations.",
    ),
    Entry(
        "beyond-principal-flow",
        "The principal flow in every regime",
        "beyond Kovachki & Stuart (2021), after Rosca, Wu, Qin & Dherin (2023)",
        "The logarithm of a step is a flow through every iterate of a quadratic, monotone and rippling; beyond x₊ "
        "it passes through every second one, and for Nesterov at hk > 1 no flow on (u, v) does better.",
    ),
    Entry(
        "beyond-network",
        "Slow, inertial and phase flows beside the training of a network",
        "beyond Kovachki & Stuart (2021): the open question of §3.3 on a real network",
        "On an autoencoder hk lies beyond x₋, where the slow flows fail at every order; the inertial and the phase "
        "flow follow the parameters within a per cent of their path.",
    ),
    Entry(
        "stability-plane",
        "The plane of learning rate and momentum",
        "Goh (2017), Why momentum really works; Kovachki & Stuart (2021), eq. (7)",
        "Over (hk, λ) momentum is monotone, rippling, sign-flipping or divergent, with borders in closed form, and "
        "stable iff hk < 2(1+λ)/(1+2a).",
    ),
    Entry(
        "optimal-tuning",
        "Rates of optimal tuning",
        "Polyak (1964); Lessard, Recht & Packard (2016), Proposition 1",
        "Tuned for a spectrum, heavy ball needs a number of iterations like √κ, Nesterov √3 times as many, gradient "
        "descent one like κ.",
    ),
    Entry(
        "cycling-heavy-ball",
        "The best heavy ball for quadratics cycles",
        "Lessard, Recht & Packard (2016), §4.6",
        "On a piecewise quadratic loss heavy ball tuned for quadratics goes through three points for ever, gradient "
        "descent and Nesterov converge.",
    ),
    Entry(
        "edge-of-stability",
        "Training at the edge of stability",
        "Cohen, Kaur, Li, Kolter & Talwalkar (2021), Gradient descent on neural networks typically occurs at the edge "
        "of stability",
        "Full-batch training of a network on digits sharpens until the largest curvature meets 2/h for gradient "
        "descent, 2(1+λ)/h for heavy ball, 2(1+λ)/((1+2λ)h) for Nesterov, and hovers there.",
    ),
)


def entries() -> tuple[Entry, ...]:
    """Every experiment, in the order in which the report shows them."""
    return _ENTRIES


def find(id: str) -> Entry:
    """The experiment of an id; an unknown one raises `ValueError` with the nearest."""
    table = {entry.id: entry for entry in _ENTRIES}
    if id not in table:
        raise unknown("experiment", id, table)
    return table[id]


def select(ids: Sequence[str]) -> tuple[Entry, ...]:
    """The experiments of some ids, each once; of no id, or of "all", every one."""
    named = tuple(find(id) for id in dict.fromkeys(ids) if id != "all")
    return _ENTRIES if not ids or "all" in ids else named


def load(entry: Entry) -> Experiment:
    """The module of an experiment, imported now."""
    return cast(Experiment, importlib.import_module(f".{entry.module}", __package__))
