"""The catalogue of low precision: what is wrong there alone, each with the contracts under which it is not.

Some are excused by every contract that has a name: what people suspect, and what no test of a kernel may fail for.
"""

from collections.abc import Iterator
from functools import partial

from lstm_checks.faults import short_roundings
from lstm_checks.faults.model import Patch, in_activations, in_backward, in_forward, in_gradients
from lstm_checks.faults.short import ShortFault

_SUMS, _GATES, _STATES = ("all",), ("all", "accumulate32"), ("all", "accumulate32", "gates32")
_EVERY = (*_STATES, "state32")
"""The contracts that have sums of products short, gates, what is handed on, and operands."""

_RETURN = "    return g\n"
_DU, _DV = "np.sum(X.mT @ dk_, axis=-3)", "np.sum(hp.mT @ dk_, axis=-3)"
_DB = "np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :]"
_DK = 'dk_ = _steps_first(bc[f"d{gate}_"])'
_PASS_ON = "        dhn, dCn = dh, dC\n"
_ARRIVES = "dA_s = dA[..., s, :]"
_SIGMOID, _TANH = "0.5 * (1 + np.tanh(0.5 * x))", "return np.tanh(x)"
_FETCH = 'Cp_, f, i, g, o, C = (fc[name][..., s, :] for name in ("Cp_", "f", "i", "g", "o", "C"))'
_LOOP = "    trace = []\n    h, C_ = h0, C0\n"
_LAST = 'return bc | {"dA": dA, "dh0": dhn, "dC0": dCn}'


def _lines(gates: str = "figo") -> Iterator[tuple[str, str, str]]:
    """Yield the two products of each gate's linear activation as they stand, and their operands."""
    for gate in gates:
        yield f'X_s @ p["U{gate}"]', f'hp @ p["V{gate}"]', gate


def _linear(gates: str, of_x: str, of_h: str) -> tuple[Patch, ...]:
    """Return the patches that have the products of some gates' linear activations otherwise."""
    found = [in_forward(x, of_x.format(x=x, gate=gate)) for x, _, gate in _lines(gates) if of_x]
    return (*found, *(in_forward(h, of_h.format(h=h, gate=gate)) for _, h, gate in _lines(gates) if of_h))


def _parameters(read: str) -> tuple[Patch, ...]:
    """Return the patches that have the parameters read otherwise in the forward pass."""
    return tuple(
        in_forward(f'p["{kind}{gate}"]', read.format(f'p["{kind}{gate}"]')) for gate in "figo" for kind in "UVb"
    )


_back = {
    name: f'{name} = df_ @ p["{k}f"].mT + di_ @ p["{k}i"].mT + dg_ @ p["{k}g"].mT + do_ @ p["{k}o"].mT'
    for name, k in (("dX", "U"), ("dh", "V"))
}
_back_short = {
    name: f"{name} = " + " + ".join(f'short_product(d{gate}_, p["{k}{gate}"].mT)' for gate in "figo")
    for name, k in (("dX", "U"), ("dh", "V"))
}
_back_parts = {
    name: f"{name} = " + " + ".join(f'short(d{gate}_ @ p["{k}{gate}"].mT)' for gate in "figo")
    for name, k in (("dX", "U"), ("dh", "V"))
}


def _all_gradients(change: str) -> tuple[Patch, ...]:
    """Return the patches that change every gradient on its way out."""
    of_parameters = f"    g = {{name: {change.format('value')} for name, value in g.items()}}\n{_RETURN}"
    others = ", ".join(
        f'"{name}": {change.format(value)}' for name, value in (("dX", 'bc["dX"]'), ("dh0", "dhn"), ("dC0", "dCn"))
    )
    return (in_gradients(_RETURN, of_parameters), in_backward(_LAST, f'return bc | {{"dA": dA, {others}}}'))


