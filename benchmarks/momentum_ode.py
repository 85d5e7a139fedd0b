"""The momentum ODE (11) from h = 2^-4 to 2^-14 at tolerance 1e-10, and 1 000 values of h at once.

Run `python -m benchmarks.momentum_ode`. Evaluations of the force are counted by a callback in the force itself,
ours and SciPy's alike. SciPy's tolerance is tightened until its error at T = 2, against the closed form by the
matrix exponential, is no larger than ours; of its methods the one with the fewest evaluations is printed.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from diffrax import Tsit5
from rich.console import Console
from rich.table import Table
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import momentumflow as mf
from benchmarks._bench import Counter, compare, environment, report

LAM, FINAL, TOLERANCE = 0.9, 2.0, 1e-10
ALPHA = (1 + LAM) / 2
EXPONENTS = range(4, 15, 2)
SCIPY = ("LSODA", "DOP853", "RK45")  # Radau and BDF need several times their evaluations at 1e-10


COUNTER = Counter()


class Force(eqx.Module):
    """-Qu with Q = diag(1, κ), counted."""

    condition_number: jax.Array
    counted: bool = eqx.field(static=True)

    def __call__(self, u: jax.Array) -> jax.Array:
        if self.counted:
            jax.debug.callback(COUNTER)
        return -u * jnp.stack([jnp.ones_like(self.condition_number), self.condition_number])


def end(h: jax.Array, kappa: jax.Array, counted: bool = False, solver: object = None) -> jax.Array:
    model = mf.MomentumODE(mf.momentum_method(h, LAM, 0.0))
    times = jnp.array([0.0, FINAL])
    field = mf.VectorField(Force(kappa, counted))
    return mf.solve(model, field, jnp.ones(2), times, tolerance=TOLERANCE, solver=solver).params[-1]


def initial(h: float, kappa: float) -> np.ndarray:
    q = np.array([1.0, kappa])
    return np.concatenate([np.ones(2), -q * (1 - LAM / ALPHA) / (1 - LAM)])


def exact(h: float, kappa: float) -> np.ndarray:
    y0, out = initial(h, kappa), []
    for i, k in enumerate((1.0, kappa)):
        matrix = np.array([[0, 1], [-k / (h * ALPHA), -(1 - LAM) / (h * ALPHA)]])
        out.append((expm(matrix * FINAL) @ [y0[i], y0[i + 2]])[0])
    return np.array(out)


def scipy_end(h: float, kappa: float, method: str, tolerance: float) -> tuple[np.ndarray, int]:
    q, counter = np.array([1.0, kappa]), Counter()

    def rhs(_: float, y: np.ndarray) -> np.ndarray:
        counter()
        return np.concatenate([y[2:], (-q * y[:2] - (1 - LAM) * y[2:]) / (h * ALPHA)])

    y0 = initial(h, kappa)
    solution = solve_ivp(rhs, (0, FINAL), y0, method=method, rtol=max(tolerance, 3e-14), atol=tolerance)
    return solution.y[:2, -1], counter.calls


def best_scipy(h: float, kappa: float, error: float) -> tuple[int, str, float]:
    """Fewest evaluations at an error no larger than ours: (evaluations, method, tolerance)."""
    found = []
    for method in SCIPY:
        for tolerance in 10.0 ** -np.arange(8, 14):
            value, calls = scipy_end(h, kappa, method, tolerance)
            if np.abs(value - exact(h, kappa)).max() <= error:
                found.append((calls, method, float(tolerance)))
                break
    return min(found)


def evaluations() -> None:
    table = Table(title="Evaluations of the force, tolerance 1e-10", caption=environment())
    for column in ("κ", "h", "ours", "growth", "error", "SciPy's best", "method"):
        table.add_column(column, justify="right")
    counted = eqx.filter_jit(lambda h, kappa: end(h, kappa, counted=True))
    for kappa in (1.0, 20.0):
        first = 0
        for k in EXPONENTS:
            h = 2.0**-k
            COUNTER.calls = 0
            value = counted(jnp.asarray(h), jnp.asarray(kappa))
            jax.effects_barrier()
            calls = COUNTER.calls
            first = first or calls
            error = float(np.abs(value - exact(h, kappa)).max())
            theirs, method, tolerance = best_scipy(h, kappa, max(error, 1e-13))
            row = (f"{kappa:g}", f"2^-{k}", calls, f"{calls / first:.2f}", f"{error:.1e}", theirs)
            table.add_row(*map(str, row), f"{method}, {tolerance:g}")
    Console(width=110).print(table)


def ensemble() -> None:
    """SciPy's loop at the loosest tolerance whose worst error over the sample is no larger than ours."""
    hs = 2.0 ** jnp.linspace(-4, -14, 1000)
    kappa, every = jnp.asarray(20.0), 100
    sample = np.asarray(hs)[::every]
    truth = np.array([exact(float(h), 20.0) for h in sample])
    comparisons = []
    for name, solver in (("Kvaerno5, the default", None), ("Tsit5", Tsit5())):
        batch = eqx.filter_jit(eqx.filter_vmap(lambda h, solver=solver: end(h, kappa, solver=solver)))
        error = np.abs(np.asarray(batch(hs))[::every] - truth).max()
        for method in ("LSODA", "DOP853"):
            tolerance = equal_tolerance(method, sample, truth, error)

            def loop(method: str = method, tolerance: float = tolerance) -> list:
                return [scipy_end(float(h), 20.0, method, tolerance) for h in sample]

            label = f"{method} at {tolerance:.0e} (ours {name}, error {error:.0e})"
            comparisons.append(compare(label, lambda batch=batch: batch(hs), loop, 5, len(hs) / len(sample)))
    report("1 000 values of h at once, κ = 20, against a loop of solve_ivp", comparisons)


def equal_tolerance(method: str, sample: np.ndarray, truth: np.ndarray, error: float) -> float:
    for tolerance in 10.0 ** -np.arange(7, 14):
        values = [scipy_end(float(h), 20.0, method, tolerance)[0] for h in sample]
        if np.abs(np.array(values) - truth).max() <= error:
            return float(tolerance)
    raise RuntimeError(f"{method} does not reach {error:.0e}")


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    evaluations()
    ensemble()


if __name__ == "__main__":
    main()
