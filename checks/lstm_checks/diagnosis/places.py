"""Where a target goes wrong, with no catalogued fault that fits: tensors, gates, samples and steps, by experiment.

Nothing here is guessed. Each line says what came of calls that were made: with one output step's or one sample's
cotangents alone, with an input zero, with all gates but one held open or shut. And since dU is the sum of X^T dk_ over
samples and steps, where there are more elements than samples times steps it can be solved for dk_: what the target
took for the cotangents of its gates, step by step, though it never shows them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import islice, product

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import call_target
from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import DCN, DHN, LAST, PLAIN, Target
from lstm_checks.diagnosis.observe import (
    Array,
    Observation,
    counted_in,
    departs,
    due_on,
    gate_sums,
    in_general,
    observe_once,
    of_other_sizes,
    slack,
    suited,
    wrong_entries,
)
from lstm_checks.diagnosis.relation import axes_in_words
from lstm_checks.diagnosis.work import Spare
from lstm_checks.words import few, series
from lstm_ref.cell import evaluate_forward

PLACES = (
    Case(4, 5, 3, 3, seed=131),
    Case(2, 5, 5, 3, seed=132),
    Case(3, 6, 2, 4, seed=133),
    Case(2, 9, 3, 2, seed=134),
)
"""Cases on which cotangents are given one at a time."""

SOLVABLE = (
    Case(2, 4, 14, 3, seed=135),
    Case(1, 6, 12, 4, seed=136),
    Case(3, 3, 16, 2, seed=137),
    Case(1, 10, 20, 3, seed=138),
)
"""Cases with so many more elements than samples times steps that dU is solved for dk_ with no loss to speak of."""


MAPPED = 12
"""Of how many steps a map of output and input steps is told at most: a longer one nobody reads."""

FEW = 3
"""How many tensors are named that are ever wrong."""


def delta(gate: str) -> str:
    """Return the name of the cotangent of a gate's linear activation."""
    return f"d{gate}_"


NORMAL_VALUES = "for normal values, "
"""How a line begins that is so of these, where the failing case's are others."""

Wrong = Mapping[str, Array]


def locate(
    target: Target,
    failing: Case,
    spare: Spare,
    evidence: Sequence[Set[str]] = (),
    ruled: bool = False,
) -> list[str]:
    """Return what is found out about where the target goes wrong, a line each.

    Parameters
    ----------
    target : Target
    failing : Case
        A case that fails.
    spare : Spare
        Whether more may be tried.
    evidence : sequence of sets of str
        The tensors that are wrong in each example of the run; none where it is right.
    ruled : bool
        Whether a rule is known by which cases fail; then no other sizes or regimes are named.
    """
    lines: list[str] = []
    case, wrong = _failing_case(target, PLACES)
    if case is None:
        case, wrong = _failing_case(target, (grown(target, failing),))
        lines += _of_conditions(target, failing) if case is not None and not ruled else ()
    if case is None:
        return lines
    forward = bool(set(wrong) & set(target.cell.outputs))
    lines += of_tensors(target, *wrong_in_cases(target, case, evidence))
    places: list[str] = []
    for asked, search in SEARCHES.values():
        if asked in (EITHER, FORWARD if forward else BACKWARD) and spare():
            places += _everywhere(search, target, case)
    if not forward and spare():
        places += _of_gate_cotangents(target, case)
    return [*lines, *(of_normal_values(place, case, failing) for place in places)]


def of_normal_values(line: str, case: Case, failing: Case) -> str:
    """Return a line with the values of which it is so, where those of the failing case are others.

    Where gates are saturated an error may be lost in rounding, and what departs first may be seen later.
    """
    return f"{NORMAL_VALUES}{line}" if case.regime == "normal" != failing.regime else line


def _other_values(target: Target, case: Case, count: int = 2) -> list[Case]:
    """Return some failing cases with other values."""
    others = (replace(case, seed=case.seed + k) for k in range(50, 54 + count))
    return list(islice((other for other in others if wrong_entries(target, other)), count))


def _everywhere(search: Callable[[Target, Case], Iterator[str]], target: Target, case: Case) -> list[str]:
    """Return what is found on a case, with other values, and at other sizes than those that it counts, too.

    What hangs on the values is no place, and what is so for one number of samples is none either.
    """
    found: dict[Case, set[str]] = {}

    def holds(line: str, again: Sequence[Case]) -> bool:
        for one in again:
            if one not in found:
                there = [also.removesuffix(_of(one)) for also in search(target, one)]
                found[one] = {*there, *map(in_general, there)}
        return all(line in found[one] for one in again)

    lines = [line.removesuffix(_of(case)) for line in search(target, case)]
    if not lines:
        return []
    values = _other_values(target, case)
    told = []
    for line in lines:
        general = in_general(line)
        elsewhere = of_other_sizes(target, case, counted_in(general)) if general != line else []
        if elsewhere and holds(general, [*values, *elsewhere]):
            told.append(general)
            continue
        again = [*values, *of_other_sizes(target, case, counted_in(line))]
        if holds(line, again):
            told.append(line if again else line + _of(case))
    return told


