"""A failing case on a page: where it goes wrong, what is wrong, and how to run it again."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lstm_checks.cases import Case
from lstm_checks.html.drawing import draw_cell
from lstm_checks.html.equations import Wrong, box_of, equations_of, wrong_by_diff
from lstm_checks.html.levels import digits, field_of_credit, field_of_tolerance, number, share_in_words
from lstm_checks.html.parts import Cell, Command, Diff, Facts, Map, Section, Source, SourceLine, Table, Words
from lstm_checks.html.scatter import scatter_of
from lstm_checks.words import first_few, series

Plain = Mapping[str, Any]

MOST_COLUMNS = 24
"""How many columns a tensor's map has at most; wider ones are a table alone."""

MOST_MAPS, MOST_DOTS = 2, 4
"""Of how many of the wrong tensors the entries are a map, and how many scatters there are; the worst ones."""

WHAT_FAILS = 12
"""How many wrong tensors are named in a row."""

FOLDED = 5
"""From how many failed claims on their table is folded."""


def sections_of(failure: Plain, looked: Plain, which: str) -> Iterator[Section]:
    """Yield the sections on a failing case.

    Parameters
    ----------
    failure : mapping
        As `judging.json.case_to_json` tells it.
    looked : mapping
        As `judging.look.look` tells it; empty where nobody looked.
    which : str
        What is said of it where there are several; else empty.
    """
    case = Case.parse(failure["case"])
    wrong = [claim for claim in failure["claims"] if claim["verdict"] == "fail"]
    yield Section(f"Where{which}", [*_head(failure, wrong, case), *_without(looked)])
    yield Section("Each tensor", list(_by_tensor(case, failure["claims"])), 3)
    if looked.get("steps"):
        yield Section("Step by step", list(_steps(looked["steps"])), 3)
    if looked.get("credit"):
        yield Section("Where credit is lost", list(_credit(looked["credit"])), 3)
    if looked.get("larger"):
        yield Section("Entry by entry", list(_entries(looked["larger"], looked["case"])), 3)
    yield Section(f"What{which}", list(_what(failure, wrong)))
    yield from _in_source(failure, looked)
    if looked.get("larger"):
        yield from _came_against_due(looked["larger"], _relations(failure))
    yield Section("The cell", [_drawing(case, failure, looked, wrong)], 3)
    if looked.get("rerun"):
        yield Section(f"Run it again{which}", [Command("this case alone, with what is said of it", looked["rerun"])])


def _head(failure: Plain, wrong: Sequence[Plain], case: Case) -> list[Any]:
    """Return what fails, in words, before any map."""
    pairs = [("case", f"{case.descriptor}: {case.sizes_in_words}, {case.dtype}, values {case.regime}")]
    pairs += [("fails", first_few([claim["claim"] for claim in wrong], WHAT_FAILS, WHAT_FAILS - 1))] if wrong else []
    pairs += [(name, str(failure[name])) for name in ("pattern", "chance") if failure.get(name)]
    pairs += [("hint", hint) for hint in failure.get("hints", [])]
    of = failure.get("explains")
    pairs += [("examples", f"what fails here fails in {of[0]} of {of[1]} failing examples")] if of else []
    rows = [(claim["claim"], claim.get("message") or claim.get("reason", ""), _extent(claim)) for claim in wrong]
    table = Table(
        "What fails, outputs first",
        ["claim", "what came of it", "extent"],
        rows,
        len(rows) > FOLDED,
    )
    return [Facts(pairs), table]


def _extent(claim: Plain) -> str:
    """Return how many entries are wrong, and which."""
    if not claim.get("size"):
        return ""
    where = f" ({claim['where']})" if claim.get("where") else ""
    return f"{claim['wrong']} of {claim['size']} entries{where}"


def _without(looked: Plain) -> list[Words]:
    """Return why there are no numbers to look at, where there are none."""
    if not looked:
        return [Words(["Nobody looked at the entries: the report has no numbers of them."])]
    return [Words([f"No maps: {looked['without']}."])] if looked.get("without") else []


