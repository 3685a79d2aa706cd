"""The known errors that vectors are measured against: families of edits of what the reference is given, or says."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lstm_checks.cases import Arrays
from lstm_checks.contract import PLAIN
from lstm_checks.faults.catalogue import own_faults
from lstm_checks.faults.composition import composition_faults
from lstm_checks.faults.model import Fault, Patch, evaluate, fits
from lstm_ref.cell import Cell, evaluate_gradients, run_backward, run_forward
from lstm_ref.network import Network


@dataclass(frozen=True)
class KnownError:
    """A way to get an LSTM wrong: in words, and as a function from arrays to wrong outputs and gradients."""

    summary: str
    evaluate: Callable[[Arrays], Mapping[str, Any]]


def known_errors(cell: Cell = PLAIN) -> dict[str, KnownError]:
    """Return the errors that vectors are measured against, by id.

    All 23 wrong orders of four gates packed in one array; every weight matrix transposed on the way in, on the way out
    or in the backward pass; every term of every equation dropped, and every factor of a backward equation.

    Of another cell the same as far as it has it, and the catalogue's faults that are this cell's alone; of a network
    the orders of gates, and the faults of composition.
    """
    if cell is PLAIN:
        return dict([*_gate_orders(), *_transpositions(), *_dropped_terms(), *_edited_sources()])
    edited = [] if cell.places else _edited_sources(cell)
    return dict([*_of_parameters(cell), *edited, *_of_the_catalogue(cell)])


def _of_parameters(cell: Cell) -> Iterable[tuple[str, KnownError]]:
    """Yield what can be wrong with the parameters of any cell: their order by gate, transposed, left out of a pass."""
    places = [place.suffix for place in cell.places] or [""]
    kinds = [kind for kind in "UVbn" if all(f"{kind}{gate}{places[0]}" in cell.parameters for gate in cell.gates)]
    for order in itertools.permutations(cell.gates) if len(cell.gates) > 1 else ():
        if order == cell.gates:
            continue
        taken = {
            f"{kind}{gate}{place}": f"{kind}{read}{place}"
            for gate, read in zip(cell.gates, order, strict=True)
            for kind in kinds
            for place in places
        }
        words = f"A pack of the gates {' '.join(cell.gates)} is read as {' '.join(order)}, its gradients likewise."
        # The gate that computes with a block, by the block's owner.
        yield f"gate-order-{''.join(order)}", KnownError(words, partial(_renamed, taken))
    if cell.places:
        return  # these are of a cell, and its own vectors have them
    for name, axes in cell.parameters.items():
        if "1" not in axes:
            words = f"{name} is stored transposed, and so is its gradient."
            yield f"transposed-{name}", KnownError(words, partial(_read_transposed, (name,)))
            yield f"transposed-d{name}", KnownError(f"d{name} is returned transposed.", partial(_turned, (f"d{name}",)))
            swap = partial(_transpose, (name,))
            words = f"The backward pass has {name} where its transpose is due."
            yield f"untransposed-{name}", KnownError(words, partial(_backward_with, swap))
        zero = partial(_zeroed, name)
        yield f"dropped-{name}", KnownError(f"The forward pass lacks {name}.", partial(_forward_with, zero))
        words = f"The backward pass lacks {name}."
        yield f"dropped-{name}-backward", KnownError(words, partial(_backward_with, zero))


def _renamed(taken: Mapping[str, str], arrays: Arrays) -> dict[str, Any]:
    """Return the results of parameters that stand in each other's places."""
    p = {place: arrays.p[owner] for owner, place in taken.items()}
    values = _evaluate(arrays, forward_p=p, backward_p=p)
    return values | {f"d{owner}": values[f"d{place}"] for owner, place in taken.items()}


def _of_the_catalogue(cell: Cell) -> Iterable[tuple[str, KnownError]]:
    """Yield the faults of a cell, or of a network's composition, that are not the plain cell's."""
    known = composition_faults(cell).values() if isinstance(cell, Network) else own_faults(cell)
    for fault in known:
        if fault.patches:
            yield fault.id, KnownError(fault.title, partial(evaluate, fault))