def _of(case: Case) -> str:
    """Return how a line ends that is said of one case alone."""
    return f" (case {case.descriptor})"


def grown(target: Target, failing: Case) -> Case:
    """Return a failing case with each of its sizes larger where it still fails: there chance explains less."""
    case = failing
    if target.compiles:
        return case
    # Not all at once: a size on which the failure hangs stays as it is, the others grow.
    for size, more in (("s", 3), ("m", 2), ("u", 2), ("e", 2)):
        larger = replace(case, **{size: getattr(case, size) + more})
        if wrong_entries(target, larger):
            case = larger
    return case


def _of_conditions(target: Target, case: Case) -> Iterator[str]:
    """Yield what it takes to go wrong, of a case that fails where the usual ones do not."""
    if not case.sequences and LAST not in target.lacks and not _wrong_in(target, _of_every_step(case)):
        yield "right where every step's output is asked for, wrong where the last one's is alone (sequences=False)"
    larger = [
        size for size in ("m", "s", "e", "u") if not _wrong_in(target, replace(case, **{size: getattr(case, size) + 1}))
    ]
    sizes = [f"{size}={getattr(case, size)}" for size in larger]
    together = replace(case, **{size: getattr(case, size) + 1 for size in larger})
    if (
        sizes
        and all(wrong_entries(target, replace(case, seed=case.seed + k)) for k in range(tolerance.PLACE_VALUES))
        # Where two sizes go wrong that are one, each is right alone, and both together are not.
        and not (len(larger) > 1 and _wrong_in(target, together))
    ):
        alone = " alone" if len(larger) > 1 else ""
        more = [f"{size}={getattr(case, size) + 1}{alone}" for size in larger]
        yield f"wrong at {series(sizes)}, right at {series(more)}"
    if case.regime != "normal" and not _wrong_in(target, replace(case, regime="normal")):
        yield f"wrong for values of the regime {case.regime}, right at the same sizes for normal ones"


def _of_every_step(case: Case) -> Case:
    """Return a case with cotangents of every step in place of the last one's."""
    return replace(case, cotangents=case.cotangents.replace("last", "every"))


def _wrong_in(target: Target, case: Case) -> bool:
    """Return whether a case is answered wrongly, or not judged, for any of some values."""
    return any(wrong_entries(target, replace(case, seed=case.seed + k)) != {} for k in range(tolerance.PLACE_VALUES))


def _failing_case(target: Target, cases: Sequence[Case]) -> tuple[Case | None, Wrong]:
    """Return the case in which most tensors are wrong, fitted to what the target can do, and what is wrong there."""
    most: tuple[Case | None, Wrong] = (None, {})
    for case in cases:
        asked = suited(target, case)
        wrong = wrong_entries(target, asked) if asked is not None else None
        if wrong and len(wrong) > len(most[1]):
            most = (asked, wrong)
    return most


def wrong_in_cases(target: Target, case: Case, evidence: Sequence[Set[str]] = ()) -> tuple[Sequence[Set[str]], str]:
    """Return which tensors are wrong in each failing case of several, and in how many these are, in words."""
    places = (suited(target, place) for place in (*PLACES, *SOLVABLE[:2]))
    asked = [c for c in places if c is not None]
    asked += [case] if case not in asked else []
    asked += [replace(case, seed=case.seed + k) for k in range(1, tolerance.PLACE_VALUES)]
    found = [wrong_entries(target, c) for c in asked]
    count = sum(wrong is not None for wrong in found) + len(evidence)
    return [set(wrong) for wrong in (*found, *evidence) if wrong], f"in {count} cases"


