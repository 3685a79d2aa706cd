"""Every numeric threshold of the harness, each with its derivation beside it.

Units are those of the quantity compared unless the docstring says otherwise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class ByFormat(dict[str, float]):
    """A number for each format (`formats.py`); under a contract ("bfloat16+gates32") it is the format's own."""

    def __missing__(self, name: str) -> float:
        base, contract, _ = name.partition("+")
        if not contract:
            raise KeyError(name)
        return self[base]

    def low(self, bfloat16: float, float16: float, tf32: float) -> "ByFormat":
        """Return the numbers with those of the formats of low precision, of which some are as others are."""
        like = {"bfloat16": bfloat16, "bfloat16products": bfloat16, "autocastbfloat16": bfloat16}
        return ByFormat(self | like | {"float16": float16, "autocastfloat16": float16, "tf32": tf32})


UNIT_ROUNDOFF = ByFormat({"float64": 2.0**-53, "float32": 2.0**-24}).low(2.0**-8, 2.0**-11, 2.0**-11)
"""rho: half the distance from 1 to the next number."""

SMALLEST_NORMAL = ByFormat(
    {"float64": float(np.finfo(np.float64).tiny), "float32": float(np.finfo(np.float32).tiny)}
).low(2.0**-126, 2.0**-24, 2.0**-126)
"""What an operation may lose near zero, on hardware that flushes subnormal results. Of float16, whose subnormal numbers
CPUs and GPUs keep, its least one: where they are flushed is a contract of its own."""

SMALLEST_NORMAL_FLOAT16 = 2.0**-14
"""The same of float16 under a contract that lets subnormal numbers be flushed."""

OVERFLOW = ByFormat({dtype: 2.0**-32 * float(np.finfo(dtype).max) for dtype in ("float64", "float32")}).low(
    2.0**96, 2.0**15, 2.0**96
)
"""Above this a value due says that what it was made of, products with parameters of up to some hundred and sums of some
thousand, may be no number of the dtype. Only activations that are not bounded lead there. Of float16, which ends at
65504, all that is computed in it is looked at, sums of sizes in place of sums, so that a factor of 2 is enough."""

COPIES = 32
"""Noisy copies. The fewer, the more often an entry's sd comes out far too small: below a third of the true one 4
times in 10^6 entries with 16 copies (chi-square with 16 degrees of freedom), once in 10^10 with 32. A third of the sd
would leave 6 of them at 2 true ones; see docs/decisions/0003."""

MAGNIFICATION = ByFormat({"float64": 64.0, "float32": 1.0}).low(2.0**-4, 2.0**-4, 2.0**-4)
"""The noise is carried by float64. It must stand well above float64's own rounding (hence 64 for float64, and 1 for
float32, whose rho is 2^29 times greater) and be so small that the answer depends on it linearly (hence not more, and
less than 1 for the formats of low precision, of which a few roundings are a percent)."""

SIGMAS = 6.0
"""Accepted deviation in standard deviations. Normal errors exceed it twice in 10^9, and even a third of it (see COPIES)
once in 20. Roundings to the nearest make a sum of errors that are each anything up to a step alike, whose noise has all
of the step: it exceeds 6 of 32 copies' standard deviations once in 9 * 10^9 at most, of the 2300 entries of a default
example in 10^6 examples a quarter of a time. They make less than that bound supposes (docs/calibration.md)."""

CHAOTIC = ByFormat({"float64": 1e-4, "float32": 0.05}).low(0.1, 0.1, 0.1)
"""Above this share of the largest entry the noise sd says nothing: magnified (64 times or once) it is a percent or some
of the answer, and the answer no longer depends on it linearly. Such a problem is itself chaotic: inconclusive. The
second-order part of an error of 5 % is about 5 % of it, and six times as much is accepted; see docs/decisions/0006.
At 10 %, of low precision, it is 10 % of it; the noise itself is of a sixteenth of that, and linear (0022)."""

UNSTABLE_NOISE, UNSTABLE = 2.0, 2.0
"""A case in low precision is unstable where an output of a copy with so many times the noise there is departs by so
many times what is then accepted. Of 5784 cases right programs were off by up to 10^6 times the accepted in six, where
such copies are by 300 to 10^14 (docs/decisions/0022)."""

DROWNED = 100.0
"""How many times the accepted deviation a tensor may be off, of which no entry is above its own noise's sd, without
anything being concluded. Such noise is no sum of small effects: two units that are normalised differ by rounding, say,
and all that follows is of either sign. Right layers were off by up to 9 times (docs/calibration.md)."""

RESOLUTION = ByFormat({"float64": 2.0**-31, "float32": 2.0**-2}).low(2.0**-1, 2.0**-1, 2.0**-1)
"""A tensor none of whose entries is known to this share of itself (2^22 rho) is inconclusive: rounding blurs all of it.
In any other, one entry at least shows a relative error of twice that, 1e-9 in float64, whatever the target's own
rounding does: twice the accepted deviation less at most one accepted deviation. In low precision that is all of an
entry: what is wrong by less shows in many entries together (`PROJECTION_SIGMAS`)."""

BIAS = 2.0**-3
"""Share of rho by which all results of one kind of operation may be off the same way in low precision. Rounding to the
nearest is off either way; a library's function is rounded from one of more digits, or may lean by a part of it. It does
not count in an entry, where it is an eighth, but in sums over many of them; one that cuts off leans by all of rho."""

