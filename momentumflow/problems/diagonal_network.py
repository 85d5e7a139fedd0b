"""Linear regression by a diagonal network: the balance of its weights remembers how it was trained."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import _validate


class DiagonalNetwork(eqx.Module):
    r"""$\Phi(w) = \tfrac1{2n}|X(u\odot v) - y|^2$, $w = (u, v)$: linear regression with $\theta = u\odot v$.

    The gradient flow keeps $\Delta = |w_+w_-| = |u^2 - v^2|$, $w_\pm = u\pm v$, and ends, where $X\theta = y$ has many
    solutions, at one that is the sparser, the smaller $\Delta$ is. Momentum makes $\Delta$ smaller: for heavy ball

    $$\log\frac{\Delta_0}{\Delta_\infty} = \frac{1+\lambda}{2(1-\lambda)}
      \sum_k\big(\rho_{+,k}^2 + \rho_{-,k}^2\big) + O(h^3), \qquad \rho_{\pm,k} = w_{\pm,k+1}/w_{\pm,k} - 1,$$

    from rest, and on the momentum ODE (11), in time $\tau = \bar\lambda t$, exactly
    $hc\int\big[(\dot w_+/w_+)^2 + (\dot w_-/w_-)^2\big]d\tau$ with $hc = (1+\lambda)h/(2(1-\lambda)^2)$, from rest or
    from the slow velocity; both as long as no entry of $w_+$ or $w_-$ changes its sign.

    **Arguments:**

    - `inputs`: X, shape `(n, d)`.
    - `targets`: y, shape `(n,)`.

    The params are w, of shape `(2, d)`: u above v.

    **Raises:** `ValueError` for other shapes, or numbers that are not finite.

    Papazov, Pesme & Flammarion (2024), Leveraging continuous time to understand momentum when training diagonal linear
    networks, who have $h/(1-\lambda)^2$ in place of hc, right for λ near 1; the sum over steps is derived here.

    !!! example

        >>> import jax.numpy as jnp, momentumflow as mf
        >>> network = mf.DiagonalNetwork(jnp.array([[1.0, 2.0]]), jnp.array([1.0]))
        >>> w = jnp.array([[1.0, 0.5], [0.5, 0.5]])
        >>> float(network(w)), network.predictor(w).tolist(), network.balance(w).tolist()
        (0.0, [0.5, 0.25], [0.75, 0.0])
    """

    inputs: Float[Array, "n d"] = eqx.field(converter=_validate.array_field)
    targets: Float[Array, " n"] = eqx.field(converter=_validate.array_field)

    def __check_init__(self) -> None:
        if self.inputs.ndim != 2 or self.inputs.size == 0 or self.targets.shape != self.inputs.shape[:1]:
            raise ValueError(
                "inputs and targets must have shapes (n, d) and (n,) with n, d >= 1, got "
                f"{self.inputs.shape} and {self.targets.shape}: one row and one number for each datum"
            )
        _validate.finite("inputs", self.inputs, "check the data")
        _validate.finite("targets", self.targets, "check the data")

    def __call__(self, params: PyTree) -> Float[Array, ""]:
        predicted = self.predictor(params)
        inputs, targets = (jnp.asarray(x, predicted.dtype) for x in (self.inputs, self.targets))
        return jnp.mean((inputs @ predicted - targets) ** 2) / 2

    def predictor(self, params: PyTree) -> Float[Array, " d"]:
        r"""$\theta = u\odot v$."""
        u, v = self._checked(params)
        return u * v

    def balance(self, params: PyTree) -> Float[Array, " d"]:
        r"""$\Delta = |u^2 - v^2|$."""
        u, v = self._checked(params)
        return jnp.abs((u - v) * (u + v))

    def _checked(self, params: PyTree) -> Float[Array, "2 d"]:
        wanted = (2, self.inputs.shape[1])
        if jnp.shape(params) != wanted:
            raise ValueError(
                f"params of DiagonalNetwork must have shape {wanted}, got {jnp.shape(params)}: u above v"
            )
        return jnp.asarray(params)