def of_tensors(target: Target, failing: Sequence[Set[str]], tried: str) -> Iterator[str]:
    """Yield which tensors are wrong in any of several cases, where they are few or of one kind."""
    ever = set().union(*failing)
    if len(ever) <= FEW and any(wrong != ever for wrong in failing):
        # Which are wrong hangs on the values: then others may be, for others.
        return
    gates = {name[2] for name in ever if len(name) == 3 and name[1] in "UVb" and name[2] in target.cell.gates}
    parameters = {name for name in ever if name[1:] in target.cell.parameters}
    gates_of = {name for name in ever if name[2:] in gates}
    if len(ever) <= FEW:
        gate = f" (gate {next(iter(gates))})" if len(gates) == 1 and parameters == ever else ""
        yield (
            f"only {series(sorted(ever))}{gate} is ever wrong {tried}"
            if len(ever) == 1
            else (f"only {series(sorted(ever))}{gate} are ever wrong {tried}")
        )
    elif parameters == ever and gates_of == ever and len(gates) < len(target.cell.gates):
        if any({gate for gate in gates if any(n[2:] == gate for n in wrong)} != gates for wrong in failing):
            # Which gates are wrong hangs on the values, too.
            return
        yield f"only gradients of gate{'s' if len(gates) > 1 else ''} {series(sorted(gates))} are ever wrong {tried}"
    elif parameters == ever:
        others = [name for name in ("dX", *(f"d{n}" for n in target.cell.initial)) if name not in target.lacks]
        are = f"; {series(others)} {'are' if len(others) > 1 else 'is'} right" if others else ""
        yield f"only gradients of parameters are ever wrong {tried}{are}"


def _of_entries(target: Target, case: Case) -> Iterator[str]:
    """Yield which units, elements or samples are wrong, where they are some and the same in all wrong tensors."""
    wrong = wrong_entries(target, case) or {}
    for label in ("units", "rows", "elements", "samples"):
        found = set()
        for name, entries in wrong.items():
            names = axes_in_words(name, case.cell, entries.ndim)
            if label in names:
                axis = names.index(label)
                hit = np.flatnonzero(entries.any(axis=tuple(k for k in range(entries.ndim) if k != axis)))
                found.add((tuple(int(k) for k in hit), entries.shape[axis]))
        if len(found) == 1:
            ((hits, count),) = found
            if len(hits) < count:
                yield f"wrong at {label[:-1]}{_steps(hits, count)} alone"


def _of_inputs(target: Target, case: Case) -> Iterator[str]:
    """Yield which inputs or cotangents need only be zero for the target to be right."""
    right = []
    arrays = dict(case.arrays)
    cell = case.cell
    every, *finals = cell.cotangents
    groups: dict[str, tuple[str, ...]] = {name: (name,) for name in (*cell.initial, *finals, every, "X")}
    groups |= {f"all {kind}": tuple(f"{kind}{k}" for k in cell.gates) for kind in "Vb"}
    by_kind = [f"{kind}{gate}" for kind in "UVb" for gate in cell.gates]
    groups |= {name: (name,) for name in (*by_kind, *(n for n in cell.parameters if n not in by_kind))}
    for words, names in groups.items():
        if not any(arrays[name].any() for name in names):
            continue
        if wrong_entries(target, case, case.arrays.replaced(**{n: np.zeros_like(arrays[n]) for n in names})) == {}:
            right.append(words)
    single = [words for words in right if not words.startswith("all")]
    said = [w for w in right if not w.startswith("all") or not any(one.startswith(w[-1]) for one in single)]
    if 0 < len(said) <= 4:
        yield f"right where {series(said, 'or')} {'is' if not said[0].startswith('all') else 'are'} zero"


def _of_size_of_cotangents(target: Target, case: Case) -> Iterator[str]:
    """Yield for how large cotangents the target is right, or of which sign, where that decides."""
    right = {}
    for words, factor in (
        ("2^-20 times as large", 2.0**-20),
        ("2^20 times as large", 2.0**20),
        ("of the other sign", -1.0),
    ):
        arrays = case.arrays.replaced(**{name: value * factor for name, value in case.arrays.cotangents.items()})
        answer = call_target(target, arrays.copy(), case.sequences)
        # A power of two is exact, so that what comes is what was due times it, and so is the tolerance.
        values = {name: value if name in case.cell.outputs else value / factor for name, value in answer.values.items()}
        scaled = replace(answer, values=values)
        seen = Observation(case, due_on(case), scaled, scaled, (), (), target.lacks)
        right[words] = not answer.error and not seen.wrong
    said = [words for words, is_right in right.items() if is_right]
    if said:
        yield f"right for cotangents {series(said, 'or')}, so not linear in them"