def _by_tensor(case: Case, claims: Sequence[Plain]) -> Iterator[Map]:
    """Yield two maps of all tensors, place by place: the gates' gradients by gate and kind, and the others."""
    known = {claim["claim"]: claim for claim in claims}
    cell = case.cell.places[0].cell if case.cell.places else case.cell
    places = [(f"{place.words}: ", place.suffix) for place in case.cell.places] or [("", "")]
    kinds = list(dict.fromkeys(name[:-1] for name in cell.parameters if name[-1] in cell.gates))
    rows = []
    for words, end in places:
        for gate in cell.gates:
            names = [f"d{kind}{gate}{end}" if f"{kind}{gate}" in cell.parameters else "" for kind in kinds]
            rows.append((f"{words}gate {gate}", [_of_claim(known, name) for name in names]))
    how = "how many times its tolerance each is off, at its worst entry"
    yield Map(f"Gradients of the gates' parameters: {how}", "gate", [f"d{kind}" for kind in kinds], rows)
    further = [f"d{name}" for name in cell.parameters if name[-1] not in cell.gates]
    finals = [name.removesuffix(places[0][1]) for name in case.cell.outputs[1:]]
    finals = [name for name in dict.fromkeys(finals) if f"{name}{places[0][1]}" in case.cell.outputs]
    initial = [f"d{state.name}0" for state in cell.states]
    others, whole = [*further, *finals[: len(cell.states)], *initial], [case.cell.outputs[0], "dX"]
    if not case.cell.places:
        others, whole = [*whole, *others], []
    rows = [(words.rstrip(": ") or "all", [_of_claim(known, f"{n}{end}") for n in others]) for words, end in places]
    yield Map(f"The other tensors: {how}", "of", others, rows, "")
    if whole:
        yield Map(
            f"Of the whole network: {how}", "of", whole, [("all", [_of_claim(known, name) for name in whole])], ""
        )


def _of_claim(known: Mapping[str, Plain], name: str) -> Cell:
    """Return the field of a tensor; an empty one where there is no claim about it."""
    claim = known.get(name)
    if not name or claim is None:
        return Cell("nothing", "", f"{name}: no claim" if name else "there is none")
    if claim["verdict"] in ("pass", "fail"):
        found = field_of_tolerance(claim["use"], name)
        return found if claim["verdict"] == "pass" else Cell(found.level, found.mark, f"{found.told}; fails")
    marks = {"vacuous": "vac.", "inconclusive": "inc.", "unsupported": "uns."}
    reason = f": {claim['reason']}" if claim.get("reason") else ""
    return Cell("nothing", marks.get(claim["verdict"], ""), f"{name} is {claim['verdict']}{reason}")


def _steps(steps: Plain) -> Iterator[Any]:
    """Yield the map of gates and steps."""
    if steps["without"]:
        yield Words([f"No map: {steps['without']}."])
        return
    rows = {**steps["rows"], **steps["solved"]}
    if not rows:
        return
    count = max(map(len, rows.values()))
    yield Map(
        "How many times the tolerance each is off at each step, at its worst entry",
        "step",
        [str(t + 1) for t in range(count)],
        [(n, [field_of_tolerance(v, f"{n} at step {t + 1}") for t, v in enumerate(row)]) for n, row in rows.items()],
    )
    told = [f"h and dX as they came in case {steps['case']}."]
    told += (
        [
            f"{series(list(steps['solved']))}, the cotangents of the gates' linear activations, are not shown by the "
            f"target: they are solved for from dU in case {steps['solved_case']}, which has elements enough for that."
        ]
        if steps["solved"]
        else ["The gates' cotangents could not be solved for from dU, so that there are no rows of them."]
    )
    yield Words(told)


def _credit(credit: Plain) -> Iterator[Any]:
    """Yield the map of output steps and input steps."""
    if credit["without"]:
        yield Words([f"No map: {credit['without']}."])
        return
    rows = []
    for k, t in enumerate(credit["outputs"]):
        columns = zip(*(credit[word][k] for word in ("use", "share", "came", "due")), strict=True)
        cells = [
            field_of_credit(number(use), share, number(came), number(due), f"dX at step {j + 1}, of h at step {t}")
            for j, (use, share, came, due) in enumerate(columns)
        ]
        rows.append((f"h at step {t}", cells))
    count = max(len(cells) for _, cells in rows)
    yield Map(
        "How much of what is due arrives in dX at each step, of the cotangent of h at one step alone",
        "dX at step",
        [str(j + 1) for j in range(count)],
        rows,
        "credit",
    )
    yield Words(
        [
            f"A row a call, in case {credit['case']}: the cotangent of h is zero at all steps but one. The share is "
            "the multiple of what is due that fits best what came."
        ]
    )


