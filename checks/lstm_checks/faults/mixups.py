"""Mix-ups: what is commonly confused, in every way in which it can be, made from lists and not written down.

The catalogue holds bugs one by one. Beside it there are the kinds of which each has many: the gates of the backward
pass alone in any of the other 23 orders, the operands of some products in any of the shorter formats, and states and
cotangents that stand in each other's place. The diagnosis tries them with the catalogue.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import permutations

from lstm_checks.contract import PLAIN
from lstm_checks.faults.model import Fault, Patch, fits, function_of, in_backward, in_forward, source
from lstm_ref.cell import Cell
from lstm_ref.network import Network

FAMILY = "mix-ups"

_START = "    trace = []\n    for s in reversed"
_FETCH = 'Cp_, f, i, g, o, C = (fc[name][..., s, :] for name in ("Cp_", "f", "i", "g", "o", "C"))'
_PASS_ON = "        dhn, dCn = dh, dC\n"
_LOOP = "    for s in reversed(range(dA.shape[-2])):\n"
_FORWARD = "    trace = []\n    h, C_ = h0, C0\n"
_VALUES = ("f", "i", "g", "o")
_KEPT = "o_, o, C_, C, h))"
_TRACE = "trace.append((hp, Cp_, f_"


@cache
def mixups(cell: Cell = PLAIN) -> dict[str, Fault]:
    """Return the mix-ups of a cell by id, the commonest first.

    Examples
    --------
    >>> mixups()["final-states-exchanged"].title
    'Cn and h of the last step are exchanged: (C, h) is returned for (h, C).'
    """
    return {fault.id: fault for fault in _of_all_cells(cell) if _is_of(cell, fault)}


def has_mixup(cell: Cell, id: str) -> bool:
    """Return whether a cell can have the mix-up of that id; whether it can have the others is not tried for that."""
    return any(fault.id == id and _is_of(cell, fault) for fault in _of_all_cells(cell))


def _of_all_cells(cell: Cell) -> Iterator[Fault]:
    """Yield the mix-ups for a cell's gates, whether or not it can have them."""
    own = cell.cell if isinstance(cell, Network) else cell
    yield from (*_of_states(), *_of_orders(own), *_of_formats(own))


def _is_of(cell: Cell, fault: Fault) -> bool:
    """Return whether a cell can have a mix-up."""
    own = cell.cell if isinstance(cell, Network) else cell
    return own is PLAIN or fits(fault, own)


def _mixup(id: str, title: str, explanation: str, *patches: Patch) -> Fault:
    """Return a mix-up as a fault."""
    return Fault(id, FAMILY, title, explanation, patches)


def _of_states() -> Iterator[Fault]:
    """Yield states and cotangents that stand in each other's place, and steps in the wrong direction."""
    yield _mixup(
        "final-states-exchanged",
        "Cn and h of the last step are exchanged: (C, h) is returned for (h, C).",
        "(6), (8): both are (m, u), so that no shape gives it away. The gradients fit what is returned.",
        in_forward(_KEPT, "o_, o, h, C, h))"),
        in_backward(_START, f"    dhn, dCn = dhn + dCn, 0 * dCn\n{_START}"),
    )
    yield _mixup(
        "states-exchanged",
        "The states are (C, h) for (h, C), given and returned.",
        "(6), (8): both are (m, u), so that no shape gives it away. The gradients fit what is computed.",
        in_forward(_FORWARD, "    trace = []\n    h, C_ = C0, h0\n"),
        in_forward(_KEPT, "o_, o, h, C, h))"),
        in_backward(_START, f"    dhn, dCn = dhn + dCn, 0 * dCn\n{_START}"),
        in_backward('{"dA": dA, "dh0": dhn, "dC0": dCn}', '{"dA": dA, "dh0": dCn, "dC0": dhn}'),
    )
    yield _mixup(
        "last-cotangents-exchanged",
        "The cotangents of the last step's h and of Cn are exchanged.",
        "(6), (9): both are (m, u) where one step is left; the pullback's arguments in another order.",
        in_backward(
            _START,
            "    last, dA = dA[..., -1, :] + dhn, np.concatenate([dA[..., :-1, :], dCn[..., np.newaxis, :]], axis=-2)\n"
            f"    dhn, dCn = 0 * dhn, last\n{_START}",
        ),
    )
    yield _mixup(
        "states-kept-after-the-step",
        "The backward pass takes the states after a step for those before it.",
        "(1), (6): hp and Cp_ are kept after h and C_ were overwritten.",
        in_forward(_TRACE, "trace.append((h, C_, f_"),
    )
    yield _mixup(
        "memories-kept-after-the-step",
        "The backward pass takes C_ for Cp_ and h for hp at all but the first step.",
        "(1), (6): what is kept is written over, and only the initial states are kept by themselves.",
        in_forward(_TRACE, "trace.append((h if s else hp, C_ if s else Cp_, f_"),
    )
    yield _mixup(
        "backward-loop-not-reversed",
        "The backward pass goes from the first step to the last.",
        "(1), (6): the loop over steps is copied from the forward pass.",
        in_backward(_LOOP, "    for s in range(dA.shape[-2]):\n"),
        in_backward("    trace.reverse()\n", ""),
    )
    yield _mixup(
        "memory-cotangent-before-the-step",
        "df, di and dg are made of the dC that arrives, without what h passes on at this step.",
        "(7), (8): dC_ is used before the step's own part is added to it.",
        in_backward("df = dC_ * Cp_", "df = dCn * Cp_"),
        in_backward("di = dC_ * g", "di = dCn * g"),
        in_backward("dg = dC_ * i", "dg = dCn * i"),
    )
    yield _mixup(
        "memory-cotangent-of-the-next-step",
        "df, di and dg are made of the next step's whole dC_.",
        "(6): a buffer that is filled after it was read.",
        in_backward(_START, f"    stale = 0 * dCn\n{_START}"),
        in_backward("df = dC_ * Cp_", "df = stale * Cp_"),
        in_backward("di = dC_ * g", "di = stale * g"),
        in_backward("dg = dC_ * i", "dg = stale * i"),
        in_backward(_PASS_ON, "        stale = dC_\n" + _PASS_ON),
    )