def _of_steps(target: Target, case: Case) -> Iterator[str]:
    """Yield for which output step's cotangents, given alone, the target is wrong, and at which input steps."""
    if not case.sequences:
        yield from _of_final_states(target, case)
        return
    s, marks, outputs = case.s, [], []
    for t in range(s):
        alone = np.zeros_like(case.arrays["dh"])
        # The pullback is linear, so that it may be asked about one step's cotangents at a time, whatever they are.
        alone[:, t] = case.arrays["dh"][:, t] if case.arrays["dh"][:, t].any() else 1
        wrong = wrong_entries(target, case, case.arrays.replaced(dh=alone, **no_final(case)))
        if wrong is None:
            return
        outputs += [t] if wrong else []
        marks.append(_wrong_steps(wrong.get("dX"), s))
    if outputs and len(outputs) < s:
        yield f"wrong for cotangents of output step{_steps(outputs, s)} alone, right for those of the others"
    elif not outputs:
        yield from _of_final_states(target, case)
        return
    inputs = sorted(set().union(*marks))
    if not inputs or s > MAPPED:
        return
    # If the distance t - j alone decides, no step is special, and "k steps back" says all of it.
    lags = {t - j for t in range(s) for j in marks[t]}
    everywhere = all((t - j in lags) == (j in marks[t]) for t in range(s) for j in range(t + 1))
    if any(j > t for t in range(s) for j in marks[t]):
        yield f"dX is not zero at steps after the output whose cotangent is given: {_map(marks)}"
    elif everywhere and lags != set(range(s)) and lags:
        lost = sorted(lags)
        from_on = lost == list(range(lost[0], s))
        yield (
            f"credit goes wrong {lost[0]} step{'s' if lost[0] > 1 else ''} back{' and further' if from_on else ''}: "
            if from_on or len(lost) == 1
            else "credit goes wrong " + series([str(k) for k in lost]) + " steps back: "
        ) + _map(marks)
    elif len(inputs) < s:
        yield f"dX goes wrong at input step{_steps(inputs, s)}: {_map(marks)}"
    elif any(len(mark) < t + 1 for t, mark in enumerate(marks)):
        yield f"where credit goes wrong: {_map(marks)}"


def no_final(case: Case) -> dict[str, Array]:
    """Return the final states' cotangents as zero."""
    _, *finals = case.cell.cotangents
    return {name: np.zeros_like(case.arrays[name]) for name in finals}


def _of_final_states(target: Target, case: Case) -> Iterator[str]:
    """Yield that it takes a final state's cotangent to go wrong."""
    nothing = {name: np.zeros_like(value) for name, value in case.arrays.cotangents.items()}
    if wrong_entries(target, case, case.arrays.replaced(**no_final(case))) != {}:
        return
    found = []
    for name, words, lack in (("dhn", "hidden", DHN), ("dCn", "memory", DCN)):
        if lack in target.lacks or name not in nothing:
            continue
        alone = nothing | {name: np.ones_like(nothing[name])}
        if wrong_entries(target, case, case.arrays.replaced(**alone)):
            found.append(words)
    if found:
        yield f"right for cotangents of the outputs alone, wrong for the final {series(found)} state's"


def _wrong_steps(wrong: Array | None, s: int) -> list[int]:
    """Return at which steps a tensor over steps is wrong."""
    return [] if wrong is None else [j for j in range(s) if wrong[:, j].any()]


def _map(marks: Sequence[Sequence[int]]) -> str:
    """Return the map of output steps and input steps: a word an output step, a letter an input step."""
    words = ["".join("x" if j in mark else "." for j in range(t + 1)) for t, mark in enumerate(marks)]
    return " ".join(words) + " (a word an output step, a letter an input step of dX, x wrong)"


def _of_samples(target: Target, case: Case) -> Iterator[str]:
    """Yield for which sample's cotangents, given alone, the target is wrong."""
    found = []
    for n in range(case.m):
        alone = {}
        for name, value in case.arrays.cotangents.items():
            alone[name] = np.zeros_like(value)
            alone[name][n] = value[n]
        if wrong_entries(target, case, case.arrays.replaced(**alone)):
            found.append(n)
    if found and len(found) < case.m:
        yield f"wrong for cotangents of sample{_steps(found, case.m)} alone, right for those of the others"
    elif not found:
        yield "right for the cotangents of any one sample alone, wrong for all together"


