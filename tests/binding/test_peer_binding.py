"""Functions of JAX's arrays that nobody wrote for us: bound by trying, though each try is of other shapes."""

import pytest

from lstm_checks.cases import Case
from lstm_checks.judging.case import verify_case
from lstm_checks.targets.load import load_target
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer
pytest.importorskip("jax")

SCAN = """
import jax, jax.numpy as jnp

def lstm(params, x, h0, c0):
    W, R, b = params["W"], params["R"], params["b"]

    def step(carry, xt):
        h, c = carry
        i, f, g, o = jnp.split(xt @ W + h @ R + b, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = {hidden}
        return (h, c), h

    (h, c), ys = jax.lax.scan(step, (h0, c0), jnp.swapaxes(x, 0, 1))
    return jnp.swapaxes(ys, 0, 1), (h, c)
"""


@pytest.mark.parametrize(
    ("hidden", "exact"),
    [("jax.nn.sigmoid(o) * jnp.tanh(c)", True), ("jax.nn.sigmoid(o) * jnp.tanh(c) * 0.999", False)],
)
def test_parameters_in_a_dict_are_found_and_a_wrong_forward_pass_is_read_as_it_is_called(hidden, exact, tmp_path):
    """A scan over the first axis takes one sample's (s, e) as well: as near, and not what anybody would call."""
    path = tmp_path / "scanned.py"
    path.write_text(SCAN.format(hidden=hidden))
    target = load_target(f"{path}:lstm")
    assert target.kind == "function of its own form, a JAX function"
    assert target.notes[0] == "found by trying: lstm(params, X, h0, C0), X as (m, s, e)"
    assert target.exact is exact


NAMED = """
import jax, jax.numpy as jnp

def by_name(p, X, h0, C0):
    h, C, hs = h0, C0, []
    for t in range(X.shape[1]):
        f, i, g, o = (X[:, t] @ p["U" + k] + h @ p["V" + k] + p["b" + k] for k in "figo")
        C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jax.nn.softplus(g)
        h = jax.nn.sigmoid(o) * jax.nn.softplus(C)
        hs.append(h)
    return jnp.stack(hs, 1), C
"""


@pytest.mark.parametrize("name", ["lstm", "by_name"])
def test_a_function_of_jax_arrays_with_other_activations_is_judged_as_the_cell_that_is_said(name, tmp_path):
    path = tmp_path / "softplus.py"
    text = SCAN.format(hidden="jax.nn.sigmoid(o) * jax.nn.softplus(c)").replace("jnp.tanh(g)", "jax.nn.softplus(g)")
    path.write_text(text + NAMED)
    cell = cell_named("plain,g=softplus,h=softplus")
    target = load_target(f"{path}:{name}", cell=cell)
    assert target.cell is cell
    assert not verify_case(target, Case(2, 3, 4, 5, cell=cell, seed=1), properties=()).failures
    plain = load_target(f"{path}:{name}", cell=cell_named("plain,g=relu"))
    assert verify_case(plain, Case(2, 3, 4, 5, cell=plain.cell, seed=1), properties=()).failures
