"""Layer classes of one dtype: found out by small calls, and judged in that alone, which the first line says."""

import numpy as np
import pytest

import lstm_ref
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.layer import from_layer

SMALL = {"examples": 12, "max_dims": (3, 3, 3, 3)}


def raising(error, raises=lambda X: X.dtype != np.float32):
    """Return a layer class that raises where `raises` of its input says so."""

    class LSTM(lstm_ref.LSTM):
        def forward(self, X, h0=None, C0=None):
            if raises(X):
                raise error("single precision")
            return super().forward(X, h0, C0)

    return LSTM


class InSingle(lstm_ref.LSTM):
    """Computes in float32 whatever comes."""

    def __init__(self, unit_cells, sequences=True, rng=None):
        super().__init__(unit_cells, sequences=sequences, dtype="float32", rng=rng)

    def forward(self, X, h0=None, C0=None):
        self.p.update({name: value.astype("float32") for name, value in self.p.items()})
        return super().forward(*(None if value is None else value.astype("float32") for value in (X, h0, C0)))

    def backward(self, dA, dhn=None, dCn=None):
        return super().backward(*(None if value is None else value.astype("float32") for value in (dA, dhn, dCn)))


@pytest.mark.parametrize("error", [TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError, KeyError])
def test_a_layer_that_raises_in_float64_alone_is_judged_in_float32_and_that_is_said(error):
    target = from_layer(raising(error))
    assert target.dtypes == ("float32",)
    assert target.kind.startswith(f"layer class, float32 alone: in float64 it raised {error.__name__}: ")
    report = verify(target, **SMALL)
    assert report.exit_code == 0
    assert f"({target.kind})" in render_report(report).splitlines()[0]


def test_a_layer_that_computes_in_float32_whatever_comes_is_judged_in_float32():
    target = from_layer(InSingle)
    assert (target.kind, target.dtypes) == ("layer class, in float32 whatever comes", ("float32",))
    assert verify(target, **SMALL).exit_code == 0


def test_a_wrong_one_of_float32_alone_fails():
    class Wrong(InSingle):
        def backward(self, dA, dhn=None, dCn=None):
            return 2 * super().backward(dA, dhn, dCn)

    report = verify(from_layer(Wrong), **SMALL)
    assert report.exit_code == 1
    assert {name for name in (claim.name for claim in report.failure.failures) if name in PLAIN.gradients} == {"dX"}


@pytest.mark.parametrize("raises", [lambda X: True, lambda X: X.dtype == np.float32, lambda X: X.shape[2] == 1])
def test_a_layer_that_raises_in_both_dtypes_or_in_float32_or_at_one_size_is_not_of_float32_alone(raises):
    target = from_layer(raising(RuntimeError, raises))
    assert (target.kind, target.dtypes) == ("layer class", ("float64", "float32"))


@pytest.mark.parametrize("name", ["dX", "dUf", "dC0"])
def test_one_tensor_alone_in_float32_is_a_fault(name):
    class LSTM(lstm_ref.LSTM):
        def backward(self, dA, dhn=None, dCn=None):
            dX = super().backward(dA, dhn, dCn)
            self.bc["dC0"] = self.bc["dC0"].astype("float32" if name == "dC0" else dX.dtype)
            return dX.astype("float32") if name == "dX" else dX

        def compute_gradients(self):
            super().compute_gradients()
            if name in self.g:
                self.g[name] = self.g[name].astype("float32")

    target = from_layer(LSTM)
    assert target.dtypes == ("float64", "float32")
    report = verify_case(target, Case(2, 3, 3, 4))
    assert next(claim.name for claim in report.failures if claim.verdict is Verdict.FAIL) == name
