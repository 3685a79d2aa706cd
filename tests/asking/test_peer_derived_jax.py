"""JAX asked in part, forwards and twice: rules written by hand fail by what is wrong in them alone."""

from dataclasses import replace

import pytest
from asking_cases import claim

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict

jax = pytest.importorskip("jax")
adapter = pytest.importorskip("lstm_checks.targets.jax")
jnp = pytest.importorskip("jax.numpy")
pytestmark = pytest.mark.peer

CASE = Case(2, 2, 2, 2, cotangents="every", seed=7)


def lstm_of(step, seen=lambda p: p):
    """An LSTM of JAX arrays, with what a step makes of the gates' linear activations, one beside the other, and C."""

    def lstm(p, X, h, C):
        p, every = seen(p), []
        for s in range(X.shape[1]):
            k = jnp.concatenate([X[:, s] @ p[f"U{k}"] + h @ p[f"V{k}"] + p[f"b{k}"] for k in "figo"], 1)
            h, C = step(k, C)
            every.append(h)
        return jnp.stack(every, 1), C

    return adapter.function_target(lstm, "lstm", 4)


def plain_step(k, C):
    f, i, g, o = jnp.split(k, 4, 1)
    C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(C), C


def with_symbols(missing):
    """A step whose rule is handed symbols for zero where an output is not used, and puts something in their place."""

    @jax.custom_vjp
    def step(k, C):
        return plain_step(k, C)

    def forward(k, C):
        return plain_step(k.value, C.value), (k.value, C.value)

    def backward(kept, cotangents):
        found, pullback = jax.vjp(plain_step, *kept)
        symbol = jax.custom_derivatives.SymbolicZero
        given = (missing(f) if isinstance(c, symbol) else c for f, c in zip(found, cotangents, strict=True))
        return pullback(tuple(given))

    step.defvjp(forward, backward, symbolic_zeros=True)
    return step


@pytest.mark.parametrize(("missing", "verdict"), [(jnp.zeros_like, Verdict.PASS), (jnp.ones_like, Verdict.FAIL)])
def test_a_symbol_for_zero_is_taken_for_zero(missing, verdict):
    found = claim(lstm_of(with_symbols(missing)), "absent cotangents", CASE)
    assert found.verdict is verdict
    assert verdict is Verdict.PASS or found.discrepancy.message.startswith("with dCn absent, None and not zero, d")


def squashed_by(tanh):
    def step(k, C):
        f, i, g, o = jnp.split(k, 4, 1)
        C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * tanh(C), C

    return step


def test_a_rule_for_forward_mode_is_judged_and_where_there_is_none_that_is_said():
    @jax.custom_jvp
    def ruled(x):
        return jnp.tanh(x)

    @ruled.defjvp
    def _(primals, tangents):
        y = jnp.tanh(*primals)
        return y, tangents[0] * (1 - y * y)

    assert claim(lstm_of(squashed_by(ruled)), "forward mode", CASE).verdict is Verdict.PASS
    backwards = claim(lstm_of(with_symbols(jnp.zeros_like)), "forward mode", CASE)
    assert backwards.verdict is Verdict.UNSUPPORTED
    assert "custom_vjp" in backwards.reason


@pytest.mark.parametrize(
    ("seen", "verdict"), [(lambda y: y, Verdict.PASS), (lambda y: jax.lax.stop_gradient(y), Verdict.FAIL)]
)
def test_a_saved_value_that_stops_the_gradient_fails_in_second_order(seen, verdict):
    @jax.custom_vjp
    def tanh(x):
        return jnp.tanh(x)

    tanh.defvjp(lambda x: (tanh(x), x), lambda x, dy: (dy * (1 - seen(tanh(x)) ** 2),))
    found = claim(lstm_of(squashed_by(tanh)), "second order", replace(CASE, cotangents="every+C"))
    assert found.verdict is verdict
    assert verdict is Verdict.PASS or found.discrepancy.message.startswith("differentiated twice by reverse over ")


def test_what_is_stopped_on_the_way_does_not_learn():
    stopped = lstm_of(plain_step, lambda p: p | {"Vf": jax.lax.stop_gradient(p["Vf"])})
    assert [*stopped.unlearned] == ["Vf"]
    message = claim(stopped, "learning", CASE).discrepancy.message
    assert message.startswith("Vf does not learn, it is cut off from the outputs, detached or of no effect; expected")
    assert not lstm_of(plain_step).unlearned