def _sums() -> Iterator[ShortFault]:
    """Yield sums in the short format."""
    fault = partial(ShortFault, excused=_SUMS)
    yield fault(
        "sums-short",
        "Products are summed in the short format.",
        "(1): a matrix product whose accumulator is of its operands' format.",
        parts=("sums",),
    )
    yield fault(
        "all-sums-short",
        "All sums are in the short format, those over samples and steps too.",
        "(1): every accumulator is of the arrays' format.",
        parts=("sums", "dsums"),
    )
    yield fault(
        "forward-sums-short",
        "The linear activations' products are summed in the short format.",
        "(1): the forward kernel has a short accumulator.",
        patches=_linear("figo", 'short_product(X_s, p["U{gate}"])', 'short_product(hp, p["V{gate}"])'),
    )
    yield fault(
        "recurrent-sums-short",
        "hp V is summed in the short format.",
        "(1): the loop's own product is hand-written, the one of X a library's.",
        patches=_linear("figo", "", 'short_product(hp, p["V{gate}"])'),
    )
    yield fault(
        "input-sums-short",
        "X U is summed in the short format.",
        "(1): the product over all steps at once is of another library than the loop's.",
        patches=_linear("figo", 'short_product(X_s, p["U{gate}"])', ""),
    )
    yield fault(
        "input-gradient-sums-short",
        "dX is summed in the short format.",
        "(1): a short accumulator.",
        patches=(in_backward(_back["dX"], _back_short["dX"]),),
    )
    yield fault(
        "carry-sums-short",
        "dh, passed on, is summed in the short format.",
        "(1): a short accumulator.",
        patches=(in_backward(_back["dh"], _back_short["dh"]),),
    )
    yield fault(
        "parameter-sums-short",
        "dU, dV and db are accumulated in the short format.",
        "(1): gradients are added up in buffers of the parameters' format.",
        parts=("dsums",),
    )
    for name, old, new in (
        ("dU", _DU, "short_sum(X.mT @ dk_, -3)"),
        ("dV", _DV, "short_sum(hp.mT @ dk_, -3)"),
        ("db", _DB, "short_sum(short_sum(dk_, -2), -2)[..., np.newaxis, :]"),
    ):
        yield fault(
            f"{name.lower()}-accumulated-short",
            f"{name} is accumulated in the short format.",
            "(1): what each step adds is added to a buffer of the parameters' format.",
            patches=(in_gradients(old, new),),
        )
    yield fault(
        "samples-summed-short",
        "dU and dV are summed in the short format over samples, not over steps.",
        "(1): a product over the batch with a short accumulator.",
        patches=(
            in_gradients(_DU, "np.sum(short_product(X.mT, dk_), axis=-3)"),
            in_gradients(_DV, "np.sum(short_product(hp.mT, dk_), axis=-3)"),
        ),
    )


def _gates() -> Iterator[ShortFault]:
    """Yield gates in the short format, and functions that are approximations."""
    fault = partial(ShortFault, excused=_GATES)
    yield fault(
        "gates-short",
        "Gates and states are computed in the short format.",
        "(2) to (8): elementwise operations of the arrays' format.",
        parts=("gates", "kept"),
    )
    yield fault(
        "gates-kept-short",
        "Gates are kept in the short format for the backward pass.",
        "(2) to (5): a cache of the arrays' format.",
        parts=("kept",),
    )
    yield fault(
        "linear-activations-short",
        "The linear activations are stored in the short format.",
        "(1): the product's result is of its operands' format, whatever it was summed in.",
        patches=tuple(
            in_forward(f"= {f}({k}_)  #", f"= {f}(short({k}_))  #")
            for f, k in (("sigmoid", "f"), ("sigmoid", "i"), ("tanh", "g"), ("sigmoid", "o"))
        ),
    )
    yield fault(
        "gate-derivatives-short",
        "1 - k is taken of gates rounded to the short format.",
        "(2), (3), (5): near 1 nothing is left of it.",
        patches=(in_activations("return y * (1 - y)", "return y * (1 - short(y))"),),
    )
    yield fault(
        "tanh-derivative-short",
        "1 - k^2 is taken of tanh rounded to the short format.",
        "(4), (7): near 1 nothing is left of it.",
        patches=(in_activations("return 1 - y * y", "return 1 - short(y) * short(y)"),),
    )
    yield fault(
        "exp-in-short",
        "The logistic function is made of an exponential in the short format.",
        "(2), (3), (5): `hexp` for `expf`.",
        patches=(in_activations(_SIGMOID, "1 / (1 + exp_in_short(-x))"),),
    )
    yield fault(
        "logistic-function-short",
        "The logistic function's value is rounded to the short format.",
        "(2), (3), (5): a function of the arrays' format between operations that are not.",
        patches=(in_activations(_SIGMOID, "short(0.5 * (1 + np.tanh(0.5 * x)))"),),
    )
    yield fault(
        "tanh-short",
        "tanh's value is rounded to the short format.",
        "(4), (7): `htanh` for `tanhf`.",
        patches=(in_activations(_TANH, "return short(np.tanh(x))"),),
    )
    # What is an approximation is so in every format; in one of eight bits some are as good as its last bit.
    fault = partial(ShortFault, excused=())
    yield fault(
        "logistic-function-by-table",
        "The logistic function is looked up in 64 entries on [-8, 8].",
        "(2), (3), (5): off by up to 0.03, and no contract is about tables.",
        patches=(in_activations(_SIGMOID, "by_table(x, 64)"),),
    )
    yield fault(
        "logistic-function-by-larger-table",
        "The logistic function is looked up in 1024 entries on [-8, 8].",
        "(2), (3), (5): off by up to 0.002, half a unit of bfloat16's last bit, four of float16's.",
        formats=("float16",),
        patches=(in_activations(_SIGMOID, "by_table(x, 1024)"),),
    )
    yield fault(
        "tanh-by-ratio",
        "tanh is x (27 + x^2) / (27 + 9 x^2), and 1 beyond three.",
        "(4), (7): off by up to 0.024.",
        patches=(in_activations(_TANH, "return by_ratio(x)"),),
    )
    yield fault(
        "exp-by-lines",
        "The exponential is a straight line between powers of two.",
        "(2), (3), (5): off by up to 6 %, by a shift into the exponent's bits.",
        patches=(in_activations(_SIGMOID, "1 / (1 + by_lines(-x))"),),
    )
    yield fault(
        "tanh-overflows-in-half",
        "tanh is made of exponentials in float16, which overflow.",
        "(4), (7): inf / inf from 11.1 on; all is right where weights are small.",
        patches=(in_activations(_TANH, "return tanh_by_exp_in_half(x)"),),
    )
    yield fault(
        "linear-activations-in-float8",
        "The linear activations are kept in four bits.",
        "(1): float8 for what is between two kernels.",
        patches=tuple(
            in_forward(f"= {f}({k}_)  #", f"= {f}(few_bits({k}_))  #")
            for f, k in (("sigmoid", "f"), ("sigmoid", "i"), ("tanh", "g"), ("sigmoid", "o"))
        ),
    )