def _gate_orders() -> Iterable[tuple[str, KnownError]]:
    """Yield the wrong gate orders: the parameters of the gates named stand where those of f, i, g, o are expected."""
    for order in itertools.permutations(PLAIN.gates):
        if order != PLAIN.gates:
            words = f"A pack of the gates {' '.join(PLAIN.gates)} is read as {' '.join(order)}, its gradients likewise."
            yield f"gate-order-{''.join(order)}", KnownError(words, partial(_reorder, order))


def _reorder(order: tuple[str, ...], arrays: Arrays) -> dict[str, Any]:
    """Return the results of gates that took each other's parameters."""
    taken = dict(zip(PLAIN.gates, order, strict=True))  # the gate that computes with a block, by the block's owner
    p = {kind + taken[gate]: arrays.p[kind + gate] for gate in PLAIN.gates for kind in "UVb"}
    values = _evaluate(arrays, forward_p=p, backward_p=p)
    renamed = {f"d{kind}{gate}": values[f"d{kind}{taken[gate]}"] for gate in PLAIN.gates for kind in "UVb"}
    return values | renamed


def _transpositions() -> Iterable[tuple[str, KnownError]]:
    """Yield the transpositions, of one gate's matrix or of all four; they fit where U is square."""
    for kind, onward in (("U", "dX"), ("V", "dh")):
        for gates in (*PLAIN.gates, "".join(PLAIN.gates)):
            names = tuple(kind + gate for gate in gates)
            said = kind + gates if len(gates) == 1 else kind
            swap, turn = partial(_transpose, names), tuple("d" + name for name in names)
            read = KnownError(f"{said} is stored transposed, and so is its gradient.", partial(_read_transposed, names))
            yield f"transposed-{said}", read
            yield f"transposed-d{said}", KnownError(f"d{said} is returned transposed.", partial(_turned, turn))
            backward = KnownError(f"{onward} is computed with {said}, not transposed.", partial(_backward_with, swap))
            yield f"untransposed-{said}", backward


