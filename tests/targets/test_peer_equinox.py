"""Equinox's own LSTMCell, and JAX functions, through the same harness."""

import warnings

import numpy as np
import pytest

pytest.importorskip("equinox")

import jax
import jax.numpy as jnp

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import TargetError, load_target

pytestmark = pytest.mark.peer

FILE = """
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

def cell(p, x, h, C):
    f, i, g, o = (x @ p["U" + k] + h @ p["V" + k] + p["b" + k] for k in "figo")
    C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(C), C

@jax.jit
def unrolled(p, X, h0, C0):
    h, C, every = h0, C0, []
    for t in range(X.shape[1]):
        h, C = cell(p, X[:, t], h, C)
        every.append(h)
    return jnp.stack(every, 1), (h, C)

def stateless(p, X):
    zeros = jnp.zeros((X.shape[0], p["Uf"].shape[1]), X.dtype)
    return unrolled(p, X, zeros, zeros)[0]

def single(p, X, h0, C0):
    return jax.tree.map(lambda a: a.astype(jnp.float32), unrolled(p, X, h0, C0))

def by_value(p, X, h0, C0):
    return unrolled(p, X, h0, C0) if float(X[0, 0, 0]) > 0 else unrolled(p, X * 1, h0, C0)

def low(p, X, h0, C0):
    h, (h0, C0) = unrolled(p, X.astype(jnp.bfloat16).astype(X.dtype), h0, C0)
    return h, (h0, C0)

def from_h(p, X, h0):
    return unrolled(p, X, h0, jnp.zeros_like(h0))

def low_cell(e, u, key):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float16), eqx.nn.LSTMCell(e, u, key=key))

class Static(eqx.Module):
    weight_ih: jax.Array
    weight_hh: jax.Array
    bias: np.ndarray = eqx.field(static=True)

    def __init__(self, e, u, key):
        self.weight_ih, self.weight_hh = jnp.ones((4 * u, e)), jnp.ones((4 * u, u))
        self.bias = np.zeros(4 * u)

    def __call__(self, x, states):
        raise NotImplementedError

wrong_order = eqx.nn.LSTMCell(2, 3, key=jax.random.key(0))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "functions.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


def test_lstm_cell_passes():
    """Few shapes here, as each is compiled; Flax has the whole run."""
    for dtype in ("float64", "float32"):
        report = verify(load_target("equinox"), examples=20, dtypes=(dtype,), max_dims=(2, 2, 2, 2))
        assert report.exit_code == 0, render_report(report)


def test_functions_are_found_out_with_what_they_lack(folder):
    target = load_target("functions.py:unrolled")
    assert (target.kind, target.dtypes, target.unsupported) == ("JAX function", ("float64", "float32"), ())
    assert verify_case(target, Case(2, 3, 2, 3), thorough=False).verdict is Verdict.PASS
    target = load_target("functions.py:stateless")
    assert set(target.unsupported) == {"initial states", "Cn", "dCn", "dh0", "dC0"}
    case = Case(2, 3, 2, 3, cotangents="every+h", states=False)
    assert verify_case(target, case, thorough=False).verdict is Verdict.PASS


def test_what_computes_in_float32_is_judged_in_float32(folder):
    assert load_target("functions.py:single").dtypes == ("float32",)


def test_what_jax_cannot_differentiate_is_refused_with_its_reason(folder):
    with pytest.raises(TargetError, match=r"is a JAX function, but cannot be called as one: ConcretizationTypeError"):
        load_target("functions.py:by_value")


def test_low_precision_is_told_and_what_never_learns_is_refused_with_the_reason(folder):
    assert load_target("functions.py:low").dtypes == ("autocastbfloat16",)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a static array is one
        with pytest.raises(
            TargetError, match=r"it has no biases.*; bias is static and does not learn: make it an array"
        ):
            load_target("functions.py:Static")


def test_h0_without_C0_will_do(folder):
    target = load_target("functions.py:from_h")
    assert set(target.unsupported) == {"C0", "dC0"}
    case = Case(2, 3, 2, 3)
    assert verify_case(target, case, thorough=False).verdict is Verdict.PASS


def test_jaxs_own_setting_stays(folder):
    verify_case(load_target("functions.py:unrolled"), Case(1, 1, 1, 1), thorough=False)
    assert jnp.asarray(np.ones(1)).dtype == jnp.float32
    assert not jax.config.jax_enable_x64


def test_an_instance_is_refused_with_what_to_do(folder):
    with pytest.raises(TargetError, match="is an instance of LSTMCell, of fixed sizes; expected the class"):
        load_target("functions.py:wrong_order")