def _states() -> Iterator[ShortFault]:
    """Yield what is handed from step to step in the short format, or in fewer bits."""
    fault = partial(ShortFault, excused=_STATES)
    yield fault(
        "memory-short",
        "C is stored in the short format between steps.",
        "(6): over many steps what is added is lost.",
        parts=("C",),
    )
    yield fault(
        "cotangents-short",
        "The cotangents of h and C are handed on in the short format.",
        "(1), (6): over many steps it is compound.",
        parts=("cotangents",),
    )
    yield fault(
        "memory-cotangent-short",
        "The cotangent of C is handed on in the short format.",
        "(6): a buffer of the arrays' format.",
        patches=(in_backward(_PASS_ON, "        dhn, dCn = dh, short(dC)\n"),),
    )
    yield fault(
        "hidden-cotangent-short",
        "The cotangent of h is handed on in the short format.",
        "(1): a buffer of the arrays' format.",
        patches=(in_backward(_PASS_ON, "        dhn, dCn = short(dh), dC\n"),),
    )
    fault = partial(ShortFault, excused=())
    yield fault(
        "memory-in-bfloat16",
        "C is stored in bfloat16 in a kernel of float16.",
        "(6): eight bits where eleven are due.",
        formats=("float16",),
        patches=(in_forward("C_ = f * Cp_ + i * g  #", "C_ = in_bfloat16(f * Cp_ + i * g)  #"),),
    )
    yield fault(
        "hidden-state-in-bfloat16",
        "h is stored in bfloat16 in a kernel of float16.",
        "(8): eight bits where eleven are due.",
        formats=("float16",),
        patches=(in_forward("h = o * C  #", "h = in_bfloat16(o * C)  #"),),
    )
    yield fault(
        "operands-in-bfloat16",
        "X U and hp V take operands in bfloat16 in a kernel of float16.",
        "(1): a tensor core's other mode.",
        formats=("float16",),
        patches=(
            *(
                in_forward(
                    f"{x} + {h}",
                    f'in_bfloat16(X_s) @ in_bfloat16(p["U{gate}"]) + in_bfloat16(hp) @ in_bfloat16(p["V{gate}"])',
                )
                for x, h, gate in _lines()
            ),
        ),
    )
    yield fault(
        "hidden-state-in-float8",
        "h is stored in four bits between steps.",
        "(8): float8's e4m3.",
        patches=(in_forward("h = o * C  #", "h = few_bits(o * C)  #"),),
    )
    yield fault(
        "memory-in-float8",
        "C is stored in four bits between steps.",
        "(6): float8's e4m3.",
        patches=(in_forward("C_ = f * Cp_ + i * g  #", "C_ = few_bits(f * Cp_ + i * g)  #"),),
    )
    yield fault(
        "weights-in-float8",
        "Weights are cast to four bits at each step.",
        "(1): float8's e4m3.",
        patches=_parameters("few_bits({})"),
    )
    yield fault(
        "inputs-in-float8",
        "X is cast to four bits.",
        "(1): float8's e4m3.",
        patches=_linear("figo", 'few_bits(X_s) @ p["U{gate}"]', ""),
    )
    yield fault(
        "hidden-cache-in-float8",
        "hp is kept in four bits for dV.",
        "(1): a cache for the backward pass, cut to save memory.",
        patches=(in_gradients('hp = _steps_first(fc["hp"])', 'hp = few_bits(_steps_first(fc["hp"]))'),),
    )
    yield fault(
        "gates-cache-in-float8",
        "Gates are kept in four bits for the backward pass.",
        "(2) to (5): a cache for the backward pass, cut to save memory.",
        patches=(in_backward(_FETCH, f"{_FETCH}\n        f, i, g, o = (few_bits(k) for k in (f, i, g, o))"),),
    )
    yield fault(
        "gate-cotangents-in-float8",
        "dU, dV and db are made of cotangents in four bits.",
        "(1): float8 for the operands of the gradients' products.",
        patches=(in_gradients(_DK, 'dk_ = few_bits(_steps_first(bc[f"d{gate}_"]))'),),
    )
    yield fault(
        "arriving-cotangents-in-float8",
        "The cotangents of h are rounded to four bits as they arrive.",
        "(9): gradients are sent between devices in float8.",
        patches=(in_backward(_ARRIVES, "dA_s = few_bits(dA[..., s, :])"),),
    )
    yield fault(
        "carry-in-float8",
        "dC is handed on in four bits.",
        "(6): float8's e4m3.",
        patches=(in_backward(_PASS_ON, "        dhn, dCn = dh, few_bits(dC)\n"),),
    )


