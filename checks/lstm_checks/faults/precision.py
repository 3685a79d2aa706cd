"""Faults of precision: a right formula in fewer digits than the arrays have."""

from functools import partial

from lstm_checks.faults.model import Fault, in_activations, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="precision")
_RETURN = "    return g\n"
_UPDATE = "C_ = f * Cp_ + i * g  # (6)"
_PASS_ON = "        dhn, dCn = dh, dC\n"

FAULTS = (
    *(
        _fault(
            id=f"relative-error-{size}-{gradient.lower()}",
            title=f"{gradient} is off by a relative error of {size}.",
            explanation="(1): no bug of its own, but the size of many: a constant of too few digits, a cast, an"
            " approximation.",
            patches=(in_gradients(_RETURN, f'    g["{gradient}"] = g["{gradient}"] * (1 + {size})\n{_RETURN}'),),
        )
        for gradient, size in (("dUf", "1e-6"), ("dVi", "1e-9"), ("dUg", "1e-12"), ("dbo", "1e-12"))
    ),
    _fault(
        id="relative-error-1e-12-dx",
        title="dX is off by a relative error of 1e-12.",
        explanation="(1): the size of a bug, as above, in the gradient that is passed on to the layer below.",
        patches=(in_backward('{"dA": dA, ', '{"dA": dA, "dX": bc["dX"] * (1 + 1e-12), '),),
    ),
    _fault(
        id="relative-error-1e-12-carry",
        title="dC passed on is off by a relative error of 1e-12.",
        explanation="(6): the size of a bug, as above, within the recurrence.",
        patches=(in_backward("dC = dC_ * f  # (6)", "dC = dC_ * f * (1 + 1e-12)  # (6)"),),
    ),
    _fault(
        id="relative-error-1e-12-forget",
        title="The forget gate is off by a relative error of 1e-12 in the forward pass.",
        explanation="(2): the size of a bug, as above.",
        patches=(in_forward("f = sigmoid(f_)  # (2)", "f = sigmoid(f_) * (1 + 1e-12)  # (2)"),),
    ),
    _fault(
        id="memory-in-single",
        title="The memory is rounded to float32 at every step.",
        explanation="(6): a buffer of the default dtype of another library. Hidden in float32.",
        patches=(in_forward(_UPDATE, "C_ = (f * Cp_ + i * g).astype(np.float32).astype(f.dtype)  # (6)"),),
    ),
    _fault(
        id="hidden-state-in-single",
        title="The hidden state is rounded to float32 at every step.",
        explanation="(8): a buffer of the default dtype of another library. Hidden in float32.",
        patches=(in_forward("h = o * C  # (8)", "h = (o * C).astype(np.float32).astype(o.dtype)  # (8)"),),
    ),
    _fault(
        id="hidden-cache-in-half",
        title="hp is kept for dV in half precision.",
        explanation="(1): a cache for the backward pass, cut to save memory.",
        patches=(
            in_gradients(
                'hp = _steps_first(fc["hp"])', 'hp = _steps_first(fc["hp"].astype(np.float16).astype(fc["hp"].dtype))'
            ),
        ),
    ),
    _fault(
        id="input-in-single",
        title="X is rounded to float32.",
        explanation="(1): data loaders hand on float32, and the layer casts to be sure. Hidden in float32.",
        patches=(
            in_forward(
                "    trace = []\n    h, C_ = h0, C0\n",
                "    trace = []\n    h, C_ = h0, C0\n    X = X.astype(np.float32).astype(X.dtype)\n",
            ),
        ),
    ),
    _fault(
        id="recurrent-gradients-in-single",
        title="dV is accumulated in float32.",
        explanation="(1): an accumulator of another dtype than what is added. Hidden in float32.",
        patches=(
            in_gradients(
                "np.sum(hp.mT @ dk_, axis=-3)",
                "np.sum(hp.mT.astype(np.float32) @ dk_.astype(np.float32), axis=-3).astype(dk_.dtype)",
            ),
        ),
    ),
    _fault(
        id="carry-in-single",
        title="dC passed on is rounded to float32.",
        explanation="(6): a buffer of the default dtype of another library. Hidden in float32.",
        patches=(in_backward(_PASS_ON, "        dhn, dCn = dh, dC.astype(np.float32).astype(dC.dtype)\n"),),
    ),
    _fault(
        id="tanh-in-single",
        title="tanh is computed in float32.",
        explanation="(4), (7): `tanhf` for `tanh`. Hidden in float32.",
        patches=(
            in_activations("    return np.tanh(x)\n", "    return np.tanh(x.astype(np.float32)).astype(x.dtype)\n"),
        ),
    ),
    _fault(
        id="sigmoid-in-single",
        title="The sigmoid is computed in float32.",
        explanation="(2), (3), (5): `expf` for `exp`. Hidden in float32.",
        patches=(
            in_activations(
                "0.5 * (1 + np.tanh(0.5 * x))", "(0.5 * (1 + np.tanh(0.5 * x.astype(np.float32)))).astype(x.dtype)"
            ),
        ),
    ),
    _fault(
        id="biases-in-single",
        title="The candidate's bias is rounded to float32.",
        explanation="(1g): biases read from a file of single precision. Hidden in float32.",
        patches=(in_forward('+ p["bg"]', '+ p["bg"].astype(np.float32).astype(X.dtype)'),),
    ),
)
