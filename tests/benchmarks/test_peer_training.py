"""The script's steps in `lstm_fast` and in PyTorch are the same training."""

import numpy as np
import pytest

pytest.importorskip("torch")
from benchmarks import training


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_take_the_same_steps(dtype):
    steps = [make((5, 4, 3, 6), dtype) for make in training.MAKERS.values()]
    losses = np.array([[step() for step in steps] for _ in range(training.AGREEING)])
    assert np.allclose(*losses.T, rtol=1e4 * np.finfo(dtype).eps, atol=0)
    assert len(set(losses[:, 0])) == training.AGREEING