def _of_forward_steps(target: Target, case: Case) -> Iterator[str]:
    """Yield at which steps, samples and units h is wrong."""
    wrong = wrong_entries(target, case) or {}
    if "h" not in wrong:
        if case.cell.finals:
            yield "h is right, the final memory state Cn is not"
        return
    if wrong["h"].ndim < 3:
        return
    if case.m > 1 and np.array_equal(wrong["h"].any(axis=(1, 2)), np.arange(case.m) > 0):
        yield "of h, only the first sample is right"
        return
    said = []
    for axis, words, count in ((1, "step", case.s), (0, "sample", case.m), (2, "unit", wrong["h"].shape[2])):
        hit = np.flatnonzero(wrong["h"].any(axis=tuple(k for k in range(3) if k != axis)))
        if len(hit) < count:
            onwards = axis == 1 and len(hit) > 1 and list(hit) == list(range(hit[0], count))
            said.append(f"from step {hit[0] + 1} on" if onwards else f"at {words}{_steps(list(hit), count)}")
    if said:
        yield f"h is wrong {', '.join(said)}"


def _of_single_gates(target: Target, case: Case) -> Iterator[str]:
    """Yield which gate is wrong by itself at a single step, the others held open or shut by their biases."""
    if not target.takes_states or set(target.absent) & set(target.cell.inputs) or case.cell is not PLAIN:
        return  # what opens and shuts the gates of other cells is not their biases alone
    single = replace(case, s=1)
    if target.limits.refused(single.sizes):
        return

    def wrong_with(biases: Mapping[str, float], C0: Array) -> Mapping[str, Array] | None:
        inputs = {f"b{gate}": np.full_like(single.arrays.p[f"b{gate}"], bias) for gate, bias in biases.items()}
        for gate in biases:
            inputs |= {f"{kind}{gate}": np.zeros_like(single.arrays.p[f"{kind}{gate}"]) for kind in "UV"}
        return _wrong_outputs(target, single, single.arrays.replaced(**inputs, C0=C0))

    # Held at 1 or 0 to the bit, the other gates drop out of what comes: each call looks at one gate.
    # Of a memory of usual size: what becomes of a large one is not the gate's doing.
    memory = np.tanh(single.arrays["C0"])
    shut = {"f": tolerance.HELD, "i": -tolerance.HELD, "g": 0.0}
    kept, saturated = (
        wrong_with(shut, memory),
        wrong_with({"f": -tolerance.HELD, "i": tolerance.HELD, "g": tolerance.HELD}, 0 * memory),
    )
    if kept is None or saturated is None:
        return
    if "Cn" in kept:
        # A gate is looked at through Cn; what comes there in place of a memory that is kept tells of no gate.
        yield f"Cn is not C0 after a single step in which biases of {tolerance.HELD:g} hold f open and i shut"
        return
    # What is looked at is all but the gate itself: C_ = f C0; C_ = i; C_ = g; h = o * 0.76.
    held = {
        "g": ({"f": -tolerance.HELD, "i": tolerance.HELD}, "Cn"),
        "f": ({"i": -tolerance.HELD}, "Cn"),
        "i": ({"f": -tolerance.HELD, "g": tolerance.HELD}, "Cn"),
        "o": ({"f": -tolerance.HELD, "i": tolerance.HELD, "g": tolerance.HELD}, "h"),
    }
    wrong_gates: list[str] = []
    right_gates: list[str] = []
    for gate, (biases, output) in held.items():
        wrong = wrong_with(biases, memory)
        if wrong is None or output in target.lacks:
            return
        (wrong_gates if output in wrong else right_gates).append(gate)
    if "Cn" in saturated and "f" in right_gates:
        # Then what is held open is not, and of the gates looked at through it nothing is told.
        held_open = f"biases of {tolerance.HELD:g} hold f shut, i open and g open"
        yield f"gate f is right by itself at a single step; Cn is not 1 after one in which {held_open}"
        return
    h_wrong = False
    for held_at, words in _all_held():
        wrong = wrong_with(held_at, memory)
        if wrong is None:
            return
        if "Cn" in wrong:
            # Then the gates are not put together as they should be, and none is told from what is made of it.
            yield words
            return
        h_wrong = h_wrong or "h" in wrong
    if "Cn" in saturated:
        return
    if "o" in wrong_gates and h_wrong:
        # What is wrong where o is held open or shut is no doing of o's.
        wrong_gates.remove("o")
        if not wrong_gates:
            yield "Cn is right after a single step, and so are f, i and g; h, made of it and gate o, is not"
            return
    if wrong_gates and right_gates:
        several = len(wrong_gates) > 1
        wrong_by = (
            f"gates {series(wrong_gates)} are wrong by themselves"
            if several
            else f"gate {wrong_gates[0]} is wrong by itself"
        )
        yield f"{wrong_by} at a single step, {series(right_gates)} right"
    elif wrong_gates:
        yield "each gate by itself is wrong at a single step"
    else:
        yield "each gate by itself is right at a single step"


