"""The training loop against the textbook recursion by hand, and what it says of runs that fail."""

import io
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import momentumflow as mf
from momentumflow import _progress
from momentumflow.training import (
    METHOD_NAMES,
    evaluate,
    load,
    run_methods,
    six_methods,
    table,
    to_dict,
    train,
)

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"

H, LAMBDA, MU = 0.25, 0.9, 1.0
NETWORK = mf.Autoencoder((64, 12, 5))
PARAMS = NETWORK.init(jax.random.key(3), float)
BATCHES = load("digits").batches(100).astype(float)


def gradient_by_hand(u: list[np.ndarray], x: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """Loss and gradient of the network 64-12-5-12-64 by the chain rule, in numpy."""
    inputs, y = [], x
    for i in range(4):
        inputs.append(y)
        y = y @ u[2 * i] + u[2 * i + 1]
        y = np.maximum(y, 0) if i in (0, 2) else y
    residual, gradient = y - x, [np.zeros(0)] * 8
    delta = 2 * residual / residual.size
    for i in reversed(range(4)):
        gradient[2 * i], gradient[2 * i + 1] = inputs[i].T @ delta, delta.sum(0)
        delta = delta @ u[2 * i].T
        delta = delta * (inputs[i] > 0) if i in (1, 3) else delta
    return float(np.mean(residual**2)), gradient


def recursion(name: str):
    """(momentum, lookahead, step) of (7) for each row of Figure 6 but Wilson's."""
    tuned = (1 - math.sqrt(MU * H)) / (1 + math.sqrt(MU * H))  # (5)
    return {
        "GF": (0, 0, H / (1 - LAMBDA)),  # (35)
        "HB": (LAMBDA, 0, H),
        "NAG": (LAMBDA, LAMBDA, H),
        "HB-mu": (tuned, 0, H),
        "NAG-mu": (tuned, tuned, H),
    }[name]


def textbook(name: str, u: list[np.ndarray], batches: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """Kovachki & Stuart (2021), (7) in two steps, and (36) with the exponent of Appendix D."""
    losses, before, v = [], u, [np.zeros_like(w) for w in u]
    for x in batches:
        if name == "Wilson":
            e = math.exp(-2 * math.sqrt(MU * H))
            u = [w + (1 - e) / (2 * math.sqrt(MU)) * r for w, r in zip(u, v, strict=True)]
            loss, gradient = gradient_by_hand(u, x)
            v = [e * r - math.sqrt(H) * g for r, g in zip(v, gradient, strict=True)]
        else:
            lam, a, step = recursion(name)
            loss, gradient = gradient_by_hand([w + a * (w - b) for w, b in zip(u, before, strict=True)], x)
            after = [w + lam * (w - b) - step * g for w, b, g in zip(u, before, gradient, strict=True)]
            before, u = u, after
        losses.append(loss)
    return u, losses


def flat(params) -> list[np.ndarray]:
    return [np.asarray(layer[key]) for layer in params for key in ("weight", "bias")]


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_an_epoch_is_the_textbook_loop(name):
    run = train(six_methods(H, LAMBDA, MU)[name], NETWORK.loss, PARAMS, BATCHES, epochs=1)
    expected, losses = textbook(name, flat(PARAMS), BATCHES)
    for ours, theirs in zip(flat(run.params), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(run.losses, [np.mean(losses)], rtol=1e-12)
    final = np.mean([gradient_by_hand(expected, x)[0] for x in BATCHES])
    np.testing.assert_allclose(run.final_error, final, rtol=1e-11)
    np.testing.assert_allclose(
        run.initial_error, np.mean([gradient_by_hand(flat(PARAMS), x)[0] for x in BATCHES])
    )


def test_wilson_with_the_printed_exponent_is_another_run():
    corrected, printed = (
        train(mf.wilson_splitting(H, MU, printed), NETWORK.loss, PARAMS, BATCHES, 1)
        for printed in (False, True)
    )
    assert abs(printed.final_error / corrected.final_error - 1) > 1e-3


def test_order_of_the_batches_matters():
    """Negative control of the comparison above: it would see a shuffled order."""
    method = mf.heavy_ball(H, LAMBDA)
    order = np.random.default_rng(4).permutation(len(BATCHES))
    in_order, shuffled = (train(method, NETWORK.loss, PARAMS, b, 1) for b in (BATCHES, BATCHES[order]))
    distance = max(
        np.abs(x - y).max() for x, y in zip(flat(in_order.params), flat(shuffled.params), strict=True)
    )
    assert distance > 1e-4


def test_two_epochs_go_on_where_the_first_ended():
    twice = np.concatenate([BATCHES, BATCHES])
    run = train(mf.nesterov(H, LAMBDA), NETWORK.loss, PARAMS, BATCHES, epochs=2)
    for ours, theirs in zip(flat(run.params), textbook("NAG", flat(PARAMS), twice)[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    assert run.losses.shape == (2,)


def test_step_number_runs_on_over_epochs():
    """The momentum n/(n+3) of (4) needs n; on Φ = u²/2 by hand from rest."""
    run = train(
        mf.nesterov_sequence(0.1),
        lambda u, x: jnp.mean(0 * x) + u**2 / 2,
        jnp.ones(()),
        jnp.zeros((3, 1)),
        epochs=2,
    )
    before = u = 1.0
    for n in range(6):
        lam = n / (n + 3)
        ahead = u + lam * (u - before)
        before, u = u, ahead - 0.1 * ahead
    np.testing.assert_allclose(run.params, u, rtol=1e-12)


def test_epochs_and_learning_rates_do_not_trace_again():
    traces = []

    def loss(u, x):
        traces.append(1)
        return jnp.mean((u - x) ** 2)

    train(mf.heavy_ball(0.1, 0.9), loss, jnp.ones(2), jnp.zeros((3, 4, 2)), epochs=2)
    once = len(traces)
    train(mf.heavy_ball(0.2, 0.5), loss, jnp.ones(2), jnp.zeros((3, 4, 2)), epochs=5)
    assert len(traces) == once + 1  # the check of the input is abstract and is not cached
    assert once <= 4  # the check, `evaluate`, and the scan's body


def test_the_callers_params_survive():
    before = [x.copy() for x in flat(PARAMS)]
    train(mf.gradient_descent(0.1), NETWORK.loss, PARAMS, BATCHES, 1)
    for x, y in zip(before, flat(PARAMS), strict=True):
        np.testing.assert_array_equal(x, y)


def test_divergence_is_a_result_with_its_step():
    """Φ = u⁴/4 from u = 2 with h = 1: u → u - u³ by hand overflows at step n."""
    u, n = 2.0, 0
    while math.isfinite(u) and abs(u) < 1e77:  # u⁴ overflows at 1.8e308^(1/4) = 1.2e77
        u, n = u - u**3, n + 1
    reports = Reports()
    run = train(
        mf.gradient_descent(1.0),
        lambda u, x: jnp.mean(0 * x) + u**4 / 4,
        jnp.array(2.0),
        jnp.zeros((4, 1)),
        50,
        reports,
    )
    assert run.status == f"diverged at step {n}"
    assert not run.succeeded
    assert math.isnan(run.final_error)
    assert len(run.losses) == len(reports.seen) == n // 4 + 1  # the epoch in which it happened is the last


def test_divergence_in_the_last_step_is_seen():
    run = train(
        mf.gradient_descent(1e300), lambda u, x: jnp.mean(x) + u**2, jnp.array(1e100), jnp.zeros((1, 1)), 1
    )
    assert run.diverged_at == 1


def test_an_error_that_does_not_fall_is_not_available():
    """Φ = u² with h = 1 flips the sign for ever: the error is the initial one."""
    run = train(
        mf.gradient_descent(1.0), lambda u, x: jnp.mean(x) + u**2, jnp.array(3.0), jnp.zeros((5, 1)), 2
    )
    assert run.final_error == run.initial_error == 9
    assert run.status == "n/a: error not below the initial one"
    assert not run.succeeded


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer >= 1"),
        ({"batches": np.zeros(3)}, r"batches must be arrays of shape \(batches, batch, ...\)"),
        ({"batches": np.full((1, 2, 64), np.nan)}, "batches must be finite"),
        ({"loss": lambda u, x: x}, "loss must return one scalar"),
    ],
)
def test_bad_input_is_reported_before_work_starts(arguments, message):
    given = {"loss": NETWORK.loss, "params": PARAMS, "batches": BATCHES, "epochs": 1} | arguments
    with pytest.raises((ValueError, TypeError), match=message):
        train(mf.gradient_descent(0.1), **given)


class Reports:
    def __init__(self) -> None:
        self.seen = []

    def update(self, done: int, total: int, loss: float = math.nan, label: str = "") -> None:
        self.seen.append((done, total, loss, label))


@pytest.fixture(scope="module")
def comparison():
    reports = Reports()
    result = run_methods(load("digits"), epochs=2, learning_rate=0.5, seed=7, progress=reports)
    return result, reports.seen


def test_the_six_start_alike_and_report_every_epoch(comparison):
    result, seen = comparison
    assert tuple(result.runs) == METHOD_NAMES
    assert len({run.initial_error for run in result.runs.values()}) == 1
    completed = sum(len(run.losses) for run in result.runs.values())
    assert len(seen) == completed
    assert seen[2][:2] == (3, 12)
    assert seen[2][3] == "HB"
    assert seen[2][2] == pytest.approx(result.runs["HB"].losses[0])


def test_float32_errors_agree_with_float64(comparison):
    """An independent precision: one run of the six again in float64, from the same params."""
    result, _ = comparison
    network = mf.Autoencoder(load("digits").sizes)
    params = jax.tree.map(lambda x: x.astype(float), network.init(jax.random.key(7)))
    batches = jnp.asarray(load("digits").batches(), float)
    run = train(mf.heavy_ball(0.5, 0.9), network.loss, params, batches, 2)
    assert result.runs["HB"].final_error == pytest.approx(run.final_error, rel=1e-3)
    assert result.runs["HB"].final_error == pytest.approx(
        float(evaluate(network.loss, result.runs["HB"].params, jnp.asarray(batches, "float32"))), rel=1e-6
    )


def test_table_and_dictionary_say_the_unit(comparison):
    result, _ = comparison
    console = Console(file=io.StringIO(), width=200)
    console.print(table(result))
    text = console.file.getvalue()
    for words in (
        "final error [per pixel]",
        "final error [sum of 64 pixels]",
        "h = 0.5",
        "seed 7",
        *METHOD_NAMES,
    ):
        assert words in text
    plain = json.loads(json.dumps(to_dict(result), allow_nan=False))
    run = plain["runs"]["NAG"]
    assert run["final_error_summed_over_pixels"] == pytest.approx(64 * run["final_error_per_pixel"])
    assert plain["images"] == 1700


def test_unknown_method_is_reported():
    with pytest.raises(ValueError, match="unknown method 'NAG-nu': did you mean 'NAG-mu'"):
        run_methods(load("digits"), 1, 0.1, methods=["NAG-nu"])


def test_bar_shows_label_loss_and_time_left():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with _progress.bar(console) as progress:
        part = _progress.Part(progress, before=4, total=8, label="HB")
        for done in range(1, 3):
            part.update(done, 4, loss=0.0625)
    text = console.file.getvalue()
    for words in ("HB", "6/8", "loss 0.0625", "left"):
        assert words in text


def test_silence_is_silent(capsys):
    _progress.SILENT.update(1, 2, 0.5)
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST at {MNIST}")
def test_mnist_trains():
    """One epoch brings the error below that of the best constant image, the variance of the pixels."""
    mnist = load("mnist", MNIST)
    run = run_methods(mnist, epochs=1, learning_rate=0.25, methods=["HB"]).runs["HB"]
    assert run.succeeded
    assert run.final_error < mnist.images.var(axis=0).mean()
