"""Faults past the edges of blocks of 16, 32, 64 and 128: the tail of a tile, and what lies beyond one block.

A kernel works on tiles of samples, units, elements or steps; what it does with sizes that are no multiple of a tile, or
larger than one, is hidden at all the sizes that a quick test takes.
"""

from functools import partial

from lstm_checks.faults.model import Fault, Patch, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="blocks")
_DU = "np.sum(X.mT @ dk_, axis=-3)"
_DV = "np.sum(hp.mT @ dk_, axis=-3)"
_DX = 'dX = df_ @ p["Uf"].mT + di_ @ p["Ui"].mT + dg_ @ p["Ug"].mT + do_ @ p["Uo"].mT  # (1)'
_START = "hp, Cp_ = h, C_\n"
_GATES = ("f", "i", "g", "o")


def _whole(size: str) -> str:
    """Return the largest multiple of 16 up to a size above 16, else the size."""
    return f"({size} // 16 * 16 if {size} > 16 else {size})"


def _cut_dx(within: str) -> Patch:
    """Return a patch by which dX is zero but within some bound."""
    return in_backward(_DX, f"{_DX}\n        dX = dX * {within}")


FAULTS = (
    _fault(
        id="tail-of-sixteen-samples-lost",
        title="Above 16 samples, dU leaves out those beyond a multiple of 16.",
        explanation="(1): the product over samples is taken in tiles of 16 without a tail. Hidden up to 16 samples.",
        patches=(
            in_gradients(_DU, f"np.sum((X * (np.arange(m) < {_whole('m')})[:, np.newaxis]).mT @ dk_, axis=-3)"),
            in_gradients('        g[f"dU{gate}"]', '        m = dk_.shape[-2]\n        g[f"dU{gate}"]'),
        ),
        example="m17s1e1u1-float64-seed0",
    ),
    _fault(
        id="bias-lost-beyond-32-samples",
        title="Beyond the 32nd sample the output gate's bias is not added.",
        explanation="(1o): the bias is laid out for one warp of samples. Hidden up to 32 samples.",
        patches=(in_forward('+ p["bo"]', '+ p["bo"] * (np.arange(X.shape[-3]) < 32)[:, np.newaxis]'),),
        example="m33s1e1u1-float64-seed0",
    ),
    _fault(
        id="input-gradient-lost-beyond-64-samples",
        title="Beyond the 64th sample dX is zero.",
        explanation="(1): the grid of the last product has one block too few. Hidden up to 64 samples.",
        patches=(_cut_dx("(np.arange(dX.shape[-2]) < 64)[:, np.newaxis]"),),
        example="m65s1e1u1-float64-seed0",
    ),
    _fault(
        id="carry-lost-beyond-128-samples",
        title="Beyond the 128th sample dC is not passed on.",
        explanation="(6): the memory's cotangent is kept in a buffer of 128 samples. Hidden up to 128 samples.",
        patches=(
            in_backward("dC = dC_ * f  # (6)", "dC = dC_ * f * (np.arange(f.shape[-2]) < 128)[:, np.newaxis]  # (6)"),
        ),
        example="m129s1e1u1-float64-seed0",
    ),
    _fault(
        id="tail-of-sixteen-units-lost",
        title="Above 16 units, the forward product h V leaves out those beyond a multiple of 16.",
        explanation="(1): the recurrent product in tiles of 16 without a tail. Hidden up to 16 units.",
        patches=(
            in_forward(
                _START,
                f"{_START}        u = h.shape[-1]\n        h_k = hp * (np.arange(u) < {_whole('u')})\n",
            ),
            *(in_forward(f'hp @ p["V{k}"]', f'h_k @ p["V{k}"]') for k in _GATES),
        ),
        example="m1s1e1u17-float64-seed0",
    ),
    _fault(
        id="dv-lost-beyond-32-units",
        title="Beyond the 32nd column dV is zero.",
        explanation="(1): a row of dV is summed by one warp. Hidden up to 32 units.",
        patches=(in_gradients(_DV, f"{_DV} * (np.arange(dk_.shape[-1]) < 32)"),),
        example="m1s1e1u33-float64-seed0",
    ),
    _fault(
        id="recurrence-lost-beyond-64-units",
        title="The output gate's part of dh leaves out the units beyond the 64th.",
        explanation="(1o): shared memory holds 64 units of do_. Hidden up to 64 units.",
        patches=(in_backward('do_ @ p["Vo"].mT', '(do_ * (np.arange(do_.shape[-1]) < 64)) @ p["Vo"].mT'),),
        example="m1s1e1u65-float64-seed0",
    ),
    _fault(
        id="bias-lost-beyond-128-units",
        title="Beyond the 128th unit the forget gate's bias is not added.",
        explanation="(1f): the bias is read by one block of 128 threads. Hidden up to 128 units.",
        patches=(in_forward('+ p["bf"]', '+ p["bf"] * (np.arange(h.shape[-1]) < 128)'),),
        example="m1s1e1u129-float64-seed0",
    ),
    _fault(
        id="tail-of-sixteen-elements-lost",
        title="Above 16 elements, the forward product X U leaves out those beyond a multiple of 16.",
        explanation="(1): the input's product in tiles of 16 without a tail. Hidden up to 16 elements.",
        patches=(
            in_forward(
                "X_s = X[..., s, :]\n",
                f"X_s = X[..., s, :]\n        e = X.shape[-1]\n        X_k = X_s * (np.arange(e) < {_whole('e')})\n",
            ),
            *(in_forward(f'X_s @ p["U{k}"]', f'X_k @ p["U{k}"]') for k in _GATES),
        ),
        example="m1s1e17u1-float64-seed0",
    ),
    _fault(
        id="du-lost-beyond-32-elements",
        title="Beyond the 32nd row dU is zero.",
        explanation="(1): the rows of dU are one to a lane of a warp. Hidden up to 32 elements.",
        patches=(in_gradients(_DU, f"{_DU} * (np.arange(X.shape[-1]) < 32)[:, np.newaxis]"),),
        example="m1s1e33u1-float64-seed0",
    ),
    _fault(
        id="input-gradient-lost-beyond-64-elements",
        title="Beyond the 64th element dX is zero.",
        explanation="(1): the last product writes one tile of 64 columns. Hidden up to 64 elements.",
        patches=(_cut_dx("(np.arange(dX.shape[-1]) < 64)"),),
        example="m1s1e65u1-float64-seed0",
    ),
    _fault(
        id="candidate-input-lost-beyond-128-elements",
        title="The candidate leaves out the elements beyond the 128th.",
        explanation="(1g): shared memory holds 128 elements of X. Hidden up to 128 elements.",
        patches=(in_forward('X_s @ p["Ug"]', 'X_s * (np.arange(X.shape[-1]) < 128) @ p["Ug"]'),),
        example="m1s1e129u1-float64-seed0",
    ),
    _fault(
        id="tail-of-sixteen-steps-lost",
        title="Above 16 steps, dV leaves out the steps before the last whole blocks of 16.",
        explanation="(1): the product over all steps in blocks of 16 without the remainder. Hidden up to 16 steps.",
        patches=(
            in_gradients(_DV, "np.sum((hp.mT @ dk_)[..., s % 16 if s > 16 else 0 :, :, :], axis=-3)"),
            in_gradients('        g[f"dU{gate}"]', '        s = dk_.shape[-3]\n        g[f"dU{gate}"]'),
        ),
        example="m1s17e1u1-float64-seed0",
    ),
    _fault(
        id="carry-lost-after-32-steps",
        title="The memory's cotangent is not passed on from the 32nd step before the last.",
        explanation="(6): the steps are unrolled by 32, and the next call begins with zero. Hidden below 32 steps.",
        patches=(in_backward("        dhn, dCn = dh, dC\n", "        dhn, dCn = dh, dC * (dA.shape[-2] - s != 32)\n"),),
        example="m1s32e1u1-float64-seed0",
    ),
    _fault(
        id="states-again-after-64-steps",
        title="Every 64 steps the forward pass starts from h0 and C0 again.",
        explanation="(6): a sequence is taken in pieces of 64 steps, each from the initial states. Hidden before.",
        patches=(in_forward(_START, "hp, Cp_ = (h0, C0) if s % 64 == 0 else (h, C_)\n"),),
        example="m1s65e1u1-float64-seed0",
    ),
    _fault(
        id="input-gradient-lost-beyond-128-steps",
        title="Beyond the 128th step dX is zero.",
        explanation="(1): the steps are the blocks of a grid of 128. Hidden up to 128 steps.",
        patches=(_cut_dx("(s < 128)"),),
        example="m1s129e1u1-float64-seed0",
    ),
)
