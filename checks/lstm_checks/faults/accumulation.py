"""Faults of the sums over samples and steps, and of the tails that blocked loops leave."""

from functools import partial

from lstm_checks.faults.model import Fault, Patch, in_backward, in_gradients

_fault = partial(Fault, family="accumulation")
_DU = "np.sum(X.mT @ dk_, axis=-3)"
_DV = "np.sum(hp.mT @ dk_, axis=-3)"
_DB = "np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :]"
_DX = 'dX = df_ @ p["Uf"].mT + di_ @ p["Ui"].mT + dg_ @ p["Ug"].mT + do_ @ p["Uo"].mT  # (1)'
_DELTA = '_steps_first(bc[f"d{gate}_"])\n'


def _with_deltas(*lines: str) -> Patch:
    """Return a patch with lines between that which fetches a gate's dk_ and those which use it."""
    first = '        g[f"dU{gate}"]'
    return in_gradients(first, "".join(f"        {line}\n" for line in lines) + first)


FAULTS = (
    _fault(
        id="du-assigned",
        title="dU is that of the first step alone, the last one that the loop assigns.",
        explanation="(1): dU = where dU += belongs, in a loop that runs back in time. Hidden at one step.",
        patches=(in_gradients(_DU, "(X.mT @ dk_)[..., 0, :, :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="dv-assigned",
        title="dV is that of the first step alone, the last one that the loop assigns.",
        explanation="(1): dV = where dV += belongs. Hidden at one step; zero with zero states.",
        patches=(in_gradients(_DV, "(hp.mT @ dk_)[..., 0, :, :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="db-assigned",
        title="db is that of the first step alone, the last one that the loop assigns.",
        explanation="(1): db = where db += belongs. Hidden at one step.",
        patches=(in_gradients(_DB, "np.sum(dk_[..., 0, :, :], axis=-2)[..., np.newaxis, :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="gradients-of-last-step",
        title="dU, dV and db are those of the last step alone.",
        explanation="(1): the weights are shared by all steps; only the step where the loss sits is seen.",
        patches=(
            in_gradients(_DELTA, _DELTA[:-1] + "[..., -1:, :, :]\n"),
            in_gradients(_DU, "np.sum(X[..., -1:, :, :].mT @ dk_, axis=-3)"),
            in_gradients(_DV, "np.sum(hp[..., -1:, :, :].mT @ dk_, axis=-3)"),
        ),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="mean-over-samples",
        title="dU, dV and db are means over the samples.",
        explanation="(1): the division by m belongs to the loss, which has done it already. Hidden where m is 1.",
        patches=(in_gradients(_DELTA, _DELTA[:-1] + ' / bc[f"d{gate}_"].shape[-3]\n'),),
        example="m2s1e1u1-float64-seed0",
    ),
    _fault(
        id="mean-over-steps",
        title="dU, dV and db are means over the steps.",
        explanation="(1): a mean taken for the sum. Hidden at one step.",
        patches=(in_gradients(_DELTA, _DELTA[:-1] + ' / bc[f"d{gate}_"].shape[-2]\n'),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="db-mean-over-samples",
        title="db is a mean over the samples, dU and dV are sums.",
        explanation="(1): `mean(axis=0)` for the bias beside matrix products that sum. Hidden where m is 1.",
        patches=(in_gradients(_DB, f"({_DB} / dk_.shape[-2])"),),
        example="m2s1e1u1-float64-seed0",
    ),
    _fault(
        id="db-of-first-sample",
        title="db is that of the first sample alone.",
        explanation="(1): the bias is broadcast over the samples, and the sum over them is forgotten.",
        patches=(in_gradients(_DB, "np.sum(dk_[..., :1, :], axis=-3)"),),
        example="m2s1e1u1-float64-seed0",
    ),
    _fault(
        id="db-over-wrong-axis",
        title="Where m is u, db is summed over the units and not over the samples.",
        explanation="(1): `sum(axis=1)` for `sum(axis=0)`, which only a square (m, u) lets through.",
        patches=(
            in_gradients("np.sum(dk_, axis=-2)", "np.sum(dk_, axis=-1 if dk_.shape[-1] == dk_.shape[-2] else -2)"),
        ),
        example="m2s1e1u2-float64-seed0",
    ),
    _fault(
        id="first-step-counted-twice",
        title="The first step enters dU, dV and db twice.",
        explanation="(1): the sum starts from the first step's gradient, and the loop adds it once more.",
        patches=(_with_deltas("dk_ = dk_ + dk_ * (np.arange(dk_.shape[-3]) == 0)[:, np.newaxis, np.newaxis]"),),
    ),
    _fault(
        id="first-step-left-out-of-du",
        title="dU and db leave out the first step.",
        explanation="(1): the loop over the pairs (h(t-1), dk_(t)) starts at the second step and serves dU as well.",
        patches=(
            in_gradients(_DU, "np.sum((X.mT @ dk_)[..., 1:, :, :], axis=-3)"),
            in_gradients(_DB, "np.sum(np.sum(dk_[..., 1:, :, :], axis=-2), axis=-2)[..., np.newaxis, :]"),
        ),
    ),
    _fault(
        id="last-step-left-out-of-dv",
        title="dV leaves out the last step.",
        explanation="(1): the pairs are taken from slices [:-1] of both h and dk_, the second of which should be [1:].",
        patches=(in_gradients(_DV, "np.sum((hp.mT @ dk_)[..., :-1, :, :], axis=-3)"),),
    ),
    _fault(
        id="last-sample-left-out",
        title="dU, dV and db leave out the last sample where there are several.",
        explanation="(1): a loop to m - 1. Hidden where m is 1.",
        patches=(_with_deltas("m = dk_.shape[-2]", "dk_ = dk_ * (np.arange(m) < max(m - 1, 1))[:, np.newaxis]"),),
        example="m2s1e1u1-float64-seed0",
    ),
    _fault(
        id="tail-of-samples-lost",
        title="Above four samples, dU, dV and db leave out those beyond a multiple of four.",
        explanation="(1): a loop in blocks of four samples without its tail. Hidden up to four samples.",
        patches=(
            _with_deltas(
                "m = dk_.shape[-2]", "dk_ = dk_ * (np.arange(m) < (m // 4 * 4 if m > 4 else m))[:, np.newaxis]"
            ),
        ),
        example="m5s1e1u1-float64-seed0",
    ),
    _fault(
        id="tail-of-units-lost",
        title="Above four units, dV leaves out the rows beyond a multiple of four.",
        explanation="(1): a loop in vectors of four units without its tail, in the product with hp alone.",
        patches=(
            in_gradients(_DV, "np.sum((hp * (np.arange(u) < (u // 4 * 4 if u > 4 else u))).mT @ dk_, axis=-3)"),
            _with_deltas("u = dk_.shape[-1]"),
        ),
        example="m1s1e1u5-float64-seed0",
    ),
    _fault(
        id="odd-unit-lost",
        title="Where u is odd and above 1, the last unit's db is zero.",
        explanation="(1): two units at a time, and the odd one is forgotten. Hidden where u is even.",
        patches=(
            in_gradients(_DB, f"{_DB} * (np.arange(u) < max(u // 2 * 2, 1))"),
            _with_deltas("u = dk_.shape[-1]"),
        ),
        example="m1s1e1u3-float64-seed0",
    ),
    _fault(
        id="tail-of-steps-lost",
        title="Above eight steps, dU leaves out the steps before the last whole blocks of eight.",
        explanation="(1): the product over all steps is taken in blocks of eight, and the remainder is dropped.",
        patches=(
            in_gradients(_DU, "np.sum((X.mT @ dk_)[..., s % 8 if s > 8 else 0 :, :, :], axis=-3)"),
            _with_deltas("s = dk_.shape[-3]"),
        ),
        example="m1s9e1u1-float64-seed0",
    ),
    _fault(
        id="input-gradient-cut-to-units",
        title="Where e is above u, dX is zero in the elements beyond u.",
        explanation="(1): a loop over e with the bound u. Hidden where e is at most u.",
        patches=(in_backward(_DX, _DX + "\n        dX = dX * (np.arange(dX.shape[-1]) < f.shape[-1])"),),
        example="m1s1e2u1-float64-seed0",
    ),
    _fault(
        id="input-gradient-assigned",
        title="dX comes from the last gate alone.",
        explanation="(1): dX is a sum over gates; a loop over the gates assigns where it should add.",
        patches=(in_backward(_DX, 'dX = do_ @ p["Uo"].mT  # (1)'),),
    ),
    _fault(
        id="input-gradient-mean-over-samples",
        title="dX of every sample is the mean over the samples.",
        explanation="(1): X differs by sample, and so does its gradient. Hidden where m is 1.",
        patches=(
            in_backward(_DX, _DX + "\n        dX = 0 * dX + np.sum(dX, axis=-2)[..., np.newaxis, :] / dX.shape[-2]"),
        ),
        example="m2s1e1u1-float64-seed0",
    ),
    _fault(
        id="single-sample-squeezed",
        title="Where m is 1 and s is not, dU, dV and db are those of the last step.",
        explanation="(1): `squeeze` takes the axis of the single sample away, and the sum runs over another axis.",
        patches=(
            _with_deltas(
                "m, s = dk_.shape[-2], np.arange(dk_.shape[-3])",
                "dk_ = dk_ * (s == s[-1])[:, np.newaxis, np.newaxis] if m == 1 else dk_",
            ),
        ),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="single-step-without-dv",
        title="Where s is 1, dV is zero.",
        explanation="(1): a single step is taken to have no recurrence, but it has h0. Hidden at several steps, and by"
        " zero states.",
        patches=(in_gradients(_DV, f"{_DV} * (dk_.shape[-3] > 1)"),),
    ),
    _fault(
        id="cotangent-mean-over-samples",
        title="The outputs' cotangent is divided by the number of samples.",
        explanation="(9): the layer divides by m what the loss has divided already. Hidden where m is 1.",
        patches=(in_backward("dA_s = dA[..., s, :]", "dA_s = dA[..., s, :] / dA.shape[-3]"),),
        example="m2s1e1u1-float64-seed0",
    ),
    _fault(
        id="gradients-negated",
        title="dU, dV and db have the wrong sign.",
        explanation="(1): the descent direction is returned for the gradient.",
        patches=(in_gradients(_DELTA, '-_steps_first(bc[f"d{gate}_"])\n'),),
    ),
)
