"""The LSTMs that are timed, each with the same weights, the same inputs and the same three things to do.

``inference`` is a forward pass that keeps nothing for a backward pass, ``forward`` one that does, ``both`` a forward
and a backward pass with all gradients. A peer whose package is missing, or that has no such dtype, is left out.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import lstm_fast
import lstm_ref
from lstm_fast.workspace import SWITCH, kernels_for

GATES = "figo"


@dataclass(frozen=True)
class Problem:
    """One point of the grid: inputs, cotangent and weights.

    X (m, s, e), dA (m, s, u), p the twelve parameters by name; all of the same dtype.
    """

    m: int
    s: int
    e: int
    u: int
    dtype: np.dtype
    X: np.ndarray
    dA: np.ndarray
    p: dict[str, np.ndarray]

    @property
    def dims(self) -> tuple[int, int, int, int]:
        """Return m, s, e, u."""
        return self.m, self.s, self.e, self.u


def make_problem(m: int, s: int, e: int, u: int, dtype: str) -> Problem:
    """Return the grid point's problem: normal inputs, orthogonal weights, small biases."""
    rng = np.random.default_rng(0)
    layer = lstm_ref.LSTM(u, dtype=np.dtype(dtype), rng=1)
    X = rng.standard_normal((m, s, e)).astype(dtype)
    layer.compute_shapes(X)
    layer.initialize_parameters()
    p = {name: np.array(value) for name, value in layer.p.items()}
    for gate in GATES:
        p["b" + gate] += 0.1 * rng.standard_normal(p["b" + gate].shape).astype(dtype)
    return Problem(m, s, e, u, np.dtype(dtype), X, rng.standard_normal((m, s, u)).astype(dtype), p)


@dataclass(frozen=True)
class Peer:
    """What to time. `gradients` returns h, dX and dU, dV, db of the gates f, i, g, o side by side."""

    name: str
    inference: Callable[[], Any]
    both: Callable[[], Any]
    gradients: Callable[[], dict[str, np.ndarray]]
    forward: Callable[[], Any] | None = None


