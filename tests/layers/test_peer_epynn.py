"""EpyNN's own LSTM beside ours: the same keys, the same values, and our functions on its layer.

EpyNN is not needed for anything else; without it these tests are skipped.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm_fast
import lstm_ref
from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN
from lstm_checks.oracles.expected import expect
from lstm_checks.tolerance import accepted

pytestmark = pytest.mark.peer
models = pytest.importorskip("epynn.lstm.models")

both_packages = pytest.mark.parametrize("package", [lstm_ref, lstm_fast], ids=lambda package: package.__name__)

# Initial states are something EpyNN lacks.
cases = st.builds(
    Case,
    *[st.integers(1, 5)] * 4,
    cotangents=st.sampled_from(["every", "last"]),
    states=st.just(False),
    seed=st.integers(0, 2**16),
)


def epynn_layer(case):
    """Return an EpyNN layer that has what its network would give it."""
    layer = models.LSTM(case.u, sequences=case.sequences)
    layer.np_rng, layer.se_hPars = np.random.default_rng(0), {}
    return layer


def cotangent(case):
    """Return what arrives at the layer from above."""
    return case.arrays["dh"] if case.sequences else case.arrays["dh"][:, -1]


def run_with(functions, layer, case):
    """Run both passes of `layer` with the case's parameters; shapes, parameters and gradients by `functions`."""
    functions.lstm_compute_shapes(layer, case.arrays["X"])
    functions.lstm_initialize_parameters(layer)
    layer.p.update({name: value.copy() for name, value in case.arrays.p.items()})
    layer.forward(case.arrays["X"])
    layer.backward(cotangent(case))
    functions.lstm_compute_gradients(layer)


@both_packages
@given(case=cases)
def test_our_functions_serve_an_epynn_layer(package, case):
    layer = epynn_layer(case)
    run_with(package, layer, case)
    expected = expect(case)
    for name in PLAIN.parameters:
        error = np.abs(layer.g[f"d{name}"] - expected.values[f"d{name}"])
        assert np.all(error <= accepted(expected.sd[f"d{name}"], case.dtype)), name
    before = {name: value.copy() for name, value in layer.p.items()}
    layer.lrate, layer.e = [0.5, 0.25], 1
    package.lstm_update_parameters(layer)
    assert all(np.array_equal(layer.p[name], before[name] - 0.25 * layer.g[f"d{name}"]) for name in PLAIN.parameters)
    layer.clip_gradients = 1e-3
    package.lstm_compute_gradients(layer)
    norm = np.sqrt(sum(np.sum(value * value) for value in layer.g.values()))
    assert norm <= 1e-3 * (1 + 64 * np.finfo(float).eps)


@both_packages
@given(case=cases)
def test_our_parameters_for_an_epynn_layer_are_those_of_our_own(package, case):
    layer = epynn_layer(case)
    layer.initialization, layer.np_rng = package.orthogonal, np.random.default_rng(case.seed)
    package.lstm_compute_shapes(layer, case.arrays["X"])
    package.lstm_initialize_parameters(layer)
    ours = package.LSTM(case.u, rng=case.seed)
    ours.compute_shapes(case.arrays["X"])
    ours.initialize_parameters()
    assert all(np.array_equal(layer.p[name], ours.p[name]) for name in PLAIN.parameters)


@both_packages
@given(case=cases)
def test_every_entry_of_epynns_fc_and_bc_is_in_ours_with_its_value(package, case):
    """Both sum in an order of their own.

    A sum has at most 4 u + 2 e = 30 terms and an error passes through at most 5 steps each way, with weights of
    size 1: some 2^10 roundings of the largest entry.
    """
    theirs, ours = epynn_layer(case), package.LSTM(case.u, sequences=case.sequences)
    for layer in (theirs, ours):
        layer.compute_shapes(case.arrays["X"])
        layer.initialize_parameters()
    run_with(models, theirs, case)
    run_with(package, ours, case)
    for cache in ("fc", "bc"):
        found = getattr(ours, cache)
        for name, due in getattr(theirs, cache).items():
            if name == "dz_":  # EpyNN allocates it and never writes it
                continue
            assert found[name].shape == due.shape, name
            assert np.all(np.abs(found[name] - due) <= 2**10 * np.finfo(float).eps * (1 + np.abs(due).max())), name