def _roundings() -> Iterator[ShortFault]:
    """Yield other ways of rounding than to the nearest."""
    fault = partial(ShortFault, excused=())
    yield fault(
        "cut-everywhere",
        "All that is short is rounded towards zero.",
        "(1) to (9): the lower bits are dropped, as where bfloat16 is the upper half of a float32.",
        rounding=short_roundings.cut_to,
    )
    yield fault(
        "memory-cut",
        "C is stored rounded towards zero.",
        "(6): a shift instead of a rounding.",
        patches=(in_forward("C_ = f * Cp_ + i * g  #", "C_ = cut(f * Cp_ + i * g)  #"),),
    )
    yield fault(
        "hidden-state-cut",
        "h is stored rounded towards zero.",
        "(8): a shift instead of a rounding.",
        patches=(in_forward("h = o * C  #", "h = cut(o * C)  #"),),
    )
    yield fault(
        "cotangents-cut",
        "The cotangents of h and C are handed on rounded towards zero.",
        "(1), (6): a shift instead of a rounding.",
        patches=(
            in_backward("dC = dC_ * f  #", "dC = cut(dC_ * f)  #"),
            in_backward(_back["dh"], _back["dh"].replace("= ", "= cut(") + ")"),
        ),
    )
    yield fault(
        "gradients-cut",
        "All gradients are returned rounded towards zero.",
        "(1): a shift instead of a rounding.",
        patches=_all_gradients("cut({})"),
    )
    yield fault(
        "stochastic-rounding-biased",
        "All that is short is rounded at random, away from zero too often.",
        "(1) to (9): the random bits are not uniform.",
        rounding=short_roundings.stochastic_up_to,
    )
    yield fault(
        "memory-stored-at-random-biased",
        "C is stored rounded at random, away from zero too often.",
        "(6): the random bits are not uniform.",
        patches=(in_forward("C_ = f * Cp_ + i * g  #", "C_ = stochastic_up(f * Cp_ + i * g)  #"),),
    )
    flushing = ("all,subnormals=flushed", *(f"{name},subnormals=flushed" for name in _EVERY[1:]))
    half = partial(ShortFault, formats=("float16",))
    yield half(
        "subnormals-flushed",
        "What is below float16's least normal number is returned as zero.",
        "(1): a mode of the processor, or a conversion by shifts.",
        flushing,
        patches=_all_gradients("flushed({})"),
    )
    yield half(
        "cotangents-flushed",
        "Cotangents handed on are zero where they are subnormal.",
        "(1), (6): a mode of the processor, or a conversion by shifts.",
        flushing,
        patches=(in_backward(_PASS_ON, "        dhn, dCn = flushed(dh), flushed(dC)\n"),),
    )
    every = partial(ShortFault, excused=_EVERY)
    yield ShortFault(
        "stochastic-rounding",
        "All that is short is rounded at random, right on average.",
        "(1) to (9): twice the variance of rounding to the nearest, which shows where little else is rounded.",
        excused=_STATES,
        rounding=short_roundings.stochastic_to,
    )
    yield every(
        "halves-away-from-zero",
        "What lies half way is rounded away from zero.",
        "(1) to (9): `floor(x + 0.5)`.",
        rounding=short_roundings.halves_up_to,
    )
    yield every(
        "rounded-twice",
        "All that is short is rounded to a longer format first.",
        "(1) to (9): off by an eighth of a unit more than the half.",
        rounding=short_roundings.rounded_twice_to,
    )
    yield every(
        "hidden-state-short",
        "h is stored in the short format between steps.",
        "(8): as every contract with a name has it.",
        parts=("h",),
    )
    yield every(
        "gate-cotangents-short",
        "dU and dV are made of cotangents in the short format.",
        "(1): products take operands in the short format.",
        patches=(
            in_gradients(_DU, "np.sum(X.mT @ short(dk_), axis=-3)"),
            in_gradients(_DV, "np.sum(hp.mT @ short(dk_), axis=-3)"),
        ),
    )
    yield every(
        "products-rounded-by-gate",
        "The four gates' shares of dX are rounded before they are added.",
        "(1): four products in place of one of four times the width; no more than operands lose.",
        patches=(in_backward(_back["dX"], _back_parts["dX"]),),
    )