STORED_BIAS = 2.0**-5
"""The same of rounding a result to where it is stored, which is no function of a library: to the nearest, it leans
by what its last bits happen to be, which is in the noise of each entry already. Cutting off leans by 0.7 on average."""

PROJECTION_SIGMAS = 9.0
"""Accepted deviation of what many entries say together, in standard deviations, which are estimated from 32 copies: the
ratio has Student's distribution with 32 degrees of freedom, which exceeds 9 three times in 10^10. An example has at
most some 75 projections, 10^6 examples 7.5 * 10^7: one in 40 such runs has a false alarm if the noise is as large as it
is taken for. Rounding to nearest makes half of it (docs/calibration.md): by the bound of `SIGMAS` one in 10^6 runs."""

OF_NEAREST = 0.35
"""Mean square of a rounding to the nearest over that of the noise that stands for it, at most: 1/3, for an error that
is anything up to the whole step alike, where the noise has all of the step, and the square of `BIAS`."""

SQUARES_LOGARITHM = 19.0
"""e to minus this is how often errors of that size exceed `accepted_squares`: six times in 10^9 sums, of which 10^6
examples have 8 * 10^6."""


def accepted_squares(mean: float, deviation: float) -> float:
    """Return the accepted sum of squared errors over their noise.

    Parameters
    ----------
    mean, deviation : float
        Of the same sum of the noisy copies.

    Notes
    -----
    Such a sum is one of squares of independent normal numbers, each with a weight, since errors are correlated. It
    exceeds mean + deviation sqrt(2) (sqrt(x) + x) with probability e^-x at most (Laurent and Massart 2000, lemma 1,
    with the largest weight bounded by the root of the sum of their squares, which is the deviation over sqrt(2)).
    """
    far = np.sqrt(2) * (np.sqrt(SQUARES_LOGARITHM) + SQUARES_LOGARITHM)
    return float(OF_NEAREST * (mean + far * deviation))


ADDING_UP, ADDING_UP_STEPS = 0.6, 12
"""Share of what is accepted that the contract carried out to the nearest may take in an example of so many steps; where
it takes more, roundings are not independent. Of 1925 conclusive cases so long five took 0.87 to 1.29, and all others
0.59 at most (docs/calibration.md)."""

PROJECTION_FLOOR = 2.0**-2
"""Share of a tensor's root mean square noise that an entry has at least where entries are weighed by their noise."""

CONTRACT_EXAMPLES = 8
"""On how many examples it is measured which contract a target in low precision keeps: some thousand entries."""

CONTRACT_SIZE = 600
"""Entries of the gradients of such an example, at most."""

CONTRACT_KEPT = 0.75
"""Largest root mean square of a tensor's errors, in standard deviations of a contract's noise, at which it is kept.
Rounding to nearest makes 0.2 to 0.5 of that noise, whose steps all have the largest size, whatever the contract (three
right programs and the four named contracts carried out, docs/calibration.md). What would pass with a part
in the short format, too, says nothing of that part."""

NORM_OF_TWO = 0.25
"""Times the largest mean over its standard deviation, of what is normalised over two units, by how much more than the
reference's the noise of its gradients may be. They are differences of nearly equal numbers, and what is left of these
hangs on the formula: PyTorch's adds multiples of what is normalised, and of its mean. In eight of some 1000 cases it
was off by 1.6 to 84 times what the reference's own noise accepts, 0.003 to 0.08 times that (docs/calibration.md)."""

LARGE = 2**18
"""Number of gradient entries above which a case is judged by random directions: 32 copies of everything would take
minutes and gigabytes."""

LARGE_COPIES = 8
"""Noisy copies of a large case."""

LARGE_DIRECTIONS = 16
"""Random directions along which each tensor of a large case is looked at. The product of an error with a direction, an
outer product of normal vectors, is below a hundredth of the error's norm in one direction of 30, in all of 16 never."""

LARGE_SIGMAS = {"direction": 12.0, "entry": 64.0}
"""Accepted deviation of a large case in standard deviations, which are estimated from 8 copies alone: the ratio has
Student's distribution with 8 degrees of freedom. It exceeds 12 twice in 10^6, and there are some 250 directions, each
with at least the standard deviation of them all; 64 four times in 10^12, and there may be 10^8 entries."""

FINGERPRINT = 4.0
"""Times the accepted deviation within which a planted fault gives a target's own numbers: faults cancel and grow in
other places than the reference does, and two layers with the same fault were seen 1.8 accepted deviations apart. It is
far below the 1e-9 of a tensor's largest value by which faults must differ to be told apart on a case."""

CLEARLY = 4.0
"""How many times further from what came than an explanation's values what is due must be. A right program uses at most
half of the accepted deviation (0.50 in 720 trials of PyTorch), so that a true explanation of an error of 2 passes. One
that has nothing to do with the error is no nearer to what came than what is due (the ratio is 1 for one that changes
nothing, and less for one that changes something). One entry agrees to a quarter by chance for one explanation in some
ten, several entries of either sign far less often, and more cases are asked."""

