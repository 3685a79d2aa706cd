"""Frameworks in low precision: what they are found to be in, and that right ones pass and wrong ones do not."""

import importlib.util
from pathlib import Path

import pytest

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import TargetError, load_target

pytestmark = pytest.mark.peer

TORCH = """
import torch
def half(e, u): return torch.nn.LSTM(e, u, batch_first=True).half()
def bfloat(e, u): return torch.nn.LSTM(e, u, batch_first=True).bfloat16()
def gru(e, u): return torch.nn.GRU(e, u, batch_first=True).bfloat16()
def stacked(e, u): return torch.nn.LSTM(e, u, 2, batch_first=True).half()
instance = torch.nn.LSTM(3, 4, batch_first=True).half()
class Auto(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.weight_ih, self.weight_hh = (torch.nn.Parameter(torch.zeros(4 * u, n)) for n in (e, u))
        self.bias_ih, self.bias_hh = (torch.nn.Parameter(torch.zeros(4 * u)) for _ in range(2))
    def forward(self, X, states):
        h, C = states
        every = []
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for t in range(X.shape[1]):
                k = torch.nn.functional.linear(X[:, t], self.weight_ih, self.bias_ih)
                k = k + torch.nn.functional.linear(h, self.weight_hh, self.bias_hh)
                i, f, g, o = k.chunk(4, -1)
                C = f.sigmoid() * C + i.sigmoid() * g.tanh() * self.wrong
                h = o.sigmoid() * C.tanh()
                every.append(h)
        return torch.stack(every, 1), (h, C)
    wrong = 1.0
class Wrong(Auto):
    wrong = 1.1
class Compiled(Auto):
    def __init__(self, e, u):
        super().__init__(e, u)
        self.fast = torch.compile(super().forward, backend="aot_eager", dynamic=True)
    def forward(self, X, states): return self.fast(X, states)
"""

JAX = """
import jax, jax.numpy as jnp
def scan(p, X, h0, C0):
    def step(carry, x):
        h, C = carry
        k = {g: x @ p["U" + g] + h @ p["V" + g] + p["b" + g] for g in "figo"}
        C = jax.nn.sigmoid(k["f"]) * C + jax.nn.sigmoid(k["i"]) * jnp.tanh(k["g"])
        h = jax.nn.sigmoid(k["o"]) * jnp.tanh(C)
        return (h, C), h
    (_, Cn), h = jax.lax.scan(step, (h0, C0), X.swapaxes(0, 1))
    return h.swapaxes(0, 1), Cn
def inside(p, X, h0, C0):
    low = lambda x: x.astype(jnp.bfloat16)
    h, C = scan({k: low(v) for k, v in p.items()}, low(X), low(h0), low(C0))
    return h.astype(X.dtype), C.astype(X.dtype)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "in_torch.py").write_text(TORCH)
    (tmp_path / "in_jax.py").write_text(JAX)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("half", "float16"), ("bfloat", "bfloat16"), ("gru", "bfloat16"), ("Auto", "autocastbfloat16")],
)
def test_a_module_of_pytorch_is_judged_in_its_own_precision_and_never_cast_up(folder, name, dtype):
    pytest.importorskip("torch")
    target = load_target(f"in_torch.py:{name}")
    assert target.dtypes == (dtype,)
    report = verify(target, examples=12, max_dims=(3, 6, 4, 4))
    assert report.exit_code == 0, render_report(report)
    assert {one.case.dtype for one in report.examples} == {dtype}
    assert any("is kept" in line for line in report.contract)
    unasked = verify_case(target, Case(2, 2, 2, 2, dtype="float64"))
    assert unasked.verdict is Verdict.UNSUPPORTED


def test_a_wrong_one_under_autocast_fails(folder):
    pytest.importorskip("torch")
    report = verify(load_target("in_torch.py:Wrong"), examples=12, max_dims=(3, 6, 4, 4))
    assert report.exit_code == 1


def test_what_torch_compile_has_made_is_asked_for_two_pullbacks_as_any_module(folder):
    pytest.importorskip("torch")
    report = verify(load_target("in_torch.py:Compiled"), examples=3, max_dims=(2, 3, 3, 3))
    assert report.exit_code == 0, render_report(report)


FLAX = """
import jax.numpy as jnp
from flax import nnx
class Mixed(nnx.LSTMCell):
    def __init__(self, in_features, hidden_features, *, rngs):
        super().__init__(in_features, hidden_features, dtype=jnp.bfloat16, param_dtype=jnp.float32, rngs=rngs)
class Low(nnx.LSTMCell):
    def __init__(self, in_features, hidden_features, *, rngs):
        super().__init__(in_features, hidden_features, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16, rngs=rngs)
class Gru(nnx.GRUCell):
    def __init__(self, in_features, hidden_features, *, rngs):
        low = {"param_dtype": jnp.bfloat16, "recurrent_kernel_init": nnx.initializers.lecun_normal()}
        super().__init__(in_features, hidden_features, rngs=rngs, **low)
class Several(nnx.LSTMCell):
    def __init__(self, in_features, hidden_features, *, rngs):
        super().__init__(in_features, hidden_features, param_dtype=jnp.float32, rngs=rngs)
        self.ii.kernel[...] = 0
        self.scale = nnx.Param(jnp.ones(hidden_features, jnp.bfloat16))
