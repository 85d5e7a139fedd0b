"""Regime and spectral radius on a 1 000 x 1 000 plane of (hk, λ), against LAPACK on the companion matrices.

    python -m benchmarks.stability_plane

Ours gives the radius and the regime; the peer, `numpy.linalg.eigvals`, only the eigenvalues, on a tenth of the rows.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._bench import compare, report
from momentumflow.linear.family import regime, spectral_radius

SIDE, SHARE = 1_000, 10
FEW = slice(None, None, SHARE)
LARGEST = 4.4
LOOKAHEADS = ("heavy ball", "Nesterov")


@jax.jit
def plane(x: jax.Array, lam: jax.Array, lookahead: jax.Array) -> tuple[jax.Array, jax.Array]:
    return spectral_radius(x, lam, lookahead), regime(x, lam, lookahead)


def with_numpy(x: np.ndarray, lam: np.ndarray, lookahead: np.ndarray) -> np.ndarray:
    trace, product = 1 + lam - x * (1 + lookahead), lam - x * lookahead
    companion = np.zeros((*trace.shape, 2, 2))
    companion[..., 0, 0], companion[..., 0, 1], companion[..., 1, 0] = trace, -product, 1
    return np.abs(np.linalg.eigvals(companion)).max(-1)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    x, lam = np.linspace(0, LARGEST, SIDE), np.linspace(0, 1, SIDE, endpoint=False)[:, None]
    rows = []
    for name in LOOKAHEADS:
        a = lam if name == "Nesterov" else 0 * lam
        np.testing.assert_allclose(plane(x, lam, a)[0][FEW], with_numpy(x, lam[FEW], a[FEW]), atol=1e-7)
        ours = [jnp.asarray(value) for value in (x, lam, a)]
        rows.append(
            compare(
                f"numpy.linalg.eigvals, {name} (scaled)",
                lambda ours=ours: plane(*ours),
                lambda a=a: with_numpy(x, lam[FEW], a[FEW]),
                scale=SHARE,
            )
        )
    title = f"{SIDE:,} x {SIDE:,} plane, float64; ours to be under 0.5 s"
    report(title, rows, {row.peer: ">= 10" for row in rows})


if __name__ == "__main__":
    main()
