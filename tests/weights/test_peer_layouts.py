"""The weight layouts marked proven whose frameworks are no targets, and those whose modules are: forward and gradient.

The layouts of targets are proven by `test_peer_NAME.py`, where the whole framework passes through them.
"""

import numpy as np
import pytest

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.judging.case import verify_case
from lstm_checks.targets import common
from lstm_checks.targets.load import load_target
from lstm_checks.weights.layouts import LAYOUTS, PROVEN

pytestmark = pytest.mark.peer

# Sizes of which no two are alike, with states and all cotangents.
CASE = Case(2, 3, 5, 4, seed=3)
BY_TARGET = {"torch", "keras", "onnx", "flax", "equinox"}


def assert_passes(target, dtype="float64"):
    report = verify_case(target, Case(*CASE.dims, dtype=dtype, seed=3), thorough=False)
    assert report.verdict is Verdict.PASS, [claim.discrepancy for claim in report.failures]
    for name in ("h", "Cn", "dUf", "dVi", "dbg", "dbo", "dX", "dh0", "dC0"):
        assert report.claim(name).verdict is Verdict.PASS, name
    assert all(report.claim(name).verdict is Verdict.PASS for name in target.twins)


def by_jax(layout, step, names=lambda weights: weights):
    """Return the target of a step, (weights, x, h, C) to (h, C), of JAX arrays in a layout."""
    jax = pytest.importorskip("jax")
    from lstm_checks.targets.jax import VJP, scan_cell

    del jax

    def apply(weights, X, h0, C0):
        return scan_cell(lambda x, h, C: step(names(weights), x, h, C), X, h0, C0)

    return common.target_of(layout, layout, common.Weights(LAYOUTS[layout], ""), [common.Form(apply)], VJP())


def nested(weights):
    """Return weights by their names' parts."""
    tree: dict = {}
    for name, array in weights.items():
        gate, kind = name.split(".")
        tree.setdefault(gate, {})[kind] = array
    return tree


def test_our_own_layers_are_in_the_layout_named():
    assert_passes(load_target("lstm_fast:LSTM"))


@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_torch_modules_are_found_out(name):
    pytest.importorskip("torch")
    target = load_target(f"torch.nn:{name}")
    assert target.kind.endswith(f"weights as in layout {'torch' if name == 'LSTM' else 'torch-cell'}")
    assert_passes(target)


@pytest.mark.parametrize("name", ["LSTMCell", "OptimizedLSTMCell"])
def test_flax_linen(name):
    linen = pytest.importorskip("flax.linen")

    def step(weights, x, h, C):
        cell = getattr(linen, name)(features=h.shape[-1], parent=None)
        (C, h), _ = cell.apply({"params": weights}, (C, h), x)
        return h, C

    assert_passes(by_jax("flax-linen", step, nested))


def test_flax_nnx_lstm_cell():
    pytest.importorskip("flax")
    target = load_target("flax.nnx:LSTMCell")
    assert "weights as in layout flax-cell" in target.kind
    assert_passes(target)


def test_haiku():
    haiku = pytest.importorskip("haiku")

    def step(weights, x, h, C):
        cell = haiku.without_apply_rng(
            haiku.transform(lambda x, h, C: haiku.LSTM(h.shape[-1], name="lstm")(x, haiku.LSTMState(h, C))[1])
        )
        return cell.apply({"lstm/linear": weights}, x, h, C)

    assert_passes(by_jax("haiku", step))


class AsItIs:
    """What a `lstm_checks.targets.common.Library` has besides its own differentiation, where it has nothing else."""

    compiles = False
    can = frozenset()

    def low_precision(self, run, arrays):
        return ""