def _wrong_outputs(target: Target, case: Case, arrays: Arrays) -> Wrong | None:
    """Return which entries of h and Cn are wrong for other values; gradients vanish where all gates are held."""
    answer = call_target(target, arrays.copy(), case.sequences, backward=False)
    if answer.error:
        return None
    due = evaluate_forward(case.cell, arrays.astype(np.float64))
    sd, wrong = slack(due, due_on(case)), {}
    for name in case.cell.outputs:
        came = answer.values.get(name)
        if isinstance(came, np.ndarray):
            due_here, sd_here = (answer.shaped(name, of[name], case.cell) for of in (due, sd))
            if came.shape == due_here.shape:
                wrong[name] = departs(came.astype(np.float64), due_here, sd_here, case.dtype)
    return {name: entries for name, entries in wrong.items() if entries.any()}


def _all_held() -> Iterator[tuple[dict[str, float], str]]:
    """Yield biases that hold every gate open or shut, g open or 0, and that Cn is not what it should be then."""
    # With f, i and g at 0 or 1, C_ is one of four numbers, whatever the activations between: where it is another,
    # the gates are put together wrongly.
    for f, i, g, o in product((1, 0), (0, 1), (0, 1), (1, 0)):
        held = {"f": 2 * f - 1, "i": 2 * i - 1, "g": g, "o": 2 * o - 1}
        states = [f"{gate} {'open' if at > 0 else 'shut'}" for gate, at in held.items() if at]
        due = ("0", "1", "C0", "C0 + 1")[2 * f + i * g]
        yield (
            {gate: tolerance.HELD * at for gate, at in held.items()},
            f"Cn is not {due} after a single step in which biases of {tolerance.HELD:g} hold {series(states)}"
            + ("" if g else ", g being 0"),
        )


def _of_gate_cotangents(target: Target, failing: Case) -> Iterator[str]:
    """Yield which of the gates' cotangents, solved for from dU, departs first in backward order."""
    right_everywhere, gates = "", target.cell.gates
    solved = " ".join(delta(gate) for gate in gates)
    # dU = sum of X^T dk_ has as many equations for dk_ as there are elements, and an unknown for each sample and step.
    # Two more elements than that make it overdetermined, so that a dU that is made of no dk_ at all is seen as such.
    for case in (*SOLVABLE, replace(failing, e=failing.m * failing.s + 2)):
        asked = suited(target, case)
        if asked is None:
            continue
        wrong = wrong_entries(target, asked)
        if not wrong or any(f"dU{gate}" in target.lacks for gate in gates):
            continue
        if not any(f"dU{gate}" in wrong for gate in gates):
            others = sorted(wrong)
            # Of a single step, or of few units, what is passed on may be wrong and have gone nowhere yet.
            if all(
                sorted(wrong_entries(target, other) or ()) == others
                for other in _solvable_at_other_sizes(target, asked, "")
            ):
                right_everywhere = right_everywhere or (
                    f"{solved}, solved for from dU, are right at every step; "
                    f"{series(others)}, made from them, {'is' if len(others) == 1 else 'are'} not"
                )
            continue
        made = {gate: {f"dV{gate}", f"db{gate}"} & gate_sums(target.cell) for gate in gates}
        alone = [f"dU{gate}" for gate in gates if f"dU{gate}" in wrong and not made[gate] <= set(wrong)]
        if alone and any(
            (there := wrong_entries(target, other)) is None
            or alone != [f"dU{gate}" for gate in gates if f"dU{gate}" in there and not made[gate] <= set(there)]
            for other in (*_other_values(target, asked), *_solvable_at_other_sizes(target, asked, ""))
        ):
            return
        if alone:
            # df_ cannot be at fault where dbf, its plain sum, is right: then X^T df_ is.
            verb = "is" if len(alone) == 1 else "are"
            yield f"{series(alone)} {verb} wrong where dV or db, made from the same, is right"
            return
        # A place that hangs on the values may be the same for two or three draws of them.
        again = _other_values(target, asked, 2 * tolerance.PLACE_VALUES)
        if "dX" not in target.lacks and not {"dX", *(f"d{n}" for n in target.cell.initial)} & set(wrong):
            # dX at a step is made of u cotangents a gate, and where e is no less it can be right by them alone.
            if asked.e >= len(gates) * asked.u:
                yield from _of_sums(target, [asked, *again], wrong)
                return
            continue
        first, *elsewhere = (_departing_together(target, one) for one in (asked, *again))
        if first is None:
            continue
        # Samples and units are named where they are the same for other values.
        for places in (True, False):
            lines = list(_first_departing(first, asked.s, places))
            known = [other for other in elsewhere if other is not None]
            if not all(lines == list(_first_departing(other, asked.s, places)) for other in known):
                continue
            for said, kept in ((list(map(in_general, lines)), ""), (lines, "s")):
                resized = _solvable_at_other_sizes(target, asked, kept + "".join(map(counted_in, said)))
                seen = [(c, there) for c in resized if (there := _departing_together(target, c)) is not None]
                there_said = [list(_first_departing(there, c.s, places)) for c, there in seen]
                if kept and all(lines == other for other in there_said):
                    yield from lines
                    return
                if not kept and seen and said != lines and all(said == list(map(in_general, o)) for o in there_said):
                    yield from said
                    return
        return
    if right_everywhere:
        yield right_everywhere