def _of_orders(cell: Cell) -> Iterator[Fault]:
    """Yield the gates of the backward pass alone in another order: their cotangents, their weights, their values."""
    gates, letters = cell.gates, "".join(cell.gates)
    inputs = f'        dX = d{gates[0]}_ @ p["U{gates[0]}"].mT'
    right = ", ".join(gates)
    for order in [order for order in permutations(gates) if order != gates]:
        name, words = "".join(order), ", ".join(order)
        due, taken = (", ".join(f"d{gate}_" for gate in some) for some in (gates, order))
        yield _mixup(
            f"backward-cotangents-in-order-{name}",
            f"The gates' cotangents are taken in the order {words} where {right} was due.",
            "(1): the backward pass packs them in an order of its own, for dX, dh and all sums alike.",
            in_backward(inputs, f"        {due} = {taken}\n{inputs}"),
        )
        rename = f'    p = {{k + read: p[k + gate] for gate, read in zip("{letters}", "{name}") for k in "UV"}}\n'
        yield _mixup(
            f"backward-weights-in-order-{name}",
            f"The backward pass takes the weights packed as {right} in the order {words}.",
            "(1): dX and dh go through other gates' weights than the forward pass.",
            in_backward(_START, rename + _START),
        )
        if not set(gates) <= set(_VALUES):
            continue  # its backward pass fetches what this text does not name
        values = [value for value in _VALUES if value in gates]
        there = dict(zip(values, order, strict=True))
        kept = ", ".join(f'"{there.get(value, value)}"' for value in _VALUES)
        yield _mixup(
            f"backward-gates-in-order-{name}",
            f"The backward pass takes the gates' values kept as {right} in the order {words}.",
            "(2) to (6): what the forward pass kept is unpacked in another order.",
            in_backward(_FETCH, f'Cp_, f, i, g, o, C = (fc[name][..., s, :] for name in ("Cp_", {kept}, "C"))'),
        )


_FORMATS = {
    "tf32": ("TF32 (11 bits)", "_significant(x, 11)"),
    "bfloat16": ("bfloat16 (8 bits)", "_significant(x, 8)"),
    "half": ("float16", "x.astype(np.float16).astype(x.dtype)"),
    "single": ("float32", "x.astype(np.float32).astype(x.dtype)"),
}
_HELPER = """\
def _significant(x, bits):
    whole, exponent = np.frexp(x)
    return np.ldexp(np.round(np.ldexp(whole, bits)), exponent - bits)


def _short(x):
    return {how}


def """


def _of_formats(cell: Cell) -> Iterator[Fault]:
    """Yield products whose operands are rounded to a shorter format, the sums in full."""
    for format, (words, how) in _FORMATS.items():
        helper = _HELPER.replace("{how}", how)
        forward = _products("forward", cell, helper, r"X_s @", "hp @", r'@ p\["[UV]\w"\]')
        backward = _products("backward", cell, helper, r"d\w_ @", r'@ p\["[UV]\w"\]\.mT')
        sums = _products("gradients", cell, helper, r"\bX\.mT @", r"hp\.mT @", "@ dk_")
        explanation = "(1): products in a shorter format than what they add up in, as tensor cores have them."
        yield _mixup(
            f"products-in-{format}",
            f"The operands of all products are rounded to {words}.",
            explanation,
            *(*forward, *backward, *sums),
        )
        yield _mixup(
            f"forward-products-in-{format}",
            f"The operands of the forward pass's products are rounded to {words}.",
            explanation,
            *forward,
        )
        yield _mixup(
            f"backward-products-in-{format}",
            f"The operands of the backward pass's products, those of dU and dV included, are rounded to {words}.",
            explanation,
            *(*backward, *sums),
        )
        yield _mixup(
            f"gradient-products-in-{format}",
            f"The operands of the products that make dU and dV are rounded to {words}.",
            explanation,
            *sums,
        )
        of_weights = _products("forward", cell, helper, r'@ p\["[UV]\w"\]')
        of_states = _products("forward", cell, helper, "hp @")
        yield _mixup(
            f"weights-in-{format}",
            f"The forward pass rounds the weights U and V to {words}.",
            explanation,
            *of_weights,
        )
        yield _mixup(
            f"hidden-operand-in-{format}",
            f"The forward pass rounds the hidden state in its products to {words}.",
            explanation,
            *of_states,
        )


def _products(part: str, cell: Cell, helper: str, *operands: str) -> tuple[Patch, ...]:
    """Return the patches that round operands, each given as a pattern with the @ on one side of it."""
    function = f"{function_of(part, cell).__name__}("
    patches = [Patch(part, f"def {function}", helper + function)]
    for line in source(part, cell).splitlines(keepends=True):
        new = line
        for operand in operands if "@" in line else ():
            new = re.sub(operand, _rounded, new)
        if new != line:
            patches.append(Patch(part, line, new))
    return tuple(patches)


def _rounded(match: re.Match[str]) -> str:
    """Return an operand rounded, on its side of the @."""
    text = match.group()
    return f"@ _short({text[2:]})" if text.startswith("@") else f"_short({text[:-2]}) @"