TOO_SMALL = CLEARLY * FINGERPRINT
"""Times the accepted deviation up to which an error is too small to name: an explanation's values may be `FINGERPRINT`
accepted deviations from what came, and are told from what is due where that is `CLEARLY` times as far."""

CALLS = 4000
"""How often a diagnosis may call the target. Those of the catalogue take 40 to 130 calls, the longest seen 600; at the
2 ms of a small NumPy layer this many are 8 s."""

CALLS_FURTHER = 400
"""How often the diagnosis of a further group of failures may: a named fault takes 40 to 130."""

TRIES = 1500
"""How many patched references each search of a diagnosis may try: all of the catalogue, or all slips of the pen in one
pass, and some of the 50,000 pairs of faults, those first of which one explains most. A new pair takes 1 ms, so that
they are 2 s."""

WORK_SIZE = 20_000
"""With so many numbers to go through a call or a try takes twice as long as with none, and counts double."""

BITS_LOST = 3
"""By how many significant bits values must be shorter than their dtype has for that to be no chance: of one value in 8
the last three bits are zero, of all of the 48 that are read of a gate at once in 10^43, and of the 6 of the smallest
tensor looked at once in 10^5."""

SHORT_ERROR = 64.0
"""By how many units of the last of its bits a tensor in few bits may be off, of its largest entry, to be right but for
them: a sum of some tens of terms in that format is, at most; a value that is wrong for another reason, and has few bits
because it is made of round numbers, is off by as much as it is large."""
SHORT_AT_MOST = 0.25
"""How much of its largest entry that may be: a quarter, which it is in eight bits, the fewest that a format has."""

LIKE_SIZE = 4.0
"""By what factor two errors of rounding to one format may differ in size, in the median over the wrong tensors, to be
alike. Another formula for the same function rounds elsewhere (a logistic function by 1 + tanh errs by 2^-25 where it is
small, one by exp by 2^-25 of itself): by 0.9 to 1.8 in three cases. The next format differs by 2^13."""

COMPLEX_STEP_ALL = 48
"""Largest number of gradient entries for which the complex step is taken in every one of them; a direction costs a part
of a forward pass, and random ones see as much."""

COMPLEX_STEP_DIRECTIONS = 8
"""Random directions for the complex step above that. One direction already meets an error in any entry with
probability 1; eight make its component along all of them small once in 10^7 (each below 0.17 of its sd)."""

COMPLEX_STEP_DOUBT = 0.5
"""Share of the accepted difference above which an entry's complex step is taken again with noise. Any share below 1
is right; a low one shows the true use of the tolerance."""

COMPLEX_STEP_RETAKEN = 32
"""How many entries, the worst, are taken again; more than a handful would mean a wrong reference."""

OWN_COPIES = 4
"""Perturbed calls from which a target's noise is estimated where there is no reference. Few, because the perturbation
is so much larger than rounding (next) that a deviation ten times too small would do."""

OWN_PERTURBATION = {"float64": 2.0**16, "float32": 2.0**6}
"""By how many unit roundoffs, relative, every input is perturbed for that. Rounding a product of n terms is the same as
perturbing its weights by up to n rho (backward stability), n at most some tens; a rounded activation k is the same as
an input off by rho k / (1 - k), the more the nearer the gate is to 1: hence so much. Nothing is divided by it."""

OWN_FLOOR = {"float64": 2.0**10, "float32": 2.0**6}
"""What no perturbation of an input shows, in unit roundoffs of what the entry is a sum of: 1 - k and 1 - tanh(C)^2 are
off by rho however small they are, so that a saturated gate's gradient is off by rho times what arrives at the gate.
Measured on lstm_ref, 500 examples a dtype, all regimes but x100: Monte Carlo arithmetic's sd is at most 0.005 (float64)
and 1.1 (float32) of what the perturbations and this floor add up to. With x100 it can be more in long examples: there
nothing is concluded without a reference."""

OWN_CHAOTIC = 1e-2
"""Above this share of the largest entry the noise so estimated says nothing: inconclusive."""

PROPERTY_RESOLUTION = 2.0**-10
"""A property passes where one entry at least is compared to this share of itself. What properties are to show, one
sample's share in another's gradient or a cotangent that is not passed on, is of an entry's own order."""

GRADIENT_STEP = {"float64": 2.0**-14, "float32": 2.0**-6}
"""How far a step along the gradient moves any linear activation, at most: some times the cube root of rho, where the
third-order term of a central difference (step^2) and the noise of the outputs (rho / step) are alike, because most are
moved by far less."""

GRADIENT_STEP_LONGEST = 2.0**-3
"""The longest such step, where noise asks for a longer one; activations bend on the scale of 1."""

GRADIENT_STEPS = (1.0, 0.25, 2.0)
"""Multiples of the step at which the loss is looked at."""

GRADIENT_STEP_SHORTER = 2.0**-20
"""Share of the step, at least, at which the loss is looked at again where it did not fall as predicted. A right one
was seen whose usual step brought 2^-13 of the fall predicted (54 steps, scales mixed): well below that share."""

GRADIENT_STEP_COARSE = 0.1
"""Above this share of the predicted change the accepted one says nothing: the loss is not linear that far."""

REPEATS = 8
"""Further calls of an example in which two calls differ at all. A wrong value that comes in one call of a hundred is
then missed with 0.99^800 in a run of 100 examples, 3 of 10,000 runs; in one example alone in 92 of 100."""

