"""Which array of a module is which parameter of a GRU or an RNN, told by what each of them does.

Shapes tell U, V and biases apart, and how many gates an array holds; no gate from another, nor which way a square V
lies. So each gate's part of each array is given values by itself, beside those that are known already, and what comes
is compared with what the cell gives where these are one of its parameters. What has no effect yet (what r is made of,
as long as nothing is known of the candidate) waits for the next round. Names have no part in it.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_checks.targets.common import PROBE, SAME, FormError, probe_arrays
from lstm_checks.weights.layouts import COLUMNS, DOCUMENTED, OWN_SECOND, ROWS, SECOND, VECTOR, Block, Layout
from lstm_checks.weights.recurrent import Kept
from lstm_ref.cell import Cell, evaluate_forward
from lstm_ref.cells import CELLS, cell_named

OF_GATES = {
    3: (CELLS["gru"], CELLS["gru_reset_after"]),
    1: (CELLS["rnn"], cell_named("rnn,g=relu")),
}
"""The cells whose parameters arrays may be, by how many gates these have."""

_NEGATED = {"gru": ("", "z"), "gru_reset_after": ("", "z")}
"""The gates that may be 1 less ours: h = z h + (1 - z) g, or (1 - z) h + z g, and no other half."""

Run = Callable[[Mapping[str, Any]], Any]
"""Returns h of every step, of the sizes `PROBE`, from the arrays by name."""


@dataclass(frozen=True)
class _Part:
    """The place of one gate in an array: which array, which of its gates, and what may lie there and how."""

    name: str
    k: int
    count: int
    kinds: tuple[tuple[str, ...], ...]
    forms: tuple[str, ...]


def gates_in(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many gates arrays of the sizes `PROBE` have, by their shapes; 0 where they are of no cell alone."""
    parts = _parts(shapes)
    if parts is None:
        return 0
    of = {kind: sum(kind in part.kinds[0] for part in parts) for kind in ("U", "V", "b")}
    return of["U"] if of["U"] == of["V"] and of["b"] <= 2 * of["U"] else 0


