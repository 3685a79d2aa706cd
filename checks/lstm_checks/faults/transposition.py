"""Faults of transposition and of layout, many of which only square arrays let through."""

from functools import partial

from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="transposition")
_DX = 'dX = df_ @ p["Uf"].mT + di_ @ p["Ui"].mT + dg_ @ p["Ug"].mT + do_ @ p["Uo"].mT  # (1)'
_DH = 'dh = df_ @ p["Vf"].mT + di_ @ p["Vi"].mT + dg_ @ p["Vg"].mT + do_ @ p["Vo"].mT  # (1)'
_DU = "np.sum(X.mT @ dk_, axis=-3)"
_DV = "np.sum(hp.mT @ dk_, axis=-3)"
_COTANGENT = "dA_s = dA[..., s, :]"
_BACKWARD = "    trace = []\n    for s in reversed"
_FORWARD = "    trace = []\n    h, C_ = h0, C0\n"
_GATES = {"f": "forget", "i": "input", "g": "candidate", "o": "output"}


_RESTACKED = """    W = {k: np.concatenate([p["U" + k], p["V" + k]], axis=-2) for k in "figo"}
    u = p["Vf"].shape[-1]
    p = {k: p[k] for k in p} | {"V" + k: W[k][..., :u, :] for k in W} | {"U" + k: W[k][..., u:, :] for k in W}
"""