LIKE_COPIES = {"float64": 2.0**-26, "float32": 2.0**-10}
"""Largest difference of a gradient's entries from those that came of copies of the same cotangents, as a share of the
largest: half of the digits, which no other order of a sum costs and who reads other numbers is far beyond."""

LIKE_COPIES_NOISE = 100.0
"""The same in standard deviations of the noisiest entry, as a share of the largest, for the case's own cotangents:
others may be noisier by the ratio of two sums, so it is generous; above `PROPERTY_RESOLUTION` nothing is said."""


def accepted_products(size: float, noise: float, dtype: str) -> float:
    """Return the accepted difference of two inner products that should be one.

    Half of the digits (`LIKE_COPIES`) of the sizes of what is added up, which no rounding costs and a wrong derivative
    is far beyond; or more, where the gradients in them are as noisy as `noise`, the sum of their standard deviations,
    says: `LIKE_COPIES_NOISE` of these, since other directions may be noisier.
    """
    return LIKE_COPIES[dtype] * size + LIKE_COPIES_NOISE * noise + 8 * SMALLEST_NORMAL[dtype]


SAMPLES_APART = 3
"""How many samples of an example are looked at each by itself where a call is mapped over them: the reference runs on
each, and what is wrong with one sample mostly is with all, or with the first or the last."""

STEP_OF_PARAMETERS = 0.1
"""By how much of the largest parameter a step changes some parameter at most: enough that what is stale then is wrong
by far more than noise, and little enough that an example of ordinary values stays one."""

QUESTIONS = 2
"""How many of the questions of `lstm_checks.asking` an example is asked."""

ASKED_OF_COMPILED = 1
"""How many of the questions that what compiles for each shape must compile anew for are asked in examples of one shape,
another in another's: a compilation takes one to three seconds, and a run of 100 examples has a dozen shapes, so that
each question has one to three of them."""

SMOOTH_STEP = 2.0**-24
"""Relative change of all inputs, forth and back, by which an adapter sees whether something is rounded to float32
inside: as large as a step of float32, so that some rounding inside changes in every direction."""

SMOOTH_DIRECTIONS = 4
"""Directions of that change: a kink of the function's own, which is met in few of them, is no rounding."""

SMOOTH_BEND = 2.0**-32
"""Largest second difference of h, under that change, of an LSTM that rounds nothing to float32. At the sizes and values
of `targets.common.PROBE` it was 2^-45 to 2^-43 with PyTorch, JAX and NumPy in float64, which is what curvature
and float64 make of it, and 2^-23 to 2^-21 where Keras rounds a tanh or all of it to float32; this is half way."""

CHECK_GRAD_STEP = 2.0**-26
"""The absolute forward step that scipy.optimize.check_grad takes: the square root of float64's spacing at 1."""

CHECK_GRAD_ALL = 20
"""Largest number of gradient entries for which check_grad takes them all; it costs a forward pass each, twice."""

CHECK_GRAD_MULTIPLES = (-1, 0.5, 2, 3, 5, 9)
"""Multiples of the step at which the curvature along a random direction is looked at. Where gradients explode the
function bends within less than a step, and longer ones tell nothing of that: half a step does, and one backwards."""


def accepted(sd: Array, dtype: str, sigmas: float = SIGMAS) -> Array:
    """Return the accepted absolute deviation of every entry: 6 sd, and 4 of the smallest normal number."""
    return sigmas * sd + 4 * SMALLEST_NORMAL[dtype]


def kink_room(sd: Array, rounded: float, dtype: str) -> Array:
    """Return how near to a kink a linear activation may be on either side of it, for all that rounding does.

    6 standard deviations of its own noise, and what the function rounds before it bends, in unit roundoffs: a hard
    sigmoid a product and a sum, a relu nothing.
    """
    return accepted(sd, dtype) + rounded * UNIT_ROUNDOFF[dtype]


def is_chaotic(values: Mapping[str, Array], sds: Mapping[str, Array], dtype: str) -> bool:
    """Return whether the noise is so large that nothing can be concluded, or a value or its noise is not finite."""
    # NumPy's maximum hands NaN on, wherever it stands; Python's does not.
    largest = float(np.max([np.max(np.abs(value)) for value in values.values()]))
    noisiest = float(np.max([np.max(sd) for sd in sds.values()]))
    return not (np.isfinite(largest) and noisiest <= CHAOTIC[dtype] * largest + SMALLEST_NORMAL[dtype])


def check_grad_noise(terms: float, value: float, products: float) -> float:
    """Return nu, the rounding error of one forward difference.

    Each of the two function values is off by about rho (S + |f|), where S = `terms` is the sum of the sizes of what
    was added up (or of the outputs' own noise over rho, larger than they are where a saturated gate cancels), and
    x_j + eps is off by rho (x_j + eps), which the gradient passes on, `products` together; all divided by eps.
    """
    return 2 * UNIT_ROUNDOFF["float64"] / CHECK_GRAD_STEP * (terms + abs(value) + products)


