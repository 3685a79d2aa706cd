"""Functions of JAX's arrays that nobody wrote for us: bound by trying, though each try is of other shapes."""

import pytest

from lstm_checks.targets.load import load_target

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
