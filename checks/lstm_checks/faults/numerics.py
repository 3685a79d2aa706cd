"""Faults of the activations' numerics: right on paper, and for moderate values."""

from functools import partial

from lstm_checks.faults.model import Fault, in_activations

_fault = partial(Fault, family="numerics")
_SIGMOID = "return 0.5 * (1 + np.tanh(0.5 * x))"
_TANH = "    return np.tanh(x)\n"

FAULTS = (
    _fault(
        id="sigmoid-of-two-exponentials",
        title="The sigmoid is exp(x) / (1 + exp(x)), NaN above 710.",
        explanation="(2), (3), (5): infinity over infinity. Hidden by moderate weights.",
        patches=(in_activations(_SIGMOID, "return np.exp(x) / (1 + np.exp(x))"),),
        example="m1s1e2u3-float64-x100-seed2",
    ),
    _fault(
        id="tanh-of-exponentials",
        title="tanh is (exp(x) - exp(-x)) / (exp(x) + exp(-x)), NaN beyond 710.",
        explanation="(4), (7): infinity over infinity. Hidden by moderate weights.",
        patches=(in_activations(_TANH, "    return (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))\n"),),
        seen="EpyNN's tanh",
        example="m1s1e2u1-float64-x100-seed2",
    ),
    _fault(
        id="sigmoid-wrong-for-negative",
        title="The sigmoid is 1 / (1 + exp(x)) for negative x, for exp(x) / (1 + exp(x)).",
        explanation="(2), (3), (5): two branches so that nothing overflows, and one of them mistaken.",
        patches=(in_activations(_SIGMOID, "return 1 / (1 + np.exp(-abs(x)))"),),
    ),
    _fault(
        id="sigmoid-input-clipped",
        title="The sigmoid's argument is clipped to [-15, 15].",
        explanation="(2), (3), (5): so that exp never overflows, at too small a bound. Hidden by moderate weights.",
        patches=(in_activations(_SIGMOID, "return 0.5 * (1 + np.tanh(0.5 * np.clip(x, -15, 15)))"),),
        example="m1s1e1u1-float64-x10-nostates-seed2",
    ),
    _fault(
        id="sigmoid-kept-from-ends",
        title="The sigmoid is clipped to [1e-7, 1 - 1e-7].",
        explanation="(2), (3), (5): an epsilon that belongs to the logarithm of a loss. Hidden by moderate weights.",
        patches=(in_activations(_SIGMOID, "return np.clip(0.5 * (1 + np.tanh(0.5 * x)), 1e-7, 1 - 1e-7)"),),
        example="m1s1e1u1-float64-x10-nostates-seed2",
    ),
    _fault(
        id="sigmoid-with-epsilon",
        title="The sigmoid is 1 / (1 + exp(-x) + 1e-8).",
        explanation="(2), (3), (5): a small number against a division by zero that cannot happen.",
        patches=(in_activations(_SIGMOID, "return 1 / (1 + np.exp(-x) + 1e-8)"),),
    ),
    _fault(
        id="tanh-rational",
        title="tanh is x (27 + x^2) / (27 + 9 x^2), clipped to [-1, 1].",
        explanation="(4), (7): a fast approximation, good to 2e-2.",
        patches=(in_activations(_TANH, "    return np.clip(x * (27 + x * x) / (27 + 9 * x * x), -1, 1)\n"),),
    ),
    _fault(
        id="tanh-continued-fraction",
        title="tanh is a continued fraction of seven terms, clipped to [-1, 1].",
        explanation="(4), (7): a fast approximation, good to rounding for small arguments and to 1e-4 for large ones.",
        patches=(
            in_activations(
                _TANH,
                "    t, fraction = x * x, 13 + 0 * x\n"
                "    for n in (11, 9, 7, 5, 3, 1):\n"
                "        fraction = n + t / fraction\n"
                "    return np.clip(x / fraction, -1, 1)\n",
            ),
        ),
        example="m1s1e1u1-float64-seed2",
    ),
    _fault(
        id="sigmoid-from-table",
        title="The sigmoid is read from a table of 4096 values and interpolated.",
        explanation="(2), (3), (5): embedded code; good to 1e-6.",
        patches=(
            in_activations(
                _SIGMOID,
                "knots = np.linspace(-16, 16, 4096)\n"
                "    return np.interp(x, knots, 0.5 * (1 + np.tanh(0.5 * knots))).astype(x.dtype)",
            ),
        ),
    ),
    _fault(
        id="tanh-linear-when-small",
        title="tanh is x where |x| is below 1e-3.",
        explanation="(4), (7): a shortcut good to 3e-10. Hidden by weights of usual size.",
        patches=(in_activations(_TANH, "    return np.tanh(x) + (x - np.tanh(x)) * (abs(x) < 1e-3)\n"),),
        example="m1s1e1u1-float64-x1e-3-seed0",
    ),
    _fault(
        id="tanh-saturates-early",
        title="tanh is 1 or -1 beyond 4.",
        explanation="(4), (7): a shortcut good to 7e-4. Hidden by moderate weights.",
        patches=(in_activations(_TANH, "    return np.where(abs(x) > 4, np.sign(x), np.tanh(x))\n"),),
        example="m1s1e1u1-float64-seed2",
    ),
)
