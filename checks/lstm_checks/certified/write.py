"""Writing certified vectors: which cases they are, what is proven of each, and which known errors it exposes.

Inputs are hexadecimal floats, answers the float64 nearest to what balls enclose, each with a certified radius and the
deviation that rounding excuses. Each vector lists the known errors it exposes, as measured when it was written.
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.arithmetic import balls
from lstm_checks.cases import COTANGENTS, DTYPES, TURNED, Case, cotangents_of, falls_in
from lstm_checks.certified.certify import certified_gradient
from lstm_checks.certified.cover import fewest
from lstm_checks.certified.equations import equations
from lstm_checks.certified.errors import KnownError, known_errors
from lstm_checks.certified.vectors import (
    FLAGS,
    FORMAT,
    FORMAT_OF_CELLS,
    LOW_FLAGS,
    TENSOR_KEYS,
    Array,
    checksum,
    flags_of,
)
from lstm_checks.contract import PLAIN
from lstm_checks.faults.catalogue import faults_of
from lstm_checks.faults.composition import composition_faults
from lstm_checks.faults.model import evaluate
from lstm_checks.files import hex_list, replace_file
from lstm_checks.formats import NAMED, format_named, is_low
from lstm_checks.oracles.expected import Expected, evaluate_reference, expect
from lstm_ref.cell import Cell
from lstm_ref.network import Network

NOTES: dict[str, Any] = {
    "layer": [
        "m samples, s steps, e elements a step, u units; gates k = f, i, g, o; * is element by element, @ the product.",
        "For every step, with h and C from the step before (h0 and C0 at the first):",
        "k_ = X_s @ Uk + h @ Vk + bk;  f, i, o = sigmoid(f_, i_, o_);  g = tanh(g_)",
        "C = f * C + i * g;  h = o * tanh(C)",
        "Cn is C after the last step. A gradient dk is dL/dk for L = sum(dh * h) + sum(dhn * h[last]) + sum(dCn * Cn).",
        "dhn may be added to dh of the last step: the sum is exact in the vector's dtype.",
        "Where sequences is false dh is zero before the last step: it suits a layer that returns h of that step alone.",
    ],
    "shapes": {
        "U": "e, u",
        "V": "u, u",
        "b": "1, u",
        "X": "m, s, e",
        "h0, C0, dhn, dCn, Cn": "m, u",
        "h, dh": "m, s, u",
        "dUf ... dC0": "that of the input",
    },
    "numbers": [
        "Arrays are flat lists, last axis fastest. Numbers are hexadecimal floats in quotes, as C's strtod reads them.",
        "value: the float64 nearest to the exact answer. radius: a proven bound on the distance of value from that.",
        "tolerance: an implementation passes where |its entry - value| <= tolerance; write it so that NaN fails.",
        "It is 6 standard deviations of the entry's rounding error in the vector's dtype, measured by Monte Carlo "
        "arithmetic, and 4 times the dtype's smallest normal number, rounded up to 8 bits.",
    ],
    "exposes": "The known errors that, run in the vector's dtype, exceed twice the tolerance somewhere.",
    "sha256": "Of the vector's JSON without this key: keys sorted, no spaces, ASCII; of the file, with each vector "
    "replaced by its sha256.",
}


_OF_LOW = {
    "exposes": "The known errors that, run in float64, exceed twice the tolerance somewhere.",
    "dtype": "bfloat16+gates32: the format of inputs and answers; after + the contract, by name or as PART=float32, "
    "which is in float32. Without +, everything may be in the format. Outputs are judged as numbers of it.",
}


@cache
def vector_cases() -> tuple[Case, ...]:
    """Return the cases of the shipped vectors; where rounding drowns a case, the next seed takes its place."""
    chosen = []
    for k, dims in enumerate(_DIMS):
        for j, dtype in enumerate(DTYPES):
            # The strides are coprime to the lengths, so that in both dtypes everything meets everything.
            other, scale = COTANGENTS[(3 * k + 5 * j) % len(COTANGENTS)], _SCALES[(k + 3 * j) % len(_SCALES)]
            chosen += [
                _first_calm(dims, dtype, "normal", "every+h+C" if (k + j) % 2 else other, True),
                _first_calm(dims, dtype, scale, other if (k + j) % 2 else "every+h+C", (k + j) % 3 > 0),
            ]
    return tuple(chosen)


def low_cases(base: str, contracts: Sequence[str] = tuple(NAMED)) -> tuple[Case, ...]:
    """Return the cases of vectors in a format of low precision: each problem once under each contract."""
    chosen = []
    for k, dims in enumerate(_DIMS):
        other = COTANGENTS[3 * k % len(COTANGENTS)]
        regime = _LOW_SCALES[k % len(_LOW_SCALES)]
        # Calm under the loosest contract, it is so under all of them.
        calm = _first_calm(dims, base, regime, "every+h+C" if k % 2 else other, k % 4 > 0)
        chosen += [replace(calm, dtype=format_named(f"{base}+{contract}").name) for contract in contracts]
    return tuple(chosen)


def _first_calm(
    dims: tuple[int, ...],
    dtype: str,
    regime: str,
    cotangents: str,
    states: bool,
    cell: Cell = PLAIN,
    lengths: str = "",
) -> Case:
    """Return the case of the first seed whose answer rounding does not drown.

    Of three samples of their own lengths, and the first in which these are not put back in order by sorting again.
    """
    for seed in itertools.count(1):
        case = Case.of(dims, dtype, regime, cotangents, states, seed, cell=cell, lengths=lengths)
        if lengths == "ragged" and case.m >= 3 and not falls_in(case, TURNED):
            continue
        if not expect(case).chaotic(cell.tensors):
            return case
    raise AssertionError("unreachable")


MOST_OF_A_CELL, MOST_OF_A_NETWORK = {"float64": 3, "float32": 2}, {"float64": 2, "float32": 1}
"""How many vectors there are at most of another cell, or of a network, by dtype."""

SHIPPED_NETWORKS = ("plain@1xboth", "plain@2xboth")
"""The networks whose vectors are in the one file of networks."""


@cache
def cases_of_cell(cell: Cell) -> tuple[Case, ...]:
    """Return the cases of the vectors of another cell than the plain one, in both dtypes.

    They are small, and the few that expose most of what is known: of the catalogue's faults, of a network's
    composition, and of the errors that a vector lists. So a file has about a hundred kilobytes.
    """
    network = isinstance(cell, Network)
    known = composition_faults(cell) if isinstance(cell, Network) else faults_of(cell)
    errors = {id: KnownError("", partial(evaluate, fault)) for id, fault in known.items() if fault.patches}
    errors |= known_errors(cell)
    found: list[Case] = []
    for dtype in DTYPES:
        cases = list(_tried(cell, dtype))
        table = {k: _exposed_errors(errors, case) for k, case in enumerate(cases)}
        chosen = fewest(table, (MOST_OF_A_NETWORK if network else MOST_OF_A_CELL)[dtype])
        found += [cases[k] for k in sorted(chosen)]
    return tuple(found)


def _tried(cell: Cell, dtype: str) -> Iterable[Case]:
    """Yield the cases that are tried for the vectors of a cell."""
    letters, kinds = len(cell.letters), cotangents_of(cell)
    if isinstance(cell, Network):
        for sizes, lengths in _TRIED_OF_NETWORKS:
            if lengths == "empty" and dtype == "float32":
                continue  # so that who takes no empty samples, as most frameworks, has something to run in float32
            yield _first_calm(sizes[:letters], dtype, "normal", kinds[0], True, cell, lengths)
        return
    for k, (sizes, regime, states) in enumerate(_TRIED_OF_CELLS):
        cotangents = kinds[0] if regime == "normal" else kinds[k % len(kinds)]
        yield _first_calm(sizes[:letters], dtype, regime, cotangents, states, cell)


def _exposed_errors(errors: Mapping[str, KnownError], case: Case) -> set[str]:
    """Return which known errors a case exposes, measured against the reference in float64."""
    expected = expect(case)
    truth = evaluate_reference(case.arrays.astype(np.float64))
    return {name for name, error in errors.items() if _exposed(error, case, truth, expected)}


_TRIED_OF_CELLS = (
    ((2, 2, 2, 2, 2), "normal", True),
    ((1, 2, 2, 3, 2), "normal", True),
    ((2, 3, 2, 3, 4), "normal", True),
    ((2, 5, 3, 2, 1), "normal", True),
    ((3, 3, 3, 3, 3), "normal", True),
    ((1, 13, 1, 2, 2), "normal", False),
    ((2, 3, 2, 2, 3), "x10", True),
    ((1, 6, 2, 3, 2), "x10", True),
    ((3, 2, 1, 2, 1), "x1e-3", True),
    ((2, 4, 2, 3, 2), "mixed", True),
    ((2, 4, 1, 2, 2), "padded", False),
    ((2, 2, 3, 2, 2), "zero", True),
)
"""Sizes m, s, e, u, and the p of a cell that has one; the regime; and whether there are initial states."""

_TRIED_OF_NETWORKS = (
    ((3, 3, 2, 2, 2), "ragged"),
    ((2, 2, 4, 2, 2), ""),
    ((2, 3, 1, 2, 1), "short"),
    ((3, 3, 2, 1, 1), "empty"),
)
"""The same, and which lengths the samples have."""


_DIMS = (
    (1, 1, 1, 1),
    (1, 1, 2, 3),
    (2, 1, 3, 2),
    (3, 1, 2, 2),
    (1, 2, 1, 3),
    (2, 2, 2, 2),
    (2, 3, 2, 3),
    (3, 3, 3, 3),
    (2, 4, 3, 2),
    (1, 5, 2, 4),
    (3, 5, 4, 3),
    (2, 6, 1, 5),
    (5, 2, 2, 3),
    (6, 3, 3, 4),
    (2, 13, 2, 3),
    (1, 20, 3, 2),
    (1, 40, 1, 2),
    (2, 3, 2, 8),
    (3, 4, 8, 5),
    (1, 3, 9, 4),
    (4, 4, 4, 4),
    (3, 7, 5, 1),
    (2, 8, 1, 1),
    (1, 2, 9, 9),
)


_LOW_SCALES = ("normal", "x1e-3", "normal", "zero", "padded")
"""Of larger ones rounding in eight bits drowns most."""


_SCALES = ("x1e-3", "x10", "x100", "mixed", "zero", "padded", "mixed")


def make_vectors(
    cases: Iterable[Case] | None = None, errors: Mapping[str, KnownError] | None = None
) -> list[dict[str, Any]]:
    """Return vectors as the plain dicts that the file holds; a case that exposes no error is left out.

    Parameters
    ----------
    cases : iterable of Case, optional
        `vector_cases()` where None.
    errors : mapping, optional
        Known errors by id, by default those of each case's cell: see `known_errors`.

    Raises
    ------
    MissingExtra
        "certified gradients need python-flint: pip install python-flint".
    """
    chosen = tuple(vector_cases() if cases is None else cases)
    known = {case.cell: known_errors(case.cell) if errors is None else errors for case in chosen}
    made = (_make(case, known[case.cell]) for case in chosen)
    return [vector for vector in made if vector["exposes"]]


def _make(case: Case, errors: Mapping[str, KnownError]) -> dict[str, Any]:
    """Return one vector as the file holds it."""
    certified, expected = certified_gradient(case), expect(case)
    answers = {}
    for name, value in certified.values.items():
        with balls.precision(certified.bits):
            radius = balls.distance(value, certified.enclosures[name])
        accepted = tolerance.accepted(expected.sd[name], case.dtype)
        columns = (value, _up_to_bits(radius, 1), _up_to_bits(accepted, 8))
        answers[name] = dict(zip(TENSOR_KEYS, map(hex_list, columns), strict=True))
    cell, lengths = case.cell, case.arrays.cell.lengths
    whose = {} if cell is PLAIN else {"cell": cell.name, "lengths": None if lengths is None else list(lengths)}
    vector = {
        "id": case.descriptor,
        **whose,
        "dtype": case.dtype,
        "sizes": case.sizes,
        "sequences": case.sequences,
        "flags": [name for name, (holds, _) in flags_of(cell).items() if holds(case)],
        "exposes": [name for name, error in errors.items() if _exposed(error, case, certified.values, expected)],
        "inputs": {name: hex_list(case.arrays[name]) for name in cell.inputs},
        "cotangents": {name: hex_list(case.arrays[name]) for name in cell.cotangents},
        "outputs": {name: answers[name] for name in cell.outputs},
        "gradients": {name: answers[name] for name in cell.gradients},
    }
    return vector | {"sha256": checksum(vector)}


def _exposed(error: KnownError, case: Case, truth: Mapping[str, Array], expected: Expected) -> bool:
    """Return whether an error shows in a value beyond rounding; one that these sizes give away by a shape does not."""
    with np.errstate(all="ignore"):
        try:
            came = error.evaluate(case.arrays.astype(np.float64) if is_low(case.dtype) else case.arrays)
        except (ValueError, IndexError):
            return False
        if any(np.shape(came[name]) != value.shape for name, value in truth.items()):
            return False
        for name, value in truth.items():
            deviation = np.abs(np.asarray(came[name], np.float64) - value)
            # Asked this way round, NaN is exposed.
            if not np.all(deviation <= tolerance.EXPOSING * tolerance.accepted(expected.sd[name], case.dtype)):
                return True
    return False


def _up_to_bits(values: Array, bits: int) -> Array:
    """Return the values rounded up to so many bits."""
    # Up, so that a radius stays a bound and a tolerance excuses no less.
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.ceil(np.ldexp(mantissa, bits)), exponent - bits)


def write_vectors(
    path: str | Path, cases: Iterable[Case] | None = None, errors: Mapping[str, KnownError] | None = None
) -> tuple[str, ...]:
    """Write vectors to a file and return their ids.

    The same machine writes the same bytes. Values and radii are the same everywhere; a tolerance is an estimate from 32
    noisy copies, which another build of NumPy may change by a percent, by rounding otherwise below the noise.

    Parameters
    ----------
    path : path
        Replaced in one step, when all is done.
    cases, errors : optional
        As `make_vectors` takes them.
    """
    chosen = tuple(vector_cases() if cases is None else cases)
    cells = tuple(dict.fromkeys(case.cell for case in chosen))
    vectors = make_vectors(chosen, errors)
    exposed = {name for vector in vectors for name in vector["exposes"]}
    known = {name: error for cell in cells for name, error in (errors or known_errors(cell)).items()}
    # The file of the plain cell says what all its flags mean, another only what those that it has do.
    said = {flag for vector in vectors for flag in vector["flags"]} | (set(FLAGS) if cells == (PLAIN,) else set())
    flags = {name: words for cell in cells for name, (_, words) in flags_of(cell).items() if name in said}
    notes = (NOTES if cells == (PLAIN,) else _notes_of(cells)) | {"flags": flags}
    notes |= _OF_LOW if said & set(LOW_FLAGS) else {}
    notes["errors"] = {name: known[name].summary for name in known if name in exposed}
    replace_file(path, _file_text(FORMAT if cells == (PLAIN,) else FORMAT_OF_CELLS, notes, vectors))
    return tuple(vector["id"] for vector in vectors)


def _notes_of(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return what a file of other cells' vectors says of itself."""
    sizes = "m samples, s steps, e elements a step, u units; * is element by element, @ the product."
    layer = [sizes]
    for written in dict.fromkeys(cell.cell if isinstance(cell, Network) else cell for cell in cells):
        hidden, *others = written.states
        before = ", ".join(["hp is h", *(f"{state.name}p_ is {state.kept_as}" for state in others)])
        layer.append(
            f"The {written.title}: of each step, with what the step before gave ({before}, of the first the initial "
            f"state), X_s the step's input and {hidden.kept_as} its output:"
        )
        layer += equations(written)
        layer += [f"{state.name}n is {state.kept_as} after the last step." for state in others]
    networks = [cell for cell in cells if isinstance(cell, Network)]
    if networks:
        layer += [
            "A network has such a cell at every place: _l0 is the first layer, which takes X, _l1 the second, which "
            "takes what the first gives; _reverse is the direction from a sample's last step to its first. What both "
            "directions give stands side by side (join sum: is added), forward first, each step at its own place.",
            "hn_l0 and the like are the states after the last step that a place runs, of the reverse direction the "
            "first; each is an output, and dhn_l0 its cotangent.",
            "lengths: how many steps each sample has; null where all have all. What stands in X and dh beyond is not "
            "to be read; h and dX are zero there. A sample of no steps has its initial states as final ones.",
        ]
    shapes = {}
    for cell in cells:
        tensors = (*cell.inputs, *cell.cotangents, *cell.outputs)
        shapes[cell.name] = {name: ", ".join(cell.axes[name]) for name in tensors}
    due = "A gradient dk is dL/dk for L the sum of all outputs times their cotangents"
    folded = "; dhn is that of the last step's h in addition, and may be added to dh there: the sum is exact"
    return NOTES | {
        "layer": [*layer, f"{due}{folded if any(cell.folded for cell in cells) else ''}."],
        "shapes": shapes,
    }


def _file_text(form: str, notes: Mapping[str, Any], vectors: Sequence[Mapping[str, Any]]) -> str:
    """Return the whole file."""
    head = {"format": form, "notes": notes}
    whole = checksum(head | {"vectors": [vector["sha256"] for vector in vectors]})
    return _text(head | {"vectors": list(vectors), "sha256": whole}) + "\n"


def _text(value: Any, indent: str = "") -> str:
    """Return JSON that reads well: a line for a list of numbers or words, a block for everything else that is long."""
    deeper = indent + " "
    inline = json.dumps(value, ensure_ascii=True, allow_nan=False)
    nested = isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values())
    if nested or (isinstance(value, dict) and len(inline) > 120):
        items = [f"{deeper}{json.dumps(key)}: {_text(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    prose = isinstance(value, list) and any(isinstance(item, str) and " " in item for item in value)
    if prose or (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)):
        return "[\n" + ",\n".join(deeper + _text(item, deeper) for item in value) + f"\n{indent}]"
    return inline
