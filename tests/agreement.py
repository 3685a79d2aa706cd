"""What several test files assert of a layer's values, and how they call a target as people do."""

import numpy as np

from lstm_checks.oracles.expected import expect
from lstm_checks.tolerance import accepted


def assert_as_expected(values, case):
    """Assert that each value has the case's dtype, the exact shape, and lies within the accepted deviation."""
    expected = expect(case)
    assert values.keys() == expected.values.keys()
    for names in (("h", "Cn"), tuple(name for name in values if name not in ("h", "Cn"))):
        if expected.chaotic(names):
            continue
        for name in names:
            due, limit = expected.values[name], accepted(expected.sd[name], case.dtype)
            if name == "h" and not case.sequences:
                due, limit = due[:, -1], limit[:, -1]
            assert values[name].dtype == case.dtype, name
            assert values[name].shape == due.shape, name
            assert np.all(np.abs(values[name] - due) <= limit), name


def positional(target):
    """A target's call in the form in which people write them: (p, X, h0, C0, sequences), pullback (dh, dCn, dhn)."""

    def call(p, X, h0, C0, sequences=True):
        outputs, pullback = target.call({**p, "X": X, "h0": h0, "C0": C0}, sequences)

        def pull(dh, dCn, dhn=None):
            given = {"dh": dh, "dCn": dCn, "dhn": dhn}
            return pullback({name: value for name, value in given.items() if value is not None})

        return (outputs["h"], outputs["Cn"]), pull

    return call
