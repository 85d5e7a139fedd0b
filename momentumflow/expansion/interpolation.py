r"""Weights that turn iterates into the field of the flow through them.

If $P_h$ is one step of (15) then $X = \log P_h$ is the field whose flow, per step, passes through the iterates.
A polynomial q that equals log at the eigenvalues $\lambda^m$ of $P_0$ to high enough order stands in for log:
$q(P_h) = \sum_j w_j P_h^j$, a linear combination of iterates.
"""

from functools import lru_cache

DIGITS = 60


@lru_cache(maxsize=256)
def weights(momentum: float, order: int) -> tuple[float, ...]:
    r"""w_0, …, w_K of the polynomial that interpolates log at 1 (p+1 times), λ (p times), …, λ^p (once).

    $\sum_j w_jP_h^j(z)$ equals $X$ up to $O(h^{p+1})$ in u and $O(h^p)$ in v; K = (p+1)(p+2)/2 - 1. Confluent
    divided differences in 60 digits, as the weights cancel in float64.

    >>> [round(w, 6) for w in weights(0.9, 1)]
    [-1.536052, 2.072103, -0.536052]
    """
    import mpmath

    with mpmath.workdps(DIGITS):
        lam = mpmath.mpf(momentum)
        nodes = [lam**m for m in range(order + 1) for _ in range(order + 1 - m)]
        newton = _divided_differences(nodes)
        monomial = [mpmath.mpf(0)] * len(nodes)
        for coefficient, node in zip(reversed(newton), reversed(nodes), strict=True):
            # Horner: q ← q (μ - node) + coefficient
            monomial = [
                (monomial[j - 1] if j else 0) - node * monomial[j] + (coefficient if j == 0 else 0)
                for j in range(len(nodes))
            ]
        return tuple(float(w) for w in monomial)


def _divided_differences(nodes: list) -> list:
    """log[x_0], log[x_0, x_1], … with equal nodes beside each other."""
    import mpmath

    column = [mpmath.log(x) for x in nodes]
    found = [column[0]]
    for k in range(1, len(nodes)):
        column = [
            # log^(k)(x)/k! where all k+1 nodes are the same
            (-1) ** (k - 1) / (k * nodes[i] ** k)
            if nodes[i] == nodes[i + k]
            else (column[i + 1] - column[i]) / (nodes[i + k] - nodes[i])
            for i in range(len(nodes) - k)
        ]
        found.append(column[0])
    return found
