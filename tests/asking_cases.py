"""What the tests of the questions share: a case, an LSTM in the vjp form, and one question alone."""

import numpy as np

import lstm_ref
from lstm_checks.cases import Case
from lstm_checks.judging.case import verify_case

OF_DERIVED = {
    "forward": "forward mode",
    "second": "second order",
    "mapped": "samples apart",
    "stepped": "training",
    "threads": "several threads",
}
"""The questions of `faults/derived.py`, by the first word of an id; what asks them is tested in `test_derived.py`."""
CASE = Case(3, 4, 2, 3, seed=7)


def plain(p, X, h0, C0):
    """The LSTM in the vjp form, whose pullback needs no dCn and reads the caller's parameters."""
    fc = lstm_ref.lstm_forward(p, X, h0, C0)

    def pullback(dh, dCn=None):
        dCn = np.zeros_like(h0) if dCn is None else dCn
        bc = lstm_ref.lstm_backward(p, fc, dh, np.zeros_like(h0), dCn)
        return lstm_ref.lstm_parameter_gradients(fc, bc) | {name: bc[name] for name in ("dX", "dh0", "dC0")}

    return (fc["h"], fc["C_"][:, -1].copy()), pullback


def claim(target, question, case=CASE, **more):
    return verify_case(target, case, properties=(question,), **more).claim(question)