def check_grad_all(curvature: float, noise: float, size: int, sd: float) -> float:
    """Return the accepted 2-norm that check_grad returns for all entries.

    `curvature` = ||FD(2 eps) - FD(eps)||_2 estimates the truncation error (eps f''/2) and is doubled; every one of
    `size` differences has noise nu; `sd` is the 2-norm of the gradient's own sd.
    """
    return 2 * curvature + np.sqrt(size) * noise + SIGMAS * sd


def check_grad_random(curvature: float, noise: float, sd: float) -> float:
    """Return the accepted value that check_grad returns for a random direction.

    `curvature` = max_k |FD_v(k eps) - FD_v(eps)| / |k - 1| estimates the truncation error and is doubled; several k
    because one alone may vanish by chance. `sd` is the sum of |v_j| sd_j.
    """
    return 2 * curvature + noise + SIGMAS * sd


def accepted_between(left: Array, right: Array, dtype: str, sigmas: float = SIGMAS) -> Array:
    """Return the accepted difference of two answers of one target to equivalent problems, by the noise of each.

    Their errors are of one size but not the same (another shape takes another path through BLAS, with other sums):
    6 standard deviations of the difference of independent errors, which correlated ones do not exceed; twice the 4
    smallest normal numbers.
    """
    return sigmas * np.hypot(left, right) + 8 * SMALLEST_NORMAL[dtype]


def accepted_closed_form(sizes: Array, roundings: int, dtype: str) -> Array:
    """Return the accepted deviation from a closed form: a bound, not a statistic.

    To first order, a sum of products is off by at most the number of roundings on the way to it, times rho, times
    the same sum of the terms' `sizes`; doubled, a library's tanh being right to two rho only. As many smallest normal
    numbers may be lost near zero, and 4 as everywhere.
    """
    return (2 * roundings * UNIT_ROUNDOFF[dtype]) * sizes + (4 + roundings) * SMALLEST_NORMAL[dtype]


def gradient_step(noise: float, dtype: str) -> float:
    """Return how far a step along the gradient may move any linear activation.

    `noise` is that of the loss over its fall per unit of such a move: where the usual step would drown, it is so
    long that 6 of it are a 200th of the fall.
    """
    return min(max(GRADIENT_STEP[dtype], shortest_gradient_step(noise)), GRADIENT_STEP_LONGEST)


def shortest_gradient_step(noise: float) -> float:
    """Return the shortest such step for which 6 of the loss's `noise` are a 200th of its fall."""
    return 200 * SIGMAS * noise


def accepted_gradient_step(errors: Sequence[float], loss_sd: float, gradient_sd: float) -> float:
    """Return the accepted error of the change in loss predicted for a step forth and back along the gradient.

    `errors` are those of the prediction at `GRADIENT_STEPS` times the step: a k^3 + b k^5, if the gradient is right.
    |error(k) - k error(1)| / |k^3 - k| estimates |a + b|, and is doubled. A short step does so even where the step is
    too long for the series (error(k) is then next to nothing, and the estimate |error(1)| itself); a long one where
    noise hides the short one's. Of a wrong gradient the error is proportional to k, and drops out. `loss_sd` is the
    sum of |cotangent| sd over the outputs, and counts at both ends; `gradient_sd` that of |step| sd.
    """
    curvature = max(abs(errors[i] - k * errors[0]) / abs(k**3 - k) for i, k in enumerate(GRADIENT_STEPS) if i)
    return 2 * curvature + SIGMAS * (np.sqrt(2) * loss_sd + gradient_sd)


ONNX_RTOL, ONNX_ATOL = 1e-3, 1e-7
"""What ONNX's runner of backend tests accepts: abs(a - b) <= atol + rtol * abs(b). Others' number, not ours: tests
for that runner are chosen by what they expose within it."""

ONNX_GRU_ROUNDS = 4.0
"""By how many times as much an ONNX Runtime's GRU may be off: the tanh in it is off by up to 10 unit roundoffs, and by
3.6 in the root mean square (version 1.32, 200001 arguments from -12 to 12), where one within two is granted; that of
its LSTM is off by 4.5 and 0.9, of its RNN by 3.0 and 0.8. Of 900 examples of nine steps with mixed values 59 were
beyond the usual tolerance, by 2.1 times at most; of 1000 examples as they are drawn 4."""

EXPOSING = 2.0
"""Times the accepted deviation by which a known error must exceed it for a vector to expose it: an implementation's own
rounding may use one tolerance, and hide as much of the error."""

MAX_UNJUDGED = 0.25
"""Share of examples that may be neither pass nor fail before a gate says that too little was judged. Of the default
examples 2 to 4 % are inconclusive, of x100 alone about a tenth."""

ACCURACY_FACTOR = 2.5
"""Growth of the root mean square of the tolerance used that counts as a loss of accuracy. It is taken over the examples
of a tensor (some 50) and of a regime (some 8, each by the worst of many entries). Between sets of 60 other examples it
moved by up to 1.7 (`benchmarks/gate_power.py accuracy`); equal examples move it less, by what another BLAS rounds."""

ACCURACY_FLOOR = 0.02
"""Use of the tolerance, in root mean square, below which none is more accurate than another: 0.12 sd of the rounding
error that a correct program has. It keeps a target that follows the reference bit by bit (use 0) comparable."""

