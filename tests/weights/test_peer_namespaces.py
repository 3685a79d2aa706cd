"""Weights carried over as they are: torch tensors and JAX arrays, in a function that is differentiated, too."""

import numpy as np
import pytest

from lstm_checks.cases import Case
from lstm_checks.weights.carrying import from_framework, to_framework

pytestmark = pytest.mark.peer

P = {name: array.copy() for name, array in Case(1, 1, 2, 3, "float32", seed=1).arrays.p.items()}


@pytest.mark.parametrize("layout", ["torch", "haiku", "onnx", "cudnn"])
def test_torch_tensors_stay_tensors_and_are_differentiated(layout):
    torch = pytest.importorskip("torch")
    p = {name: torch.from_numpy(array).requires_grad_() for name, array in P.items()}
    arrays = to_framework(p, layout)
    due = to_framework(P, layout)
    assert all(np.array_equal(value.detach().numpy(), due[name]) for name, value in arrays.items())
    back = from_framework(arrays, layout, units=3)
    (gradient,) = torch.autograd.grad(2 * back["Vg"].sum(), [p["Vg"]])
    assert torch.equal(gradient, torch.full((3, 3), 2.0))


@pytest.mark.parametrize("layout", ["torch", "haiku", "flax-cell"])
def test_jax_arrays_are_carried_over_in_a_traced_function(layout):
    jax = pytest.importorskip("jax")

    def loss(p):
        back = from_framework(to_framework(p, layout), layout)
        return (back["Ui"] * 3).sum()

    gradients = jax.jit(jax.grad(loss))({name: jax.numpy.asarray(array) for name, array in P.items()})
    assert np.array_equal(np.asarray(gradients["Ui"]), np.full((2, 3), 3.0))
    assert not np.any(gradients["Vf"])