def _solvable_at_other_sizes(target: Target, case: Case, kept: str) -> list[Case]:
    """Return failing cases of other sizes, with elements enough to solve dU for the gates' cotangents."""
    others = of_other_sizes(target, case, kept + "e")
    gates = len(case.cell.gates)
    enough = (replace(c, e=max(c.m * c.s + 2, gates * c.u * (case.e >= gates * case.u))) for c in others)
    return [other for other in enough if wrong_entries(target, other)]


def _of_sums(target: Target, cases: Sequence[Case], wrong: Wrong) -> Iterator[str]:
    """Yield that the sums over samples and steps are wrong and what they are made of is right; and whose part is."""
    names = [name for name in wrong if name[1] in "UVb"]
    if not set(wrong) <= gate_sums(target.cell):
        return  # of what else goes into it nothing has been solved for
    sums = "the sum over samples and steps, is not" if len(names) == 1 else "sums over samples and steps, are not"
    solved = " ".join(delta(gate) for gate in target.cell.gates)
    yield f"{solved}, solved for from dX, are right at every step; {few(names)}, {sums}"
    for axis, word, size in ((1, "step", "s"), (0, "sample", "m")):
        others = tuple(k for k in range(3) if k != axis)

        def parts(asked: Sequence[Case], word: str = word, others: tuple[int, ...] = others) -> Iterator[str]:
            for found in (departing(target, case) for case in asked):
                if found is not None:
                    hit = np.any([mask.any(axis=others) for mask in found.values()], axis=0)
                    which = [int(k) for k in np.flatnonzero(hit)]
                    yield f"{word}{_steps(which, hit.size)}" if 0 < len(which) < hit.size else ""

        here = set(parts(cases))
        if len(here) != 1 or "" in here:
            continue
        (part,) = here
        general, resized = in_general(part), _solvable_at_other_sizes(target, cases[0], "")
        if general != part and resized and {in_general(said) for said in parts(resized)} == {general}:
            part = general
        elif not {*parts(_solvable_at_other_sizes(target, cases[0], size))} <= here:
            continue
        yield f"in dU it is the part of {part} that is wrong (solved for from dU)"


def departing(target: Target, case: Case) -> dict[str, Array] | None:
    """Return where (m, s, u) each gate's cotangent, solved for from dU, departs; None if dU cannot come from any."""
    found = solved_for(target, case, {gate: f"dU{gate}" for gate in case.cell.gates})
    return None if found is None else _departs(found)


def _departing_together(target: Target, case: Case) -> dict[str, Array] | None:
    """Return the same where db and dX are made of what was solved for; else dU goes wrong by itself."""
    came, gates = observe_once(target, case).came, case.cell.gates
    found, made = solved_for(target, case, {gate: f"dU{gate}" for gate in gates}), gate_sums(target.cell)
    if found is None:
        return None
    sums = {f"db{gate}": (solved.sum((0, 1)), accepted.sum((0, 1))) for gate, (solved, _, accepted) in found.items()}
    weights = [case.arrays[f"U{gate}"].astype(np.float64).T for gate in gates]
    passed = [(found[gate][0] @ U, found[gate][2] @ np.abs(U)) for gate, U in zip(gates, weights, strict=True)]
    sums["dX"] = np.sum([value for value, _ in passed], axis=0), np.sum([accepted for _, accepted in passed], axis=0)
    for name in made & came.keys() & sums.keys():
        value, accepted = sums[name]
        rounding = tolerance.SIGMAS * due_on(case).sd[name] + tolerance.SOLVED * np.max(np.abs(came[name]))
        if not np.all(np.abs(came[name].reshape(value.shape) - value) <= accepted + rounding.reshape(value.shape)):
            return None
    return _departs(found)