SPEED_MARGIN = 1.15
"""Slowdown that is a regression where the confidence bound exceeds it: half way to SPEED_LIMIT. Neighbours on the same
processor share its caches, and how busy they are shifts the ratio of two programs' times however long one measures:
lstm_fast over lstm_ref rose by 4 to 14 % from a two-core machine that was idle to one with nine processes at work."""

SPEED_LIMIT = 1.3
"""Slowdown that must not pass: the confidence bound must exclude it, or more rounds are taken."""

SPEED_ALPHA = 0.01
"""Chance that either confidence bound of a slowdown is wrong, over all looks and cases together (Bonferroni)."""

SPEED_LOOKS = (6, 10, 15, 20, 30)
"""Numbers of rounds after which the bounds are looked at. Six against a baseline of twelve: the exact distribution
then resolves 1 in 18564, enough for SPEED_ALPHA shared among all looks of up to ten cases and two bounds."""

SPEED_SECONDS = 50.0
"""How long a measurement may be expected to take on the clock for more rounds to be begun. When six rounds take longer
than that there is nothing to be told on this machine."""

SPEED_BASELINE_ROUNDS = 12
"""Rounds of a baseline."""

SPEED_ELSEWHERE = 1.5
"""Factor on margin and limit where the baseline was measured on another machine, or with another NumPy or Python: the
ratio of two programs is not the same on two processors, and only a coarse slowdown can be told from that."""

# ---- What is read

MOST_BYTES = 2**28
"""Bytes of a file that is read whole: a journal of 10^8 examples has a tenth of it, the shipped vectors a hundredth."""

MOST_TOML = 2**20
"""Bytes of a configuration. The largest pyproject.toml in use have some 10^5; tomllib takes time that grows with the
square of a line's length, seconds for one of 10^6."""

DEEPEST = 64
"""Brackets in brackets of JSON, tables in tables of TOML: nothing here is written more than 8 deep, and Python's own
parser, compiler and `repr` hold out until some hundreds or thousands, which differ with its version."""

LONGEST_NUMBER = 1100
"""Characters of a number in JSON. The longest finite float64 written out whole has 309 before the point; the smallest
has 1074 behind it. Python reads whole numbers up to 4300 digits, a limit that anybody in the process may set."""

# ---- How long a target may take

CALL_SECONDS = 60.0
"""Seconds that a forward pass or a pullback may take in the process that a command judges it in, where nobody says:
the default examples take a plain Python loop some 10 ms, XLA some 3 s to compile; a machine ten times as busy is to
make none of them late."""

PRODUCTS_A_SECOND = 1e6
"""For each so many products of a forward pass (4 m s u (e + u)) a call has a second more, where nobody says: plain
Python makes ten times as many. A layer of a thousand units over twenty steps of eight samples has twenty minutes."""

LOAD_SECONDS = 120.0
"""Seconds that a target may take to be imported, and as many to be tried out: a framework takes 10 s, cold."""

LEAST_LOAD_SECONDS = 10.0
"""Seconds that loading may take however little a call may: importing NumPy alone takes 0.1 s, ten times that where the
machine is busy, and a limit of one call's milliseconds is not meant for that."""

WHOLE_SECONDS = 3600.0
"""Seconds that a command may take altogether, where nobody says: so that nothing hangs for ever. The default run takes
a layer 5 s, and what XLA compiles a minute."""

EXAMPLE_SECONDS = 10.0
"""As many for each example, where that is more."""

# ---- What a run says

RUNS = 10
"""How often a failing case is run again. What fails by chance in half of its runs fails in all ten once in a thousand,
in nine of ten runs once in three: then the chance is not seen, but the values differ from call to call or do not."""

RUNS_OF_NO_RULE = 50
"""The same where examples fail by no rule: what fails in nine of ten runs fails in all of 50 once in 200."""

RULE_ASKED = 130
"""How many cases are asked at most to find and to try a rule: little more than a run has
examples, and smaller ones."""

RULE_AROUND = ByFormat({"float64": 43, "float32": 43}).low(14, 14, 14)
"""How many of these may be like the failing one, where the run has told too few of one kind. In low precision what is
due takes three times as long."""

RULE_STEPS = 16
"""How many steps more of a case count as another one: what is due is computed step by step."""

RULE_LARGEST = 2**15
"""Entries of all gradients times steps of a case that is drawn for a rule, at most: a case of the default sizes with 60
steps and few units."""

RULE_LEAST = 12
"""How many verdicts of either kind are wanted before a rule is looked for: four thousand candidates, none likelier than
the others, are told apart by twelve verdicts (2**12)."""

RULE_SPLIT = 0.02
"""Share of the candidates, by weight, that must differ from the rest on a case for it to be worth asking."""

RULE_TRIED = 20
"""How many fresh cases on either side a rule must hold on, half of them with one feature at an extreme. One that is
wrong of a fifth of a side passes them once in 90 runs."""

RULE_DECIDED = 5
"""In how many cases each of two features of a rule must have decided, the other being as it should. That an example
passes where no other does may be by its size alone, or its values; five such are no chance."""

RULE_EXCEPTIONS = 0.1
"""Share of the cases of which a rule holds that may pass: an error may be within the tolerance by its values. Where the
rule does not hold, none may fail."""

RULE_VALUES = 4
"""For how many other draws of values a case is asked about: one that passes by its values fails with one of them."""