def _scales() -> Iterator[ShortFault]:
    """Yield what goes wrong with scales of the loss, and what overflows for them."""
    fault = partial(ShortFault, excused=())
    yield fault(
        "loss-scale-not-undone",
        "All gradients are 1024 times what they should be.",
        "(1): the loss was scaled so that no gradient vanishes.",
        patches=_all_gradients("1024.0 * {}"),
    )
    yield fault(
        "loss-scale-undone-twice",
        "All gradients are a 1024th of what they should be.",
        "(1): the optimizer undoes the scale, and the layer too.",
        patches=_all_gradients("{} / 1024.0"),
    )
    yield fault(
        "loss-scale-undone-of-parameters",
        "dX, dh0 and dC0 are 1024 times what they should be.",
        "(1): the scale is undone where the optimizer looks.",
        patches=(
            in_backward(
                _LAST, 'return bc | {"dA": dA, "dX": 1024.0 * bc["dX"], "dh0": 1024.0 * dhn, "dC0": 1024.0 * dCn}'
            ),
        ),
    )
    yield fault(
        "loss-scale-overflows",
        "Cotangents are scaled by 2^16 in float16, which ends at 65504.",
        "(9): a scale for gradients of 1e-3 used on those of 1.",
        patches=(in_backward(_ARRIVES, "dA_s = in_half(dA[..., s, :] * 65536.0) / 65536.0"),),
    )
    yield fault(
        "loss-scale-of-the-wrong-sign",
        "Cotangents are stored as 2^-16 of themselves in float16.",
        "(9): the scale divides where it should multiply, and most bits are below 2^-24.",
        patches=(in_backward(_ARRIVES, "dA_s = in_half(dA[..., s, :] / 65536.0) * 65536.0"),),
    )
    yield fault(
        "memory-cotangent-through-float8",
        "The final memory's cotangent is cast to four bits.",
        "(6): float8's e4m3.",
        patches=(
            in_backward(
                "    trace = []\n    for s in reversed",
                "    dCn = few_bits(dCn)\n    trace = []\n    for s in reversed",
            ),
        ),
    )


FAULTS: dict[str, ShortFault] = {
    fault.id: fault for some in (_sums, _gates, _states, _roundings, _scales) for fault in some()
}
"""The faults of low precision by id."""
