"""The catalogue of faults as text and as plain dicts: the list, and one fault with what its smallest case shows."""

import inspect
import textwrap
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from lstm_checks.cases import Case
from lstm_checks.faults.model import Fault, diff
from lstm_checks.faults.short import BESIDES, FAMILY, ShortFault
from lstm_checks.formats import PARTS, to_short
from lstm_checks.judging.json import case_to_json
from lstm_checks.judging.reports import CaseReport
from lstm_checks.judging.text import render_failure
from lstm_checks.words import series

SCHEMA = "lstm-checks/faults/1"
_WIDTH = 110


def render_list(faults: Iterable[Fault]) -> str:
    """Return all faults by family, a line each."""
    faults = list(faults)
    width = max(len(fault.id) for fault in faults)
    lines = [f"{len(faults)} known faults of LSTMs; lstm-checks faults ID shows one"]
    for family, members in groupby(faults, lambda fault: fault.family):
        found = list(members)
        lines += ["", f"{family} ({len(found)})", *(f"  {fault.id:<{width}}  {fault.title}" for fault in found)]
    return "\n".join(lines)


def render_fault(fault: Fault, seen: CaseReport) -> str:
    """Return a fault in words, its diff, and what is seen on the smallest case that shows it."""
    cell = seen.case.cell
    lines = [f"{fault.id}: {fault.title}    [{fault.family}]", "", *textwrap.wrap(fault.explanation, _WIDTH)]
    lines += [f"Seen in {fault.seen}."] if fault.seen else []
    lines += ["", diff(fault, cell).rstrip("\n"), "", _sizes(fault, seen), ""]
    return "\n".join([*lines, render_failure(target_of(fault), seen)])


def render_low_precision(faults: Iterable[ShortFault]) -> str:
    """Return the faults of low precision, a line each, with what excuses them."""
    faults = list(faults)
    width = max(len(fault.id) for fault in faults)
    lines = [f"{len(faults)} known faults of LSTMs in low precision; lstm-checks faults ID shows one"]
    lines += ["lstm-checks verify fault:ID --dtype bfloat16 --contract gates32 judges a program that has it", ""]
    for fault in faults:
        lines.append(f"  {fault.id:<{width}}  {fault.title}")
        lines.append(f"  {'':<{width}}  {_excused(fault)}")
    return "\n".join(lines)


def render_short_fault(fault: ShortFault) -> str:
    """Return a fault of low precision in words, with its diff where it has one."""
    lines = [f"{fault.id}: {fault.title}    [{FAMILY}]", "", *textwrap.wrap(fault.explanation, _WIDTH), ""]
    lines += [f"It is one in {series(fault.formats)}, {_excused(fault)}."]
    if fault.parts:
        lines.append(f"Short whatever the contract says: {series([PARTS[part] for part in fault.parts])}.")
    if fault.rounding is not to_short:
        doc = inspect.getdoc(fault.rounding) or ""
        lines.append(f"Its numbers are {doc.splitlines()[0].removeprefix('Return values ')}")
    if fault.patches:
        lines += ["", diff(fault.as_patch).rstrip("\n")]
    verify = f"lstm-checks verify fault:{fault.id} --dtype {fault.formats[0]} --contract {BESIDES}"
    return "\n".join([*lines, "", f"  judge it  {verify}"])


def _excused(fault: ShortFault) -> str:
    """Return which contracts excuse a fault, in words."""
    return f"excused by {series(fault.excused)}" if fault.excused else "excused by no contract"


def low_precision_to_json(faults: Iterable[ShortFault]) -> dict[str, Any]:
    """Return the faults of low precision as plain values."""
    return {
        "schema": SCHEMA,
        "faults": [
            {
                "id": fault.id,
                "family": FAMILY,
                "title": fault.title,
                "explanation": fault.explanation,
                "excused": list(fault.excused),
                "formats": list(fault.formats),
                "diff": diff(fault.as_patch),
            }
            for fault in faults
        ],
    }


def _sizes(fault: Fault, seen: CaseReport) -> str:
    """Return the sizes of a case that shows a fault; the smallest are known of the cell that it was written for."""
    smallest = seen.case.cell is Case.parse(fault.example).cell
    sizes = seen.case.sizes_in_words
    return f"The smallest sizes that show it are {sizes}:" if smallest else f"It shows at the sizes {sizes}:"


def target_of(fault: Fault) -> str:
    """Return what a user types for the reference with the fault."""
    return f"fault:{fault.id}"


def list_to_json(faults: Iterable[Fault]) -> dict[str, Any]:
    """Return the list as plain values."""
    return {"schema": SCHEMA, "faults": [_named(fault) for fault in faults]}


def fault_to_json(fault: Fault, seen: CaseReport) -> dict[str, Any]:
    """Return a fault as plain values, with the report on the smallest case that shows it."""
    return {
        "schema": SCHEMA,
        **_named(fault),
        "explanation": fault.explanation,
        "seen": fault.seen,
        "diff": diff(fault, seen.case.cell),
        "example": fault.example,
        "shown": case_to_json(seen, brief=True),
    }


def _named(fault: Fault) -> dict[str, str]:
    """Return what every list says of a fault."""
    return {"id": fault.id, "family": fault.family, "title": fault.title}