"""

EQUINOX = """
import equinox, jax, jax.numpy as jnp
def low(e, u): return equinox.nn.LSTMCell(e, u, dtype=jnp.bfloat16, key=jax.random.key(0))
def gru(e, u): return equinox.nn.GRUCell(e, u, dtype=jnp.float16, key=jax.random.key(0))
def wrong(e, u): return Wrong(e, u, dtype=jnp.bfloat16, key=jax.random.key(0))
class Wrong(equinox.nn.LSTMCell):
    def __call__(self, x, state):
        h, C = super().__call__(x, state)
        return h, jnp.bfloat16(1.1) * C
"""

KERAS = """
import keras
whole = {"return_sequences": True, "return_state": True, "recurrent_initializer": "glorot_uniform"}
def mixed(units): return keras.layers.LSTM(units, dtype="mixed_bfloat16", **whole)
def mixed_half(units): return keras.layers.LSTM(units, dtype="mixed_float16", **whole)
def low(units): return keras.layers.LSTM(units, dtype="bfloat16", **whole)
def gru(units): return keras.layers.GRU(units, dtype="float16", **whole)
def stacked(units):
    layers = [keras.layers.LSTM(units, dtype=name, return_sequences=True) for name in ("mixed_bfloat16", "float32")]
    return keras.Sequential(layers)
class Wrong(keras.layers.LSTM):
    def __init__(self, units, **more): super().__init__(units, dtype="mixed_bfloat16", **whole | more)
    def call(self, sequences, initial_state=None):
        h, *states = super().call(sequences, initial_state=initial_state)
        return 1.5 * h, *states
"""


def write_keras(text):
    """Write what has Keras's layers; Keras itself is imported by the adapter, which chooses its backend."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not here")
    Path("in_keras.py").write_text(text)


def judged(target, dtype):
    """Return the verdict on a small case in a dtype, which must be the only one that a target is judged in."""
    assert target.dtypes == (dtype,)
    case = Case(2, 3, 3, 4, dtype=dtype, regime="init", cell=target.cell)
    return verify_case(target, case, thorough=False).verdict


@pytest.mark.parametrize(("name", "dtype"), [("Mixed", "autocastbfloat16"), ("Low", "bfloat16"), ("Gru", "bfloat16")])
def test_a_flax_cell_is_judged_by_what_it_computes_in_and_what_it_holds(folder, name, dtype):
    pytest.importorskip("flax")
    Path("in_flax.py").write_text(FLAX)
    assert judged(load_target(f"in_flax.py:{name}"), dtype) is Verdict.PASS


def test_what_holds_several_formats_is_refused_in_words(folder):
    pytest.importorskip("flax")
    Path("in_flax.py").write_text(FLAX)
    with pytest.raises(
        TargetError, match=r"holds scale in bfloat16 and .* in float32: what is held in several formats"
    ):
        load_target("in_flax.py:Several")


@pytest.mark.parametrize(("name", "dtype"), [("low", "bfloat16"), ("gru", "float16"), ("wrong", "bfloat16")])
def test_a_cell_of_equinox_is_judged_in_the_format_that_holds_it(folder, name, dtype):
    pytest.importorskip("equinox")
    Path("in_equinox.py").write_text(EQUINOX)
    assert judged(load_target(f"in_equinox.py:{name}"), dtype) is (Verdict.FAIL if name == "wrong" else Verdict.PASS)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("mixed", "autocastbfloat16"),
        ("mixed_half", "autocastfloat16"),
        ("low", "bfloat16"),
        ("gru", "float16"),
        ("Wrong", "autocastbfloat16"),
    ],
)
def test_a_keras_layer_is_judged_by_its_policy(folder, name, dtype):
    write_keras(KERAS)
    assert judged(load_target(f"in_keras.py:{name}"), dtype) is (Verdict.FAIL if name == "Wrong" else Verdict.PASS)


def test_a_policy_that_is_set_for_all_layers_stays(folder):
    write_keras(KERAS.replace('dtype="mixed_bfloat16", ', ""))
    assert "autocastbfloat16" not in load_target("in_keras.py:mixed").dtypes  # Keras is there, on a backend
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert load_target("in_keras.py:mixed").dtypes == ("autocastbfloat16",)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)


def test_layers_of_keras_in_low_precision_are_refused_in_words(folder):
    write_keras(KERAS)
    with pytest.raises(TargetError, match="holds its LSTM in bfloat16: low precision is not judged of it"):
        load_target("in_keras.py:stacked")


@pytest.mark.parametrize("name", ["stacked", "instance"])
def test_layers_and_instances_of_low_precision_are_refused_in_words(folder, name):
    pytest.importorskip("torch")
    with pytest.raises(TargetError, match=r"holds .* in float16: low precision is not judged"):
        load_target(f"in_torch.py:{name}")


def test_a_scan_of_jax_is_judged_in_bfloat16_and_what_casts_inside_is_told(folder):
    pytest.importorskip("jax")
    report = verify(load_target("in_jax.py:scan"), examples=6, dtypes=("bfloat16",), max_dims=(2, 4, 3, 3))
    assert report.exit_code == 0, render_report(report)
    assert load_target("in_jax.py:inside").dtypes == ("autocastbfloat16",)
    case = Case(2, 3, 4, 3, dtype="autocastbfloat16", regime="init")
    assert verify_case(load_target("in_jax.py:inside"), case, thorough=False).verdict is Verdict.PASS
