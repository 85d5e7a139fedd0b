"""Errors for bad input: each names the requirement, the value and the remedy, before work starts.

Values are checked where they are concrete; a traced value (under `jit`, `vmap` or `grad`) passes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, PyTree

from ._errors import unknown as unknown
from ._types import Loss, Params, VectorField

_ARRAY_LIKE = (int, float, np.ndarray, np.generic, jax.Array)


def is_concrete(x: Any) -> bool:
    return not isinstance(x, jax.core.Tracer)


def scalar_field(x: ArrayLike) -> ArrayLike:
    """Converter of a method's or model's field: an array, weakly typed for a Python number.

    The integer 0 stays Python's own, so that heavy ball's query point is u_n itself, not u_n + 0 v_n.
    """
    if isinstance(x, str) or not isinstance(x, _ARRAY_LIKE) or not _is_real(x):
        raise TypeError(f"a constant must be a real number or array, got {x!r}: pass a float")
    if isinstance(x, int) and x == 0:
        return x
    if not is_concrete(x):
        return jnp.asarray(x)
    with jax.ensure_compile_time_eval():  # a number written inside `jit` stays concrete and is checked
        return jnp.asarray(float(x) if np.ndim(x) == 0 else x)


def _is_real(x: Any) -> bool:
    kind = jnp.result_type(x)
    return jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer)


def array_field(x: Any) -> jax.Array:
    """Converter of a field that is a matrix or a vector."""
    if not all(map(is_concrete, jax.tree.leaves(x))):
        return jnp.asarray(x, float)
    with jax.ensure_compile_time_eval():
        return jnp.asarray(x, float)


def _require(ok: np.ndarray | np.bool_, name: str, requirement: str, value: Any, remedy: str) -> None:
    if not ok.all():
        raise ValueError(f"{name} must be {requirement}, got {np.asarray(value)}: {remedy}")


def positive(name: str, value: ArrayLike, remedy: str) -> None:
    if is_concrete(value):
        v = np.asarray(value)
        _require(np.isfinite(v) & (v > 0), name, "finite and > 0", v, remedy)


def non_negative(name: str, value: ArrayLike, remedy: str) -> None:
    if is_concrete(value):
        v = np.asarray(value)
        _require(np.isfinite(v) & (v >= 0), name, "finite and >= 0", v, remedy)


def finite(name: str, value: ArrayLike, remedy: str) -> None:
    if is_concrete(value):
        v = np.asarray(value)
        _require(np.isfinite(v), name, "finite", v, remedy)


def momentum_factor(name: str, value: ArrayLike) -> None:
    if is_concrete(value):
        v = np.asarray(value)
        remedy = "1 would never forget a gradient; 0.9 is the usual choice and 0 is gradient descent"
        _require((v >= 0) & (v < 1), name, "in [0, 1)", v, remedy)


def count(name: str, value: Any, minimum: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {value!r}: pass a Python int")
    return int(value)


def as_params(params: PyTree) -> Params:
    """The params as a pytree of floating-point arrays with finite entries."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError("params must have at least one array, got an empty pytree")
    for path, leaf in leaves:
        _check_leaf("params" + jax.tree_util.keystr(path), leaf)
    return jax.tree.map(jnp.asarray, params)


def _check_leaf(name: str, leaf: Any) -> None:
    if not isinstance(leaf, _ARRAY_LIKE):
        raise TypeError(
            f"{name} must be an array, got {type(leaf).__name__}: split a model with "
            "eqx.partition(model, eqx.is_inexact_array) and pass the arrays"
        )
    kind = jnp.result_type(leaf)
    if not jnp.issubdtype(kind, jnp.floating):
        raise TypeError(f"{name} must be real floating point, got {kind}: use params.astype(float)")
    if is_concrete(leaf) and not np.all(np.isfinite(np.asarray(leaf, float))):
        raise ValueError(f"{name} must be finite, got NaN or infinity: check the initial values")


def same_shapes(name: str, tree: PyTree, like: PyTree, like_name: str) -> None:
    """Raises unless `tree` has the structure, shapes and floating dtypes of `like`."""
    a, b = jax.tree.structure(tree), jax.tree.structure(like)
    if a != b:
        raise ValueError(
            f"{name} must have the tree structure of {like_name} ({b}), got {a}: "
            f"jax.tree.map over {like_name} makes one"
        )
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(like), strict=True):
        where = name + jax.tree_util.keystr(path)
        if jnp.shape(x) != jnp.shape(y):
            raise ValueError(
                f"{where} must have shape {jnp.shape(y)} like {like_name}, got {jnp.shape(x)}: reshape it"
            )
        if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
            raise TypeError(
                f"{where} must be real floating point, got {jnp.result_type(x)}: use .astype(float)"
            )


def _same_dtypes(name: str, tree: PyTree, params: Params) -> None:
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(params), strict=True):
        if x.dtype != jnp.result_type(y):
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)} must have the params' dtype {jnp.result_type(y)}, "
                f"got {x.dtype}: cast it with .astype"
            )


def check_loss(loss: Loss | VectorField, params: Params) -> None:
    """Raises unless loss(params) is a real scalar, or the vector field maps params to their like."""
    function = loss.field if isinstance(loss, VectorField) else loss
    if not callable(function):
        raise TypeError(
            f"loss must be a function of the params, got {type(function).__name__}: pass params -> scalar"
        )
    out = jax.eval_shape(loss, params)
    if isinstance(loss, VectorField):
        same_shapes("the vector field's value", out, params, "params")
        _same_dtypes("the vector field's value", out, params)
        return
    leaves = jax.tree.leaves(out)
    if len(leaves) != 1 or leaves[0].shape != () or not isinstance(out, jax.ShapeDtypeStruct):
        shapes = [leaf.shape for leaf in leaves]
        raise ValueError(
            f"loss must return one scalar, got {len(leaves)} array(s) of shape {shapes}: "
            "return a sum or a mean, and no auxiliary output"
        )
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise TypeError(f"loss must return a real floating-point scalar, got {out.dtype}: use .astype(float)")


def increasing_times(times: ArrayLike) -> None:
    """Raises unless times are one-dimensional, finite, >= 0 and strictly increasing."""
    if np.ndim(times) != 1 or np.size(times) == 0:
        raise ValueError(f"times must be a non-empty vector, got shape {np.shape(times)}")
    if is_concrete(times):
        t = np.asarray(times)
        if not np.all(np.isfinite(t)) or t[0] < 0:
            raise ValueError(
                f"times must be finite and >= 0, got {t[0]} ... {t[-1]}: the flow starts at t = 0"
            )
        if not np.all(np.diff(t) > 0):
            i = int(np.argmin(np.diff(t) > 0))
            raise ValueError(
                f"times must be strictly increasing, got {t[i]} then {t[i + 1]} "
                f"at positions {i}, {i + 1}: sort them and remove repeats"
            )