FAULTS = (
    _fault(
        id="recurrence-untransposed",
        title="dh is made of V and not of its transpose.",
        explanation="(1): V is square, so that no shape gives it away. Hidden at u = 1.",
        patches=(in_backward(_DH, _DH.replace(".mT", "")),),
        example="m1s1e1u2-float64-seed0",
    ),
    *(
        _fault(
            id=f"recurrence-untransposed-{gate}",
            title=f"dh is made of V and not of its transpose for the {name} gate.",
            explanation=f"(1{gate}): one of four products forgets the transposition. Hidden at u = 1.",
            patches=(in_backward(f'd{gate}_ @ p["V{gate}"].mT', f'd{gate}_ @ p["V{gate}"]'),),
            example="m1s1e1u2-float64-seed0",
        )
        for gate, name in _GATES.items()
    ),
    _fault(
        id="input-gradient-untransposed",
        title="Where e is u, dX is made of U and not of its transpose.",
        explanation="(1): a choice by what the shapes allow, which is wrong where U is square.",
        patches=(
            in_backward(
                _DX,
                _DX + '\n        if p["Uf"].shape[-2] == p["Uf"].shape[-1]:\n            ' + _DX.replace(".mT", ""),
            ),
        ),
        example="m1s1e2u2-float64-seed0",
    ),
    _fault(
        id="input-weights-reshaped",
        title="dX is made of U reshaped to (u, e) and not transposed.",
        explanation="(1): reshape keeps the order in memory and transposes nothing. Hidden where e or u is 1.",
        patches=(
            in_backward(
                _DX,
                _DX.replace(".mT", ".reshape(shape)").replace("dX =", 'shape = p["Uf"].mT.shape\n        dX ='),
            ),
        ),
        example="m1s1e2u2-float64-seed0",
    ),
    _fault(
        id="dv-transposed",
        title="dV is transposed.",
        explanation="(1): dk_^T hp for hp^T dk_; V is square, so that no shape gives it away. Hidden at u = 1.",
        patches=(in_gradients(_DV, "np.sum(dk_.mT @ hp, axis=-3)"),),
        example="m1s1e1u2-float64-seed0",
    ),
    _fault(
        id="dvo-transposed",
        title="dVo is transposed.",
        explanation="(1o): one of four products has its factors in the wrong order. Hidden at u = 1.",
        patches=(in_gradients(_DV, 'np.sum(dk_.mT @ hp if gate == "o" else hp.mT @ dk_, axis=-3)'),),
        example="m1s1e1u2-float64-seed0",
    ),
    _fault(
        id="du-transposed-where-square",
        title="Where e is u, dU is transposed.",
        explanation="(1): a transposition by what the shapes allow, which is wrong where U is square.",
        patches=(in_gradients(_DU, "np.sum(dk_.mT @ X if X.shape[-1] == dk_.shape[-1] else X.mT @ dk_, axis=-3)"),),
        example="m1s1e2u2-float64-seed0",
    ),
    _fault(
        id="du-reshaped",
        title="dU is computed as (u, e) and reshaped to (e, u).",
        explanation="(1): reshape keeps the order in memory and transposes nothing. Hidden where e or u is 1.",
        patches=(in_gradients(_DU, "np.sum(dk_.mT @ X, axis=-3).reshape(np.sum(X.mT @ dk_, axis=-3).shape)"),),
        example="m1s1e2u2-float64-seed0",
    ),
    _fault(
        id="recurrent-weights-transposed",
        title="The forward pass multiplies by the transpose of V.",
        explanation="(1): weights stored as (out, in) by another framework; the backward pass does not know. Hidden"
        " at u = 1.",
        patches=tuple(in_forward(f'hp @ p["V{k}"]', f'hp @ p["V{k}"].mT') for k in "figo"),
        example="m1s1e1u2-float64-seed0",
    ),
    _fault(
        id="weights-stacked-the-other-way",
        title="One stack of rows [U; V] is read as [V; U].",
        explanation="(1): some frameworks multiply [x; h] and some [h; x] by one matrix of e + u rows; forward,"
        " backward and gradients agree with each other, and with nobody else.",
        patches=(
            in_forward(_FORWARD, _RESTACKED + _FORWARD),
            in_backward(_BACKWARD, _RESTACKED + _BACKWARD),
            in_gradients(
                "    return g\n",
                "    G = dict(g)\n"
                '    for k in "figo":\n'
                '        e, W = g["dU" + k].shape[-2], np.concatenate([g["dV" + k], g["dU" + k]], axis=-2)\n'
                '        G["dU" + k], G["dV" + k] = W[..., :e, :], W[..., e:, :]\n'
                "    return G\n",
            ),
        ),
    ),
    _fault(
        id="samples-and-steps-reshaped",
        title="X (m, s, e) is read as (s, m, e).",
        explanation="(1): batch first against time first, mended by a reshape, which swaps no axes. Hidden where m or"
        " s is 1.",
        patches=(
            in_forward(
                _FORWARD,
                "    m, s, e = X.shape[-3:]\n"
                "    X = np.swapaxes(X.reshape(*X.shape[:-3], s, m, e), -3, -2)\n" + _FORWARD,
            ),
        ),
        example="m2s2e1u1-float64-seed0",
    ),
    _fault(
        id="samples-and-steps-swapped-where-equal",
        title="Where m is s, X is read with samples and steps swapped.",
        explanation="(1): batch first against time first, guessed from the shape. Hidden where m is not s.",
        patches=(
            in_forward(_FORWARD, "    X = np.swapaxes(X, -3, -2) if X.shape[-3] == X.shape[-2] else X\n" + _FORWARD),
        ),
        example="m2s2e1u1-float64-seed0",
    ),
    _fault(
        id="hidden-states-reshaped",
        title="h is returned as (s, m, u) reshaped to (m, s, u).",
        explanation="(9): time first inside and batch first outside; reshape swaps no axes. Hidden where m or s is 1.",
        patches=(
            in_forward(
                '    fc["X"] = X\n',
                '    fc["h"] = np.swapaxes(fc["h"], -3, -2).reshape(fc["h"].shape)\n    fc["X"] = X\n',
            ),
        ),
        example="m2s2e1u1-float64-seed0",
    ),
    _fault(
        id="cotangent-reshaped",
        title="dA (m, s, u) is read as (s, m, u).",
        explanation="(9): time first inside and batch first outside; reshape swaps no axes. Hidden where m or s is 1,"
        " and by a cotangent of ones.",
        patches=(
            in_backward(
                _BACKWARD,
                "    m, s, u = dA.shape[-3:]\n"
                "    dA = np.swapaxes(dA.reshape(*dA.shape[:-3], s, m, u), -3, -2)\n" + _BACKWARD,
            ),
        ),
        example="m2s2e1u1-float64-seed0",
    ),
    _fault(
        id="bias-as-column",
        title="Where m is u, the forget gate's bias is added by sample and not by unit.",
        explanation="(1f): a bias of shape (u, 1), which only a square (m, u) lets through.",
        patches=(in_forward('p["bf"]  # (1f)', '(p["bf"].mT if X_s.shape[-2] == hp.shape[-1] else p["bf"])  # (1f)'),),
        example="m2s1e1u2-float64-seed0",
    ),
    _fault(
        id="dh0-transposed-where-square",
        title="Where m is u, dh0 is transposed.",
        explanation="(1): states are kept as (u, m) inside; a transposition too many, which only a square allows.",
        patches=(in_backward('"dh0": dhn', '"dh0": dhn.mT if dhn.shape[-2] == dhn.shape[-1] else dhn'),),
        example="m2s1e1u2-float64-seed0",
    ),
)