RULE_MODULUS = 64
"""Largest divisor of a size that a rule may name: four times the lanes of a vector register, 16 float32 numbers."""

RULE_POOL = 240
"""How many cases are drawn for the candidates to differ on; of them only those that tell most are asked."""

RULE_CANDIDATES = 4000
"""How many candidates are kept, the simplest first: those beyond are pairs of the least likely features."""

RULE_ROUNDS = 5
"""How often candidates are made anew from all verdicts: when none is left, or the best did not hold."""

GROUPS_EXPLAINED = 3
"""How many groups of failures are explained: each is a page to read; what more there is, is said."""

EXPLAINS_ENOUGH = 0.9
"""Of the failing examples tried, how many a suspect must explain for nothing else to be said."""

LEFT_OVER = 20
"""One failing example in how many a named fault may leave over before a second group is told of which nothing but
places is known. In the naming campaign it left one of 32 and of 93, both of the same fault, where errors vanish or
overflow; what was said of them apart, that no catalogued fault fits, was false. They are counted as not explained."""

SUSPECT_TRIED = 100
"""On how many failing examples a suspect is tried, at most: as many as a run has by default."""

CHANCE_TRIED = 3
"""How many failing examples are run again before one is explained, each `RUNS` times."""

STRATUM_SHARES = {"edge": 2, "other": 7}
"""Shares of the strata in the examples: each past an edge has one at least of a hundred, each of the others three."""

OTHERS_FOR_CUT_OFF = 3
"""How many times as many examples all other strata have as that of a memory which is cut off: what a limit does is half
of such a cell's backward pass, and so of eight examples two reach it."""

# ---- What a diagnosis takes for the same, and for nearly the same

NEARBY = 1e-3
"""Relative change of all inputs by which a formula's error is told from rounding's: rounding is drawn anew by it, to
float16 included (2^-11), and what a formula gets wrong changes as little as the inputs do."""

ERRATIC = 0.3
"""From which relative change an error is erratic when its inputs change by `NEARBY`: rounding's changes by about 1.4,
the root of two independent errors, a formula's by some thousandths."""

OTHER_VALUES = 5
"""For how many draws of values, the case's own included, sizes are asked about."""

PLACE_VALUES = 4
"""For how many draws of values a size is asked about where a place is looked for."""

HELD = 40.0
"""A bias that holds a gate open or shut: from 37 on the logistic function is 1 to float64's last bit, as tanh is."""

TOLD_APART = 1e-9
"""Share of a tensor's largest value by which faults must differ on a case to be told apart there; `FINGERPRINT` is far
below it."""

NEAR_SHARE = 0.01
"""Of the error that is due to be explained, what a fault may leave to be looked at further. It is a sieve, which lets
far more through than what is said to fit may leave: `CLEARLY` and `FINGERPRINT` decide."""

NEAR_LIMITS = 100.0
"""As many accepted deviations may be left, too, where those are large beside the error."""

SOLVED = 1e-14
"""What solving for a gate's cotangents adds in rounding, as a share of the largest value: some tens of float64's unit
roundoff, since the cases are such that no digit to speak of is lost in it."""

KEPT = ByFormat({"float64": 1e-6, "float32": 1e-3}).low(0.1, 0.02, 0.02)
"""Share of the largest value of a step within which what a layer keeps is what it should be. It is to find where a
bug begins, not to judge: far above rounding in either dtype, far below what a bug does to what it touches."""

READING = ByFormat({"float64": 1e-10, "float32": 1e-4}).low(0.1, 0.02, 0.02)
"""Share of the largest value within which a reading's h and Cn are the target's: far above rounding on the small cases
asked, far below what any other reading gives."""

ROUND_NUMBER = 1e-6
"""Relative distance of an estimated factor from a round number within which that number is tried; what is said rests
on the trial, entry by entry, and not on this."""

CUT = 1e-6
"""Relative distance from the largest entry within which entries are cut off at it: those that are, are equal."""

LIMIT_EDGE = 2.0**-10
"""Share of a value's largest size, or of the 1 at which a gate saturates, from 0 and from 1 within which entries tell
nothing of a limit: where a value vanishes an error made of it does, too, and the limit would be the tolerance's."""

FLOAT32_LEAST = 0.005
"""Share of float32's accepted deviation that the largest error must reach to be of its size: of 6 standard deviations
a single rounding is about a sixth, where many operations add to the estimate a fraction of that."""

ROUND_NORM = 1e-9
"""Relative distance of a norm from two significant digits within which it is those: no chance, at one in 10^7."""

NEWTON_STEPS = 12
"""How many Newton steps are taken to solve for a factor; from 1 to the factor it takes a few, or there is none."""

NEWTON_DIFFERENCE = 1e-6
"""The step of the difference that stands for the derivative there; an inexact one costs steps, and no digits."""

NEWTON_STILL = 1e-13
"""Relative step at which no further one is taken: some hundred roundings."""

NEWTON_DONE = 1e-9
"""Relative step above which the last one has not arrived anywhere."""

SAME_FACTOR = 1e-7
"""Relative difference below which two factors are one; each comes from outputs with rounding errors of their own."""

ENTRIES_A_WEIGHT = 2
"""How many entries there must be to a weight, for a fit to be no chance."""