def _parts(shapes: Mapping[str, tuple[int, ...]]) -> list[_Part] | None:
    """Return the gates' places in arrays; None where there is an array of another shape."""
    e, u = PROBE[2:]
    rows: dict[int, tuple[tuple[str, ...], ...]] = {e: (("U",),), u: (("V",),), e + u: (("U", "V"), ("V", "U"))}
    found: list[_Part] = []
    for name, shape in shapes.items():
        wide = [n for n in shape if n != 1]
        if len(wide) == 1 and wide[0] % u == 0 and shape in ((wide[0],), (1, wide[0])):
            form, count, kinds = VECTOR if len(shape) == 1 else COLUMNS, wide[0] // u, (("b",),)
            found += [_Part(name, k, count, kinds, (form,)) for k in range(count)]
            continue
        if len(shape) != 2:
            return None
        # Which axis is the input's: where an array is square, either may be.
        ways = [
            (form, kept, long // u)
            for form, (kept, long) in ((ROWS, shape[::-1]), (COLUMNS, shape))
            if kept in rows and long % u == 0 and long // u <= max(OF_GATES)
        ]
        if not ways:
            return None
        (_, kept, count), forms = ways[0], tuple(form for form, *_ in ways)
        found += [_Part(name, k, count, rows[kept], forms) for k in range(count)]
    return found


def told_by_values(shapes: Mapping[str, tuple[int, ...]], run: Run, with_state: bool) -> Kept:
    """Return of which cell arrays are the weights, and how they lie in them.

    Parameters
    ----------
    shapes : mapping
        The shape of each array by its name, of the sizes `PROBE`.
    run : callable
        A forward pass of the module.
    with_state : bool
        Whether it takes an initial state; otherwise that is zero.

    Raises
    ------
    FormError
        "which gate each of Wz, Wr, ... is of is not told by what it does: ..."
    """
    parts, cells = _parts(shapes), OF_GATES[gates_in(shapes)]
    assert parts is not None
    for cell in cells:
        for negated in _NEGATED.get(cell.name, ("",)):
            kept = _told_as(cell, negated, parts, shapes, run, with_state)
            if kept is not None:
                return kept
    raise FormError(
        f"which gate each of {', '.join(shapes)} is of is not told by what it does, so its forward pass is that of no "
        f"{' and no '.join(cell.title for cell in cells if not cell.written_as)} in any order"
    )


def _inputs(cell: Cell, with_state: bool) -> dict[str, Any]:
    """Return X and the initial state with which is tried."""
    _, inputs = probe_arrays(cell=cell)
    return inputs if with_state else {**inputs, "h0": 0 * inputs["h0"]}


def _told_as(
    cell: Cell,
    negated: str,
    parts: Sequence[_Part],
    shapes: Mapping[str, tuple[int, ...]],
    run: Run,
    with_state: bool,
) -> Kept | None:
    """Return how the parameters of a cell lie in arrays; None where these do not tell."""
    inputs = _inputs(cell, with_state)
    values = _values(cell)
    known: dict[_Part, tuple[tuple[str, ...], str, str]] = {}

    def came(roles: Mapping[_Part, tuple[tuple[str, ...], str, str]]) -> Any:
        arrays = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
        for part, (kinds, gate, form) in roles.items():
            _put(arrays[part.name], part, kinds, gate, form, values, negated)
        return run({**arrays, **inputs})

    def due(roles: Mapping[_Part, tuple[tuple[str, ...], str, str]]) -> Any:
        p = {name: np.zeros_like(probe) for name, probe in probe_arrays(cell=cell)[0].items()}
        for kinds, gate, _ in roles.values():
            for kind in kinds:
                own = OWN_SECOND + gate in cell.parameters and kind == SECOND
                p[(OWN_SECOND if own else "b" if kind == SECOND else kind) + gate] += values[kind + gate]
        return evaluate_forward(cell, {**p, **inputs})["h"]

    while len(known) < len(parts):
        before, progress = due(known), len(known)
        for part in (part for part in parts if part not in known):
            fitting = []
            for role in _roles(part, known, cell):
                more = {**known, part: role}
                expected = due(more)
                # What has no effect yet tells nothing.
                if np.max(np.abs(expected - before)) > SAME and np.max(np.abs(came(more) - expected)) < SAME:
                    fitting.append(role)
            if len(fitting) == 1:
                known[part] = fitting[0]
                before = due(known)
        if len(known) == progress:
            return None
    return _as_kept(cell, negated, known, parts)


def _values(cell: Cell) -> dict[str, Any]:
    """Return the values of each kind and gate, all different; a gate is negated by its sign."""
    e, u = PROBE[2:]
    rng = np.random.default_rng(7)
    rows = {"U": e, "V": u, "b": 1, SECOND: 1}
    return {
        kind + gate: rng.standard_normal((count, u)).astype("float32")
        for kind, count in rows.items()
        for gate in cell.gates
    }


def _put(
    array: Any,
    part: _Part,
    kinds: tuple[str, ...],
    gate: str,
    form: str,
    values: Mapping[str, Any],
    negated: str,
) -> None:
    """Write the values of a gate into its place in an array."""
    u = PROBE[3]
    matrix = np.concatenate([values[kind + gate] for kind in kinds]) * (-1 if gate in negated else 1)
    place = slice(part.k * u, (part.k + 1) * u)
    if form == VECTOR:
        array[place] = matrix[0]
    elif form == ROWS:
        array[place] = matrix.T
    else:
        array[:, place] = matrix


def _roles(part: _Part, known: Mapping[_Part, Any], cell: Cell) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield what a gate's place in an array may be, of what is not taken."""
    taken = {kind + gate for kinds, gate, _ in known.values() for kind in kinds}
    for kinds, gate, form in itertools.product(part.kinds, cell.gates, part.forms):
        if kinds == ("b",):
            # A second bias that the cell has as its own does something else than the first.
            seconds = ("b", SECOND) if OWN_SECOND + gate in cell.parameters else ("b",)
            free = [kind for kind in seconds if kind + gate not in taken]
            if not free and seconds == ("b",) and SECOND + gate not in taken:
                free = [SECOND]
            yield from (((kind,), gate, form) for kind in free)
        elif not any(kind + gate in taken for kind in kinds):
            yield kinds, gate, form


def _as_kept(cell: Cell, negated: str, known: Mapping[_Part, Any], parts: Sequence[_Part]) -> Kept | None:
    """Return what is known of the places as a layout; None where an array holds several kinds or ways of lying."""
    blocks = []
    for name in dict.fromkeys(part.name for part in parts):
        roles = [known[part] for part in parts if part.name == name]
        kinds, gates, forms = ([role[k] for role in roles] for k in range(3))
        if len(set(kinds)) > 1 or len(set(forms)) > 1:
            return None
        blocks.append(Block(name, kinds[0], "".join(gates), forms[0]))
    layout = Layout("its own", "", tuple(blocks), "", DOCUMENTED, cell=cell.written_as or cell, negated=negated)
    needed = {name for name in cell.parameters if name[0] in "UV"}
    return Kept(cell, layout) if needed <= {*layout.parameters} else None