def _entries(larger: Plain, smallest: Plain) -> Iterator[Any]:
    """Yield the worst tensors' entries, as a map where they fit in one, and as a table; then the failing case's."""
    head = ["entry", "came", "due", "accepted ±", "off by"]
    for k, tensor in enumerate(larger["tensors"]):
        if k < MOST_MAPS and (drawn := _as_map(tensor, larger["case"])) is not None:
            yield drawn
        size = _product(tensor["shape"])
        rows = _entry_rows(tensor)
        which = f"all {size} entries" if len(rows) == size else f"the worst {len(rows)} of {size} entries"
        yield Table(f"{tensor['name']} in case {larger['case']}: {which}, the worst first", head, rows, folded=True)
    if larger["left_out"]:
        yield Words([f"Wrong besides: {first_few(larger['left_out'], WHAT_FAILS, WHAT_FAILS - 1)}."])
    if smallest["case"] != larger["case"]:
        rows = [row for tensor in smallest["tensors"] for row in _entry_rows(tensor)]
        yield Table(f"The entries in the failing case, {smallest['case']}", head, rows, folded=True)


def _entry_rows(tensor: Plain) -> list[tuple[str, ...]]:
    """Return a row of numbers for each entry that is told."""
    columns = zip(_indices(tensor), *(tensor[word] for word in ("came", "due", "accepted", "use")), strict=True)
    return [(index, *map(digits_of, numbers), share_in_words(number(use))) for index, *numbers, use in columns]


def digits_of(value: Any) -> str:
    """Return a number as float64 has it, or the word for what is none."""
    return value if isinstance(value, str) else f"{value:.17g}"


def _product(shape: Sequence[int]) -> int:
    """Return how many entries there are."""
    size = 1
    for n in shape:
        size *= int(n)
    return size


def _indices(tensor: Plain) -> list[str]:
    """Return what each entry that is told is called: "dVf[2, 0]"."""
    found = []
    for flat in tensor["flat"]:
        index, left = [], int(flat)
        for n in reversed(tensor["shape"]):
            left, at = divmod(left, int(n))
            index.append(str(at))
        found.append(f"{tensor['name']}[{', '.join(reversed(index))}]")
    return found