class Tinygrad(AsItIs):
    """tinygrad's own differentiation."""

    def evaluator(self, run):
        from tinygrad import Tensor

        def evaluate(arrays):
            tensors = {name: Tensor(array) for name, array in arrays.items()}
            h, Cn = run(tensors)

            def pullback(cotangents):
                dh, dCn = cotangents
                total = (h * Tensor(dh)).sum() + (Cn * Tensor(dCn)).sum()
                found = total.gradient(*tensors.values())
                return {name: gradient.numpy() for name, gradient in zip(tensors, found, strict=True)}

            return (h.numpy(), Cn.numpy()), pullback

        return evaluate

    def ways(self, run):
        return {}

    def look(self, run, arrays):
        return self.evaluator(run)(arrays)[0]

    def unreached(self, run, arrays):
        return set()


def test_tinygrad(monkeypatch):
    # Without a C compiler of its choice tinygrad runs on Python alone.
    monkeypatch.setenv("DEV", "PYTHON")
    tinygrad = pytest.importorskip("tinygrad")

    def apply(weights, X, h, C):
        cell = tinygrad.nn.LSTMCell(X.shape[-1], h.shape[-1])
        for name, tensor in weights.items():
            setattr(cell, name, tensor)
        every = []
        for t in range(X.shape[1]):
            h, C = cell(X[:, t], (h, C))
            every.append(h)
        return tinygrad.Tensor.stack(*every, dim=1), C

    target = common.target_of("tinygrad", "", common.Weights(LAYOUTS["tinygrad"], ""), [common.Form(apply)], Tinygrad())
    assert_passes(target, "float32")


class Mlx(AsItIs):
    """MLX's own differentiation."""

    def evaluator(self, run):
        import mlx.core as mx

        def evaluate(arrays):
            given = {name: mx.array(array) for name, array in arrays.items()}

            def pullback(cotangents):
                _, found = mx.vjp(
                    lambda *values: run(dict(zip(given, values, strict=True))),
                    [*given.values()],
                    [mx.array(cotangent) for cotangent in cotangents],
                )
                return {name: np.array(value) for name, value in zip(given, found, strict=True)}

            h, Cn = run(given)
            return (np.array(h), np.array(Cn)), pullback

        return evaluate

    def ways(self, run):
        return {}

    def look(self, run, arrays):
        return self.evaluator(run)(arrays)[0]

    def unreached(self, run, arrays):
        return set()


def test_mlx():
    nn = pytest.importorskip("mlx.nn")

    def apply(weights, X, h, C):
        layer = nn.LSTM(X.shape[-1], h.shape[-1])
        layer.update(weights)
        every, cells = layer(X, h, C)
        return every, cells[:, -1]

    target = common.target_of("mlx", "", common.Weights(LAYOUTS["mlx"], ""), [common.Form(apply)], Mlx())
    assert_passes(target, "float32")


def test_another_order_of_gates_is_caught():
    """The proof would fail if the layout were wrong."""
    pytest.importorskip("torch")
    from dataclasses import replace

    from lstm_checks.targets.torch import Autograd

    target = load_target("torch.nn:LSTMCell")
    assert target.dtypes == ("float64", "float32")
    layout = LAYOUTS["torch-cell"]
    wrong = replace(layout, blocks=tuple(replace(block, gates="fiog") for block in layout.blocks))
    import torch

    def apply(weights, X, h, C):
        every = []
        for x in X.unbind(1):
            h, C = torch.func.functional_call(torch.nn.LSTMCell(X.shape[-1], h.shape[-1]), weights, (x, (h, C)))
            every.append(h)
        return torch.stack(every, 1), C

    assert_passes(common.target_of("right", "", common.Weights(layout, ""), [common.Form(apply)], Autograd()))
    report = verify_case(
        common.target_of("wrong", "", common.Weights(wrong, ""), [common.Form(apply)], Autograd()), CASE
    )
    assert report.verdict is Verdict.FAIL
    assert np.isfinite(report.claim("h").use)


def test_every_layout_marked_proven_is_proven_here_or_by_its_target():
    here = {"named", "torch", "torch-cell", "flax-linen", "flax-cell", "haiku", "mlx", "tinygrad"}
    assert {name for name, layout in LAYOUTS.items() if layout.evidence == PROVEN} == here | BY_TARGET