ROUND_WEIGHT = ByFormat({"float64": 1e-6, "float32": 1e-3}).low(0.1, 0.02, 0.02)
"""How near to a quarter's multiple a weight is that multiple: weights are solved for from some tens of entries with
rounding errors, which lose a few digits of sixteen, or of seven, on the way."""

PARTS_RANK = 1e-10
"""Share of the largest singular value below which parts are taken for dependent: then many weights would do."""

LINE_RUNS = 2500
"""How often a user's program is run, on a small case, to find the line that is wrong: some 1 ms a run in NumPy."""

GATES_EXCHANGED = 3
"""At how many lines values of other gates stand where it is their order that is wrong: two lines may be two slips."""

OUTPUTS_MENDED = 4
"""With how many edits that mend the forward pass the backward pass is looked into: all of them give the same values."""

UNCHANGED = 64
"""By how many roundoffs of its largest value a tensor may move where nothing that it is made of has changed. The same
program compiled and step by step differs by a few; what is changed, by a thousandth, moves what it has to do with by
far more."""

FORWARD_SHARE = 0.4
"""What the forward pass alone takes of a run."""

HELPERS_RIGHT = 3
"""How often lines are looked for anew where those that were found are a helper's that is right in other uses of it."""

FURTHER_LINE_RUNS = 1000
"""How many there are at least for each further line that is wrong, and to find which word of the lines found it is."""

RUN_SECONDS = 2.0
"""Seconds of the processor that one such run may take, a thousand times what NumPy takes: an edit may make a loop
endless."""

FIRST_RUN_SECONDS = 10.0
"""Seconds of the processor that the first run of a case may take: JAX compiles each operation for its shapes, for some
3 s in all."""

UNLIKELY_COST = 1.5
"""What an edit may cost that does not give its line the value that is due there, for it to be tried nevertheless."""

RUNS_UNCOMPILED = 3
"""How often a case is run without compilation, where a library compiles, before it is compiled to be run more often."""

LEAST_LINE_RUNS = 1000
"""How often a program is run to find the line, however long a run takes: what has a name is looked for first."""

LINES_TOGETHER = 6
"""How many lines may be wrong together; hand-written layers were met with up to five faults."""

FEEDERS_DEEP = 3
"""How many times what feeds a place is looked at instead of it, one assignment further up each time."""

LINE_SECONDS = 2.5
"""Seconds of the processor that these runs may take: what takes longer a run, such as PyTorch, is run less often."""

SOURCE_SECONDS = 20.0
"""Seconds after which the process that looks into a target's source is killed, importing it included: that takes some
3 s of a framework, and a busy machine several times as long."""

FIXES_SHOWN = 8
"""How many fixes are looked for where all are asked for, and how many edits of each of several lines are kept."""

PAIRED_COST = 2.0
"""Up to which cost, about the number of words that change, edits are tried two at a time."""

PAIRS = 40000
"""How many pairs of edits of one line are tried where its value is computed, some 20 us each in NumPy."""

FIX_SECONDS = 60.0
"""Seconds that `fix` looks at most, where nobody says."""

FIX_IN_VERIFY = 5.0
"""Seconds that `verify` looks for a fix: what takes longer is for `fix`."""

SAME_QUANTITY = ByFormat({"float64": 3e-14, "float32": 3e-5}).low(0.1, 0.02, 0.02)
"""Share of the largest entry of a step within which a program's value is the reference's: some hundred roundings, as
sums in another order need; it says which value to look at, and what is said rests on the trial."""

DRAWN_LINE = 1e-12
"""How far from a fitted line an entry may be besides what is accepted of it, relative to it.

The line's two numbers are sums over at most 600 entries, off by 600 float64 roundoffs at most, 7e-14; over ten times
that."""

BINDING_SECONDS = 10.0
"""Seconds of the processor for which readings of a layer that nobody wrote for us are tried: the layers of
`tests/binding/layers` take one or two on a quiet core."""

BINDING_WAIT = 5.0
"""Seconds that it may take on the wall besides four times these: all of it must end within `LOAD_SECONDS`."""

BINDING = {"float64": 1e-7, "float32": 1e-3}
"""Share of its largest entry within which an array is taken for a gradient that is due, to tell which it is: gradients
of random numbers differ from one another by about all of it. Whether it is right is judged later, by its noise."""

BINDING_NEAR = 0.35
"""Share of h by which the nearest reading may miss it on average for the layer to be judged as that, and to fail:
another order of the gates misses it by about all of it, a gate with another activation by a tenth to a third."""

FAULTS_TOGETHER = 5
"""How many faults are looked for in one target: as many were met in a layer that somebody wrote by hand."""

SETS_REFUTED = 3
"""How often sets of faults are looked for: each time with one more case, on which all that were found are refuted."""

FAULTS_FOLLOWED = 2
"""How many ways to go on are followed at each step, when faults are added one by one: those that explain most."""

FAULTS_ALIKE = 12
"""How many sets of faults that cannot be told apart on the cases at hand are returned."""

OF_THE_LAST_BIT = 2.0**-5
"""How much of an operand's last bit shows at least in the largest error of what the product makes, relative to the
largest value: sums of some operands, gates and a tanh lie between. What sums in float32 lose is less than a hundredth
of it for operands of 12 bits and fewer."""