def _as_map(tensor: Plain, case: str) -> Map | None:
    """Return a tensor's entries as a map, the last axis in columns; None where that is too wide, or not all is told."""
    shape = [int(n) for n in tensor["shape"]]
    size = _product(shape)
    if not shape or shape[-1] > MOST_COLUMNS or len(tensor["flat"]) < size or size // shape[-1] > 2 * MOST_COLUMNS:
        return None
    cells: dict[int, Cell] = {}
    for index, flat, came, due, use in zip(
        _indices(tensor), *(tensor[word] for word in ("flat", "came", "due", "use")), strict=True
    ):
        told = f"{index} came {digits(number(came))}, due {digits(number(due))}"
        cells[int(flat)] = field_of_tolerance(use, told)
    width = shape[-1]
    rows = []
    for k in range(size // width):
        left, at = k, []
        for n in reversed(shape[:-1]):
            left, one = divmod(left, n)
            at.append(str(one))
        rows.append((f"[{', '.join(reversed(at))}]", [cells[k * width + j] for j in range(width)]))
    axes = ", ".join(word or "1" for word in tensor["axes"])
    caption = f"{tensor['name']} ({axes}) in case {case}: {tensor['wrong']} of {size} entries wrong"
    return Map(caption, "entry", [str(j) for j in range(width)], rows)


def _what(failure: Plain, wrong: Sequence[Plain]) -> Iterator[Any]:
    """Yield what the diagnosis says."""
    found = failure.get("diagnosis")
    if found is None:
        yield Words(["Nothing was looked for beyond what failed."])
        return
    pairs = []
    suspects = found["suspects"]
    for k, named in enumerate(suspects):
        before = "no catalogued fault fits everywhere; here as with " if k == 0 and named["refuted"] else ""
        pairs.append(("or" if k else "suspect", f"{before}{named['fault']}: {named['title']} ({named['sure']})"))
    if not suspects and found.get("catalogue", True):
        pairs.append(("suspect", "no catalogued fault fits"))
    pairs += [("relation", text) for text in found["relations"]]
    pairs += [("layout", found["layout"])] if found["layout"] else []
    pairs += [("where", text) for text in found["where"]]
    yield Facts(pairs)
    for named in suspects[:1]:
        if named["certain"] and named["diff"]:
            yield Diff(f"{named['fault']}, as a change of the reference", named["diff"])


def _relations(failure: Plain) -> list[str]:
    """Return the sentences on how what came follows from what is due."""
    found = failure.get("diagnosis")
    return [] if found is None else list(found["relations"])


def _in_source(failure: Plain, looked: Plain) -> Iterator[Section]:
    """Yield the user's own lines that are wrong, and the edit that mends them."""
    parts: list[Any] = []
    contexts = list(looked.get("source", ()))
    for k, line in enumerate(failure.get("lines", ())):
        around = contexts[k] if k < len(contexts) else {"first": line["line"], "lines": [line["text"]]}
        parts.append(_source(line, around))
    for fix in failure.get("fixes", ())[:1]:
        parts.append(Diff(f"The fix: so changed, all is right in {fix['cases']} cases", fix["diff"]))
    if parts:
        yield Section("In your own source", parts, 3)


def _source(line: Plain, around: Plain) -> Source:
    """Return a wrong line with those around it, its wrong part marked."""
    numbers = {line["line"], *line["also"]}
    shown = []
    for k, text in enumerate(around["lines"]):
        at, before, marked, after = around["first"] + k, text, "", ""
        if at == line["line"] and line["column"] >= 0:
            indent = len(text) - len(text.lstrip()) if text.strip() == line["text"] else 0
            start = indent + line["column"]
            before, marked = text[:start], text[start : start + len(line["word"])]
            after = text[start + len(line["word"]) :]
        shown.append(SourceLine(at, before, marked, after, at in numbers))
    path = os.path.relpath(line["path"]) if os.path.isabs(line["path"]) else line["path"]
    path = line["path"] if path.startswith("..") else path
    return Source(f"{path}, line {line['line']}", shown, line["shown"])


def _came_against_due(seen: Plain, relations: Sequence[str]) -> Iterator[Section]:
    """Yield the scatters of the worst tensors."""
    parts = []
    for tensor in seen["tensors"][:MOST_DOTS]:
        own = [text for text in relations if re.search(rf"\b{re.escape(tensor['name'])}\b", text)]
        if (drawn := scatter_of(tensor, seen["case"], _indices(tensor), own)) is not None:
            parts.append(drawn)
    if parts:
        yield Section("Came against due", parts, 3)


def _drawing(case: Case, failure: Plain, looked: Plain, claims: Sequence[Plain]) -> Any:
    """Return the drawing of the cell: in red what the suspected fault changes, or what was shown to go wrong first."""
    wrong, because = _in_red(case, failure, looked)
    return draw_cell(case.cell, wrong, {claim["claim"] for claim in claims}, because)


def _in_red(case: Case, failure: Plain, looked: Plain) -> tuple[Wrong, str]:
    """Return what is drawn in red, and how that is known."""
    equations = equations_of(case.cell)
    found = failure.get("diagnosis") or {"suspects": ()}
    for named in found["suspects"][:1]:
        if named["certain"] and (wrong := wrong_by_diff(equations, named["diff"])):
            return wrong, f"what the suspected fault, {named['fault']}, changes"
    for line in failure.get("lines", ()):
        names = [box_of(equations, word) or word for word in re.findall(r"\w+", line["shown"].partition(" of ")[0])]
        if boxes := frozenset(names) & {*equations.statements, *equations.inputs}:
            return Wrong(boxes), f"with which in line {line['line']} of the source tensors come right"
    solved = (looked.get("steps") or {}).get("solved") or {}
    off = {box_of(equations, name.partition("_")[0] + "_") for name, row in solved.items() if _off(row)}
    return Wrong(frozenset(filter(None, off))), "whose cotangents depart, solved for from dU"


def _off(row: Sequence[Any]) -> bool:
    """Return whether any of some shares of a tolerance is more than all of it."""
    return any(not number(value) <= 1 for value in row)