def _departs(found: Mapping[str, tuple[Array, Array, Array]]) -> dict[str, Array]:
    """Return where what was solved for is not what is due."""
    return {gate: ~(np.abs(solved - due) <= accepted) for gate, (solved, due, accepted) in found.items()}


def solved_for(target: Target, case: Case, names: Mapping[str, str]) -> dict[str, tuple[Array, Array, Array]] | None:
    """Return for what each gradient X^T dk_ is solved for dk_: what came, what is due, and what is accepted, (m, s, u).

    `names` has each gradient by what it is to be called. None where one is lacking, or cannot come from any dk_.
    """
    X = case.arrays["X"].reshape(-1, case.e).astype(np.float64)
    # X.T (e, m s) has full column rank where e >= m s, for values drawn at random: then dk_ is the only solution, and
    # what is left of dU beside it can come of no dk_. Rounding is bounded by the sums of sizes, with no cancellation.
    inverse = np.linalg.pinv(X.T)
    observation, expected = observe_once(target, case), due_on(case)
    found = {}
    for called, name in names.items():
        if name not in observation.came:
            return None
        came, sd = observation.came[name], expected.sd[name]
        solved = inverse @ came
        rounding = tolerance.SIGMAS * (np.abs(X.T) @ np.abs(inverse) @ sd + sd) + tolerance.SOLVED * np.max(
            np.abs(came)
        )
        if not np.all(np.abs(X.T @ solved - came) <= rounding):
            return None
        due = inverse @ expected.values[name]
        accepted = tolerance.SIGMAS * (np.abs(inverse) @ sd) + tolerance.SOLVED * np.max(np.abs(due))
        rows = (case.m, case.s, -1)
        found[called] = (solved.reshape(rows), due.reshape(rows), accepted.reshape(rows))
    return found


def _first_departing(found: Mapping[str, Array], s: int, places: bool) -> Iterator[str]:
    """Yield the gates and steps that depart, or where they depart first going back in time; samples and units, too."""
    steps = {gate: [t for t in range(s) if wrong[:, t].any()] for gate, wrong in found.items()}
    gates = [gate for gate in found if steps[gate]]
    if not gates:
        return
    everywhere = {tuple(steps[gate]) for gate in gates}
    alone = len(everywhere) == 1 and len(steps[gates[0]]) < s and (len(gates) < len(found) or len(steps[gates[0]]) == 1)
    # Where nothing is passed on, all that departs is looked at; else the first place, before it spreads.
    last = max(t for gate in gates for t in steps[gate])
    there = gates if alone else [gate for gate in found if last in steps[gate]]
    wrong = np.any([found[gate] if alone else found[gate][:, [last]] for gate in there], axis=0)
    names, verb = series([delta(gate) for gate in there]), "departs" if len(there) == 1 else "depart"
    only = ""
    for axis, words in ((0, "sample"), (2, "unit")) if places else ():
        hit = np.flatnonzero(wrong.any(axis=(1, 2) if axis == 0 else (0, 1)))
        only += f", {words}{_steps([int(k) for k in hit], wrong.shape[axis])}" if len(hit) < wrong.shape[axis] else ""
    if alone:
        yield f"{names} {verb} at step{_steps(steps[gates[0]], s)} alone{only} (solved for from dU)"
        return
    right = [delta(gate) for gate in found if gate not in there]
    beside = f", {series(right)} right there" if right else ""
    yield f"going back in time, {names} {verb} first, at step {last + 1} of {s}{only}{beside} (solved for from dU)"


def _steps(found: Sequence[int], count: int) -> str:
    """Return numbers counted from 1, as they follow "step" or "sample": "s 1 and 3 of 4"."""
    return f"{'s' if len(found) > 1 else ''} {series([str(k + 1) for k in found])} of {count}"


EITHER, FORWARD, BACKWARD = "either pass", "a wrong forward pass", "a wrong backward pass"

SEARCHES: dict[str, tuple[str, Callable[[Target, Case], Iterator[str]]]] = {
    "inputs and cotangents, each set to zero": (EITHER, _of_inputs),
    "nothing, and h is compared step by step": (FORWARD, _of_forward_steps),
    "biases, which hold all gates but one open or shut": (FORWARD, _of_single_gates),
    "nothing, and gradients are compared entry by entry": (BACKWARD, _of_entries),
    "the size and the sign of the cotangents": (BACKWARD, _of_size_of_cotangents),
    "which output step alone has a cotangent": (BACKWARD, _of_steps),
    "which sample alone has a cotangent": (BACKWARD, _of_samples),
}
"""The searches by what they vary, in their order: of which pass each is asked, and the search."""