def _transpose(names: tuple[str, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with some matrices transposed."""
    return {name: value.mT if name in names else value for name, value in values.items()}


def _read_transposed(names: tuple[str, ...], arrays: Arrays) -> dict[str, Any]:
    """Return the results with weights transposed on the way in and their gradients on the way out."""
    p = _transpose(names, arrays.p)
    return _turned(tuple("d" + name for name in names), arrays, p)


def _turned(names: tuple[str, ...], arrays: Arrays, p: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the results with some gradients transposed."""
    return _transpose(names, _evaluate(arrays, forward_p=p, backward_p=p))


def _backward_with(change: Callable[[Mapping[str, Any]], dict[str, Any]], arrays: Arrays) -> dict[str, Any]:
    """Return the results with the parameters changed in the backward pass alone."""
    return _evaluate(arrays, backward_p=change(arrays.p))


def _forward_with(change: Callable[[Mapping[str, Any]], dict[str, Any]], arrays: Arrays) -> dict[str, Any]:
    """Return the results with the parameters changed in the forward pass alone."""
    return _evaluate(arrays, forward_p=change(arrays.p))


def _dropped_terms() -> Iterable[tuple[str, KnownError]]:
    """Yield each term of equation (1) dropped, forward and backward; a zero in its matrix's place does that."""
    for gate in PLAIN.gates:
        for kind, term in (("U", f"X_s U{gate}"), ("V", f"hp V{gate}"), ("b", f"b{gate}")):
            zero = partial(_zeroed, kind + gate)
            yield f"dropped-{kind}{gate}", KnownError(f"{gate}_ lacks {term}.", partial(_forward_with, zero))
        for kind, onward in (("U", "dX"), ("V", "dh")):
            words = f"{onward} lacks d{gate}_ {kind}{gate}^T."
            zero = partial(_zeroed, kind + gate)
            yield f"dropped-d{gate}-in-{onward}", KnownError(words, partial(_backward_with, zero))


def _zeroed(name: str, p: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with one of them zero."""
    return {**p, name: np.zeros_like(p[name])}


_EDITS: tuple[tuple[str, str, str, str, str], ...] = (
    ("dropped-f-Cp", "forward", "f * Cp_ + i * g", "i * g", "C_ lacks f * Cp_."),
    ("dropped-i-g", "forward", "f * Cp_ + i * g", "f * Cp_", "C_ lacks i * g."),
    ("dropped-dA", "backward", "dA_s + dhn", "dhn", "dh_ lacks the cotangent of the step's own output."),
    ("dropped-dhn", "backward", "dA_s + dhn", "dA_s", "dh_ lacks what comes from the next step, and the final dhn."),
    ("dropped-dCn", "backward", " + dCn  #", "  #", "dC_ lacks what comes from the next step, and the final dCn."),
    ("dropped-dh-in-dC", "backward", "dh_ * o * tanh_derivative(C) + dCn", "0 * dh_ + dCn", "dC_ lacks the path by h."),
    ("dropped-carry-of-dC", "backward", "= dh, dC\n", "= dh, 0 * dC\n", "dC is not passed to the step before."),
    ("dropped-carry-of-dh", "backward", "= dh, dC\n", "= 0 * dh, dC\n", "dh is not passed to the step before."),
    ("dropped-o-in-dC", "backward", "dh_ * o * tanh", "dh_ * tanh", "dC_ lacks the factor o."),
    ("dropped-tanh-derivative", "backward", " * tanh_derivative(C)", "", "dC_ lacks the factor 1 - C^2."),
    ("dropped-f-in-dC", "backward", "dC = dC_ * f ", "dC = dC_ ", "dC lacks the factor f."),
    ("dropped-C-in-do", "backward", "do = dh_ * C ", "do = dh_ ", "do lacks the factor C."),
    ("dropped-Cp-in-df", "backward", "df = dC_ * Cp_ ", "df = dC_ ", "df lacks the factor Cp_."),
    ("dropped-g-in-di", "backward", "di = dC_ * g ", "di = dC_ ", "di lacks the factor g."),
    ("dropped-i-in-dg", "backward", "dg = dC_ * i ", "dg = dC_ ", "dg lacks the factor i."),
    ("dropped-derivative-of-o", "backward", " * sigmoid_derivative(o)", "", "do_ lacks the factor o (1 - o)."),
    ("dropped-derivative-of-g", "backward", " * tanh_derivative(g)", "", "dg_ lacks the factor 1 - g^2."),
    ("dropped-derivative-of-i", "backward", " * sigmoid_derivative(i)", "", "di_ lacks the factor i (1 - i)."),
    ("dropped-derivative-of-f", "backward", " * sigmoid_derivative(f)", "", "df_ lacks the factor f (1 - f)."),
    ("dropped-steps-of-dU", "gradients", "X.mT @ dk_, axis=-3", "(X.mT @ dk_)[..., -1:, :, :], axis=-3",
     "dU is that of the last step alone."),
    ("dropped-steps-of-dV", "gradients", "hp.mT @ dk_, axis=-3", "(hp.mT @ dk_)[..., -1:, :, :], axis=-3",
     "dV is that of the last step alone."),
    ("dropped-steps-of-db", "gradients", "np.sum(dk_, axis=-2), axis", "np.sum(dk_, axis=-2)[..., -1:, :], axis",
     "db is that of the last step alone."),
    ("dropped-first-step-of-dV", "gradients", "hp.mT @ dk_, axis=-3", "(hp.mT @ dk_)[..., 1:, :, :], axis=-3",
     "dV lacks the first step, which h0 reaches."),
    ("dropped-samples-of-db", "gradients", "np.sum(dk_, axis=-2), axis=-2)", "dk_[..., 0, :], axis=-2)",
     "db is that of the first sample alone."),
)  # fmt: skip


def _edited_sources(cell: Cell = PLAIN) -> Iterable[tuple[str, KnownError]]:
    """Yield the terms and factors that only another source can drop; of another cell those whose lines it has."""
    for name, part, old, new, words in _EDITS:
        fault = Fault(name, "dropped", words, "", (Patch(part, old, new),))
        if cell is PLAIN or fits(fault, cell):
            yield name, KnownError(words, partial(evaluate, fault))


def _evaluate(
    arrays: Arrays,
    forward_p: Mapping[str, Any] | None = None,
    backward_p: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return h, Cn and the gradients, with other parameters in some pass."""
    cell = arrays.cell
    fc = run_forward(cell, {**arrays, **(forward_p or {})})
    bc = run_backward(cell, {**arrays, **(backward_p or {})}, fc)
    return cell.outputs_of(fc) | evaluate_gradients(cell, fc, bc)