def _by_kind(g: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return dU, dV, db from dUf .. dbo."""
    return {f"d{kind}": np.concatenate([np.asarray(g[f"d{kind}{gate}"]) for gate in GATES], axis=-1) for kind in "UVb"}


def _calls(
    layer: Any, problem: Problem
) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], dict[str, np.ndarray]]]:
    """Return what to time of a layer in EpyNN's form: forward, forward and backward, and the gradients of both."""

    def both() -> Any:
        layer.forward(problem.X)
        dX = layer.backward(problem.dA)
        layer.compute_gradients()
        return dX

    def gradients() -> dict[str, np.ndarray]:
        return {"h": layer.forward(problem.X), "dX": both(), **_by_kind(layer.g)}

    return functools.partial(layer.forward, problem.X), both, gradients


def ours(problem: Problem, package: Any) -> Peer:
    """Return lstm_ref or lstm_fast."""
    layer = package.LSTM(problem.u, sequences=True, dtype=problem.dtype)
    layer.compute_shapes(problem.X)
    layer.p = problem.p

    forward, both, gradients = _calls(layer, problem)
    lean = functools.partial(forward, keep_cache=False) if package is lstm_fast else forward
    return Peer(package.__name__, lean, both, gradients, forward)


def pytorch(problem: Problem) -> Peer | None:
    """Return torch.nn.LSTM, or None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    dtype = getattr(torch, problem.dtype.name)
    layer = torch.nn.LSTM(problem.e, problem.u, batch_first=True, dtype=dtype)
    order = "ifgo"
    with torch.no_grad():
        for kind, target in (("U", layer.weight_ih_l0), ("V", layer.weight_hh_l0)):
            target.copy_(torch.tensor(np.concatenate([problem.p[kind + gate].T for gate in order])))
        layer.bias_ih_l0.copy_(torch.tensor(np.concatenate([problem.p["b" + gate][0] for gate in order])))
        layer.bias_hh_l0.zero_()
    X, dA = torch.tensor(problem.X, requires_grad=True), torch.tensor(problem.dA)

    def inference() -> Any:
        with torch.no_grad():
            return layer(X)[0]

    def both() -> None:
        layer.zero_grad()
        X.grad = None
        layer(X)[0].backward(dA)

    def gradients() -> dict[str, np.ndarray]:
        both()

        def arranged(gradient: Any) -> np.ndarray:
            blocks = np.split(gradient.numpy(), 4)
            return np.concatenate([blocks[order.index(gate)] for gate in GATES]).T

        return {
            "h": inference().numpy(),
            "dX": X.grad.numpy(),
            "dU": arranged(layer.weight_ih_l0.grad),
            "dV": arranged(layer.weight_hh_l0.grad),
            "db": arranged(layer.bias_ih_l0.grad[:, None]),
        }

    return Peer("PyTorch", inference, both, gradients, lambda: layer(X)[0])


def epynn(problem: Problem) -> Peer | None:
    """Return EpyNN's LSTM, which computes in float64, or None without EpyNN."""
    if problem.dtype != np.float64:
        return None
    try:
        from epynn.lstm.models import LSTM
    except ImportError:
        return None
    layer = LSTM(problem.u, sequences=True)
    layer.np_rng, layer.se_hPars = np.random.default_rng(0), {}
    layer.compute_shapes(problem.X)
    layer.initialize_parameters()
    layer.p.update({name: value.copy() for name, value in problem.p.items()})

    return Peer("EpyNN", *_calls(layer, problem))


def jax_scan(problem: Problem) -> Peer | None:
    """Return an LSTM written with jax.lax.scan and compiled, or None without JAX."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    weights = [jnp.asarray(np.concatenate([problem.p[kind + gate] for gate in GATES], axis=1)) for kind in "UVb"]
    X, dA = jnp.asarray(problem.X), jnp.asarray(problem.dA)
    zeros = jnp.zeros((problem.m, problem.u), problem.dtype)

    def run(X: Any, U: Any, V: Any, b: Any) -> Any:
        def step(state: Any, inputs: Any) -> Any:
            h, C = state
            f, i, g, o = jnp.split(inputs + h @ V, 4, axis=1)
            C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(C)
            return (h, C), h

        return jax.lax.scan(step, (zeros, zeros), (X @ U + b).transpose(1, 0, 2))[1].transpose(1, 0, 2)

    forward = jax.jit(run)

    @jax.jit
    def backward(X: Any, U: Any, V: Any, b: Any, dA: Any) -> Any:
        return jax.vjp(run, X, U, V, b)[1](dA)

    def gradients() -> dict[str, np.ndarray]:
        values = (forward(X, *weights), *backward(X, *weights, dA))
        return {name: np.asarray(value) for name, value in zip(("h", "dX", "dU", "dV", "db"), values, strict=True)}

    return Peer(
        "JAX",
        lambda: forward(X, *weights).block_until_ready(),
        lambda: jax.block_until_ready(backward(X, *weights, dA)),
        gradients,
    )


def switched_off(call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call without lstm_fast's compiled loops."""

    def run() -> Any:
        before = os.environ.get(SWITCH)
        os.environ[SWITCH] = "0"  # read at every pass
        try:
            return call()
        finally:
            if before is None:
                del os.environ[SWITCH]
            else:
                os.environ[SWITCH] = before

    return run


def numpy_only(problem: Problem) -> Peer | None:
    """Return lstm_fast with its compiled loops switched off, or None if there are none to switch off."""
    if kernels_for(problem.dtype) is None:
        return None
    peer = ours(problem, lstm_fast)

    assert peer.forward is not None
    calls = [switched_off(call) for call in (peer.inference, peer.both, peer.gradients, peer.forward)]
    return Peer("NumPy only", *calls)


def peers(problem: Problem) -> Iterator[Peer]:
    """Yield lstm_ref, then every other implementation that is installed, lstm_fast last."""
    yield ours(problem, lstm_ref)
    for make in (epynn, jax_scan, pytorch, numpy_only):
        peer = make(problem)
        if peer is not None:
            yield peer
    yield ours(problem, lstm_fast)


def disagreement(peer: Peer, expected: dict[str, np.ndarray]) -> str:
    """Return what is wrong with a peer's values, or an empty string.

    Only to refuse timing something broken: `lstm-checks verify` is the real check. The bound allows for sums of some
    10^4 terms in any order.
    """
    values = peer.gradients()
    for name, due in expected.items():
        if values[name].shape != due.shape:
            return f"{name} has shape {values[name].shape}, expected {due.shape}"
        error, bound = np.abs(values[name] - due).max(), 1e4 * np.finfo(due.dtype).eps * np.abs(due).max()
        if not error <= bound:
            return f"{name} differs from lstm_ref by {error:.1e}, more than {bound:.1e}"
    return ""
