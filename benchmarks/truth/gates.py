"""Whether it is the gates that a line names that are wrong: their values, their cotangents, and where a limit decides.

The cotangents are solved for twice: from dU where there are more elements than samples times steps, and from dX where
there are more elements than gates times units. Where the two differ, the sums are wrong and not the cotangents.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from truth.evidence import (
    FEWEST,
    NAME,
    NAMES,
    NUMBER,
    Evidence,
    Said,
    Seen,
    Verdict,
    judge_share,
    listed,
    passes,
    roundoff,
)
from truth.forms import numbers, where
from truth.readings import logistic_function

from lstm_checks.calling import call_target
from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import PLAIN, Target
from lstm_checks.faults.model import Fault, planted


def gates_wrong(evidence: Evidence) -> dict[str, bool]:
    """Return for each gate whether its own value is wrong in a single step.

    For a planted patch by the intermediates of the patched reference; else by what is known of the fault; else
    solved for: f from the memories of two C0, o from h and the memory, i and g where the other is saturated.
    """
    faults = evidence.known_fault()
    if evidence.truth.forward is not None:
        return {gate: gate in evidence.truth.forward for gate in PLAIN.gates}
    if faults and all(fault.patches and not fault.wrap for fault in faults):
        return _gates_of_patch(faults)
    return _gates_solved(evidence)


def _gates_of_patch(faults: tuple[Fault, ...]) -> dict[str, bool]:
    """Return which gates' values depart in the first step of the patched reference."""
    kernel = planted(tuple(faults))
    found = dict.fromkeys(PLAIN.gates, False)
    for seed in range(730_000, 730_008):
        arrays = Case(3, 1, 3, 4, seed=seed, regime="x10" if seed % 2 else "normal").arrays
        due, _ = passes(arrays)
        with np.errstate(all="ignore"):
            came = kernel.forward(arrays.p, arrays["X"], arrays["h0"], arrays["C0"])
        for gate in PLAIN.gates:
            found[gate] = found[gate] or not np.allclose(came[gate], due[gate], rtol=1e-13, atol=1e-14)
    return found


def _gates_solved(evidence: Evidence) -> dict[str, bool]:
    """Return which gates' values, solved for from outputs at one step, depart."""
    found = dict.fromkeys(PLAIN.gates, False)
    for seed in range(730_000, 730_006):
        case = Case(3, 1, 3, 4, evidence.case.dtype, seed=seed)
        arrays = case.arrays.astype(np.float64)
        due = _step(arrays)
        share = 1e-10 if case.dtype == "float64" else 1e-3

        def ask(case: Case = case, **changed: Any) -> tuple[Any, Any]:
            seen = evidence.look(case, **{n: np.asarray(v, case.dtype) for n, v in changed.items()})
            if seen is None or "Cn" not in seen.came:
                return np.full((3, 4), np.nan), np.full((3, 4), np.nan)
            return seen.came["h"].reshape(3, 4), seen.came["Cn"]

        off = {k: v * 0 for k, v in arrays.p.items() if k[0] in "UV"}
        _, one = ask(C0=np.full_like(arrays["C0"], 0.5))
        h, two = ask(C0=np.full_like(arrays["C0"], -0.5))
        _, of_i = ask(C0=arrays["C0"] * 0, bg=np.full_like(arrays.p["bg"], 25.0), Ug=off["Ug"], Vg=off["Vg"])
        _, of_g = ask(C0=arrays["C0"] * 0, bi=np.full_like(arrays.p["bi"], 45.0), Ui=off["Ui"], Vi=off["Vi"])
        came = {"f": one - two, "o": h / np.tanh(two), "i": of_i, "g": of_g}
        for gate in PLAIN.gates:
            found[gate] = found[gate] or not np.all(np.abs(came[gate] - due[gate]) <= share)
    return found


def _step(arrays: Arrays) -> dict[str, Any]:
    """Return the gates' values of the first step."""
    k = {
        g: arrays["X"][:, 0] @ arrays.p["U" + g] + arrays["h0"] @ arrays.p["V" + g] + arrays.p["b" + g]
        for g in PLAIN.gates
    }
    return {gate: np.tanh(v) if gate == "g" else logistic_function(v) for gate, v in k.items()}


def _judge_gates(evidence: Evidence, wrong: set[str], right: set[str]) -> Verdict:
    """Judge which gates are wrong by themselves, and which right."""
    found = gates_wrong(evidence)
    if blamed := {gate for gate in wrong if not found[gate]}:
        return Verdict(Said.FALSE, f"gate {', '.join(sorted(blamed))} is right")
    if cleared := {gate for gate in right if found[gate]}:
        return Verdict(Said.FALSE, f"gate {', '.join(sorted(cleared))} is wrong")
    return Verdict(Said.HELPFUL)


@where(
    r"gates? ([figo](?:(?:, | and )[figo])*) (?:is|are) wrong by (?:itself|themselves) at a single step, "
    r"([figo](?:(?:, | and )[figo])*) right"
)
def _gates_alone(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which gates are wrong by themselves."""
    return _judge_gates(evidence, set(listed(match[1])), set(listed(match[2])))


@where(
    r"gate f is (right|wrong) by itself at a single step; "
    r"Cn is not 1 after one in which biases of 40 hold f shut, i open and g open"
)
def _gate_f(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that gate f is right or wrong, and that what is made of i and g does not saturate."""
    told = []
    for seed in range(730_100, 730_110):
        # Where a step's input is zero, it may be that alone.
        regime = "padded" if evidence.case.regime == "padded" else "normal"
        case = Case(3, 1, 3, 4, evidence.case.dtype, regime, seed=seed)
        p = case.arrays.p
        changed = {f"b{g}": np.full_like(p[f"b{g}"], 40) for g in "ig"} | {
            f"{k}{g}": np.zeros_like(p[f"{k}{g}"]) for k in "UV" for g in "fig"
        }
        changed["bf"] = np.full_like(p["bf"], -40)
        seen = evidence.look(case, C0=np.zeros_like(case.arrays["C0"]), **changed)
        told.append(None if seen is None else "Cn" in seen.wrong)
    return judge_share(told, "Cn is not 1") or _judge_gates(
        evidence, {"f"} & {match[1] == "wrong" and "f"}, {"f"} & {match[1] == "right" and "f"}
    )


@where(r"Cn is right after a single step, and so are f, i and g; h, made of it and gate o, is not")
def _only_output(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that of a single step h alone is wrong."""
    told = ["Cn" not in seen.wrong and "h" in seen.wrong for seen in evidence.failing(s=1)]
    if not told:
        return Verdict(Said.FALSE, "right at every single step")
    return judge_share(told, "is so") or _judge_gates(evidence, set(), set("fig"))


@where(r"each gate by itself is (right|wrong) at a single step")
def _no_gate(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that no gate is wrong by itself, or that each is."""
    gates = set(PLAIN.gates)
    return _judge_gates(evidence, set(), gates) if match[1] == "right" else _judge_gates(evidence, gates, set())


def _solved_from_sums(seen: Seen) -> dict[str, Any] | None:
    """Return where (m, s, u) each gate's cotangent, solved for from dU, departs; None if no cotangents give dU."""
    X = seen.arrays["X"].reshape(-1, seen.case.e).astype(np.float64)
    found = {}
    for gate in PLAIN.gates:
        name = f"dU{gate}"
        if name not in seen.came:
            return None
        solved, *_ = np.linalg.lstsq(X.T, seen.came[name], rcond=None)
        due, *_ = np.linalg.lstsq(X.T, seen.due[name], rcond=None)
        left = np.abs(X.T @ solved - seen.came[name])
        blur = np.abs(np.linalg.pinv(X.T)) @ seen.accepted[name] + 1e-12 * np.max(np.abs(due), initial=0)
        if np.any(left > seen.accepted[name] + np.abs(X.T) @ blur):
            return None
        found[gate] = ~(np.abs(solved - due) <= 4 * blur).reshape(seen.case.m, seen.case.s, seen.case.u)
    return found


def _solved_from_inputs(seen: Seen) -> dict[str, Any] | None:
    """Return the same from dX; None where there are too few elements, or dX comes of no cotangents."""
    u = seen.case.u
    if seen.case.e < 4 * u or "dX" not in seen.came:
        return None
    U = np.hstack([seen.arrays.p["U" + gate].astype(np.float64) for gate in PLAIN.gates])
    inverse = np.linalg.pinv(U)
    solved, due = seen.came["dX"] @ inverse.T, seen.due["dX"] @ inverse.T
    blur = seen.accepted["dX"] @ np.abs(inverse.T) + 1e-12 * np.max(np.abs(due), initial=0)
    if np.any(np.abs(solved @ U.T - seen.came["dX"]) > seen.accepted["dX"] + blur @ np.abs(U.T)):
        return None
    wrong = ~(np.abs(solved - due) <= 4 * blur)
    return {gate: wrong[..., k * u : (k + 1) * u] for k, gate in enumerate(PLAIN.gates)}


DELTAS = {"df_": "f", "di_": "i", "dg_": "g", "do_": "o"}


def _solvable(evidence: Evidence, s: int | None = None, **fixed: int) -> list[Seen]:
    """Return fresh failing cases at which the cotangents can be solved for both ways."""
    found = []
    for k in range(60):
        own = evidence.case
        m, steps, u = fixed.get("m", 1 + k % 2), s or fixed.get("s", 1 + k % 5), fixed.get("u", 2 + k % 2)
        if k % 4 == 1 and own.m * (s or own.s) <= 60:
            # What hangs on the failing case's sizes shows there.
            m, steps = fixed.get("m", own.m), s or fixed.get("s", own.s)
            u = fixed.get("u", min(own.u, 20))
        case = Case(m, steps, max(m * steps, 4 * u) + 3 + k // 2 % 2, u, evidence.case.dtype, seed=740_000 + k)
        if k % 4 > 1:
            case = replace(case, cotangents=evidence.case.cotangents, states=evidence.case.states)
        if k % 3 == 1 and evidence.regime in ("x1e-3", "mixed", "x10", "padded"):
            case = replace(case, regime=evidence.regime)
        seen = evidence.look(case)
        if seen is not None and seen.wrong:
            found.append(seen)
        if len(found) == 20:
            break
    return found


def _wrong_deltas(evidence: Evidence, seen: Seen) -> dict[str, Any] | None:
    """Return where the gates' cotangents depart, as both ways of solving agree; by the patch where one is planted."""
    faults = evidence.known_fault()
    if faults and all(fault.patches and not fault.wrap for fault in faults):
        kernel = planted(tuple(faults))
        arrays = seen.arrays.astype(np.float64)
        with np.errstate(all="ignore"):
            fc = kernel.forward(arrays.p, arrays["X"], arrays["h0"], arrays["C0"])
            bc = kernel.backward(arrays.p, fc, arrays["dh"], arrays["dhn"], arrays["dCn"])
        _, due = passes(arrays)
        return {
            gate: ~(np.abs(bc[f"d{gate}_"] - due[f"d{gate}_"]) <= 1e-13 * np.max(np.abs(due[f"d{gate}_"]), initial=0))
            for gate in PLAIN.gates
        }
    if evidence.truth.recording is not None:
        return _recorded(evidence.truth.recording(), seen)
    sums, inputs = _solved_from_sums(seen), _solved_from_inputs(seen)
    if sums is None:
        return None
    if inputs is not None and evidence.truth.deltas is None:
        return {gate: sums[gate] & inputs[gate] for gate in PLAIN.gates}
    return sums


def _recorded(target: Target, seen: Seen) -> dict[str, Any]:
    """Return where each gate's cotangent departs, of a target that keeps them."""
    call_target(target, seen.arrays.copy(), seen.case.sequences)
    kept, (_, due) = inspect.unwrap(target.call).__globals__["kept"], passes(seen.arrays)
    found = {}
    # Some tens of roundings of the largest of a step in any gate: what is wrong is wrong by more, and a gate that is
    # nearly shut has a cotangent that is small, and no more precise for that.
    largest = np.max([np.abs(due[f"d{gate}_"]) for gate in PLAIN.gates], axis=(0, 1, 3))[:, None]
    for gate in PLAIN.gates:
        came = np.stack([kept[t][gate].T for t in range(seen.case.s)], axis=1).astype(np.float64)
        blur = (2.0**8 if seen.case.dtype == "float64" else 2.0**6) * roundoff(seen.case.dtype) * largest
        found[gate] = ~(np.abs(came - due[f"d{gate}_"]) <= blur)
    return found


@where(rf"df_ di_ dg_ do_, solved for from dU, are right at every step; ({NAMES}), made from them, (?:is|are) not")
def _deltas_right(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that all gates' cotangents are right and some tensors made from them wrong."""
    said = set(listed(match[1]))
    if evidence.truth.deltas:
        return Verdict(Said.FALSE, f"the cotangents of gate {evidence.truth.deltas} are planted wrong")
    told, failing = [], _solvable(evidence)
    for seen in failing:
        found = _wrong_deltas(evidence, seen)
        if set(seen.wrong) & said:
            right = evidence.truth.deltas == "" or (found and not any(mask.any() for mask in found.values()))
            told.append(bool(found is not None and right and set(seen.wrong) <= said))
    if failing and not told:
        return Verdict(Said.FALSE, f"{match[1]} is right on {len(failing)} fresh failing cases")
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(
    rf"df_ di_ dg_ do_, solved for from dX, are right at every step; ({NAMES})(?:,? and \d+ more)?, "
    r"(?:the sum|sums) over samples and steps, (?:is|are) not"
)
def _sums_alone(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that the cotangents are right and the sums made of them wrong."""
    if evidence.truth.deltas:
        return Verdict(Said.FALSE, f"the cotangents of gate {evidence.truth.deltas} are planted wrong")
    said, told = set(listed(match[1])), []
    for seen in _solvable(evidence):
        kept = evidence.truth.recording
        found = _recorded(kept(), seen) if kept is not None else _solved_from_inputs(seen)
        if set(seen.wrong) & said:
            right = evidence.truth.deltas == "" or (found and not any(mask.any() for mask in found.values()))
            told.append(None if found is None else bool(right))
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"in dU it is the part of (step|sample)s? ([\d, and]+) of (\d+) that is wrong \(solved for from dU\)")
def _part_of_dU(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge of which steps or samples the part in dU is wrong."""
    axis, size = {"step": (1, "s"), "sample": (0, "m")}[match[1]]
    said, told = set(numbers(match[2])), []
    for seen in _solvable(evidence, **{size: int(match[3])}):
        found = _solved_from_sums(seen)
        if found is not None and any(mask.any() for mask in found.values()):
            other = tuple(k for k in range(3) if k != axis)
            hit = np.any([mask.any(axis=other) for mask in found.values()], axis=0)
            told.append(set(np.flatnonzero(hit).tolist()) == said)
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(
    r"Cn is not (0|1|C0|C0 \+ 1) after a single step in which biases of 40 hold "
    r"([figo] (?:open|shut)(?:(?:, | and )[figo] (?:open|shut))*|f open and i shut)(?:, g being 0)?"
)
def _not_kept(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that a memory is not what it should be where the gates are held open or shut."""
    held = {"g": 0.0} | {word[0]: 45.0 if word[2:] == "open" else -45.0 for word in listed(match[2])}
    f, i, g = held["f"] > 0, held["i"] > 0, held["g"] > 0
    if match[1] != ("0", "1", "C0", "C0 + 1")[2 * f + (i and g)]:
        return Verdict(Said.FALSE, f"{match[1]} is not due there")
    told = []
    for seed in range(730_200, 730_210):
        regime = "padded" if evidence.case.regime == "padded" else "normal"
        case = Case(3, 1, 3, 4, evidence.case.dtype, regime, seed=seed)
        p = case.arrays.p
        changed = {f"b{g}": np.full_like(p[f"b{g}"], bias) for g, bias in held.items()}
        changed |= {f"{kind}{g}": np.zeros_like(p[f"{kind}{g}"]) for kind in "UV" for g in held}
        seen = evidence.look(case, **changed)
        told.append(None if seen is None or "Cn" not in seen.came else "Cn" in seen.wrong)
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(rf"({NAMES}) (?:is|are) wrong where dV or db, made from the same, is right")
def _sum_alone(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that dU is wrong where dV or db of the same gate is right."""
    told = []
    for seen in _solvable(evidence):
        for name in listed(match[1]):
            if name in seen.wrong:
                told.append(not {f"dV{name[2]}", f"db{name[2]}"} <= set(seen.wrong))
    if not told:
        return Verdict(Said.FALSE, f"{match[1]} is right on fresh cases")
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


PLACES_OF = r"((?:, (?:sample|unit)s? [\d, and]+ of \d+)*)"


@where(
    rf"(going back in time, )?((?:d[figo]_)(?:(?:, | and )d[figo]_)*) departs?(?: first, at step (\d+) of (\d+)| at "
    rf"steps? ([\d, and]+) of (\d+) alone){PLACES_OF}(?:, ((?:d[figo]_)(?:(?:, | and )d[figo]_)*) right there)? "
    r"\(solved for from dU\)"
)
def _departs(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which gates' cotangents depart, and at which step going back in time they depart first."""
    gates = {DELTAS[word] for word in listed(match[2])}
    right = {DELTAS[word] for word in listed(match[8])} if match[8] else set(PLAIN.gates) - gates
    truth = evidence.truth
    if truth.deltas is not None and not gates <= set(truth.deltas):
        what = f"of gate {truth.deltas} alone" if truth.deltas else "of no gate: the sums are wrong"
        return Verdict(Said.FALSE, f"the cotangents are planted wrong {what}")
    s = int(match[4] or match[6])
    sizes = {}
    places = re.findall(r", (sample|unit)s? ([\d, and]+?) of (\d+)", match[7] or "")
    for label, _, count in places:
        sizes[{"sample": "m", "unit": "u"}[label]] = int(count)
    told: list[bool | None] = []
    for seen in _solvable(evidence, s, **sizes):
        found = _wrong_deltas(evidence, seen)
        if found is None:
            told.append(False)
            continue
        steps = {gate: {t for t in range(s) if found[gate][:, t].any()} for gate in PLAIN.gates}
        if not any(steps.values()):
            told.append(False)
            continue
        if match[3]:
            last = max(t for hit in steps.values() for t in hit)
            there = {gate for gate in PLAIN.gates if last in steps[gate]}
            good = last == int(match[3]) - 1 and there == gates and not there & right
        else:
            said = set(numbers(match[5]))
            last = None
            good = all(steps[gate] == said for gate in gates) and not any(steps[gate] for gate in right)
        for label, which, _ in places:
            axis = {"sample": 0, "unit": 2}[label]
            masks = [found[g] if last is None else found[g][:, [last]] for g in gates]
            hit = set(np.flatnonzero(np.any(masks, axis=0).any(axis=tuple(k for k in range(3) if k != axis))).tolist())
            good = good and hit == set(numbers(which))
        told.append(good)
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


VALUE = r"\|?(?:what is due|f|i|g|o|C_|h|Cp_|hp|dh_|dC_|do_|dg_|di_|df_)\|?"


@where(
    rf"((?:d[figo]_|{NAME})(?:(?:, | and )(?:d[figo]_|{NAME}))*) goe?s? wrong where (.+), "
    r"and nowhere else \(\d+ of \d+\)"
)
def _limit(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which value decides whether an entry is wrong."""
    names = listed(match[1])
    limits = re.findall(rf"({VALUE}) is (above|below) a limit between ({NUMBER}) and ({NUMBER})", match[2])
    if not limits:
        return Verdict(Said.UNJUDGED, "no known limit")
    agree = wrong_count = count = 0
    for seen in _limit_cases(evidence, names):
        masks = _limit_masks(evidence, seen, names)
        if masks is None:
            continue
        fc, bc = passes(seen.arrays)
        for mask, value_of in masks:
            predicted, unknown = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
            for word, side, low, high in limits:
                plain = word.strip("|")
                value = value_of(plain, fc, bc)
                value = np.abs(value) if word.startswith("|") else value
                predicted |= value > float(high) if side == "above" else value < float(low)
                unknown |= (value >= float(low)) & (value <= float(high))
            known = ~unknown
            agree += int(np.sum((mask == predicted) & known))
            wrong_count += int(np.sum(mask & known))
            count += int(known.sum())
    if wrong_count < FEWEST or count - wrong_count < FEWEST:
        return Verdict(Said.UNJUDGED, f"{wrong_count} of {count} fresh entries wrong")
    share = agree / count
    if share < 0.98:
        return Verdict(Said.FALSE if share < 0.9 else Said.MISLEADING, f"so of {share:.0%} of {count} fresh entries")
    return Verdict(Said.HELPFUL)


def _limit_cases(evidence: Evidence, names: Sequence[str]) -> Iterator[Seen]:
    """Yield what the target gives on fresh cases, failing or not, of the sizes at which entries can be told."""
    for k in range(24):
        if set(names) & set(PLAIN.outputs):
            case = Case(6, 1, 4, 8, evidence.case.dtype, seed=750_000 + k)
        elif names[0] in DELTAS:
            case = Case(2, 2, 16, 3, evidence.case.dtype, seed=750_000 + k)
        else:
            case = Case(3, 2, 8, 8, evidence.case.dtype, seed=750_000 + k)
        if k % 2 and evidence.regime not in ("normal", "zero", "x100"):
            case = replace(case, regime=evidence.regime)
        seen = evidence.look(case)
        if seen is not None and not seen.error:
            yield seen


def _limit_masks(evidence: Evidence, seen: Seen, names: Sequence[str]) -> list[tuple[Any, Any]] | None:
    """Return which entries are wrong, and how to get the value of an intermediate at each."""
    if set(names) & set(PLAIN.outputs):
        shape = (seen.case.m, 1, seen.case.u)
        none = np.zeros(shape, bool)
        return [
            (seen.wrong[n].reshape(shape) if n in seen.wrong else none, lambda w, fc, bc: fc[w])
            for n in names
            if n in seen.came
        ]
    if names[0] in DELTAS:
        found = _wrong_deltas(evidence, seen)
        if found is None:
            return None
        return [(found[DELTAS[n]][:, -1], lambda w, fc, bc: (fc | bc)[w][:, -1]) for n in names]
    return [
        (seen.wrong.get(n, np.zeros(seen.due[n].shape, bool)), lambda w, fc, bc, n=n: seen.due[n])
        for n in names
        if n in seen.came
    ]


# In how many bits things come.


def _bits(values: Any) -> int:
    """Return with how many significant bits all of the values can be written."""
    parts = np.abs(np.frexp(values[np.isfinite(values) & (values != 0)])[0])
    whole = (np.ldexp(parts, bits) for bits in range(1, 54))
    return next((bits for bits, scaled in enumerate(whole, 1) if np.array_equal(scaled, np.rint(scaled))), 0)


_READ_OUT: dict[str, tuple[str, dict[str, float], float]] = {
    "f": ("Cn", {"i": -45.0, "g": 0.0}, 1.0),
    "i": ("Cn", {"g": 45.0, "f": -45.0}, 0.0),
    "g": ("Cn", {"i": 45.0, "f": -45.0}, 0.0),
    "o": ("h", {"f": 45.0, "i": -45.0, "g": 0.0}, 45.0),
}
"""By which output a gate is read, the others held open or shut, and from which memory."""


def _read_out(evidence: Evidence, gate: str) -> Any:
    """Return many values of a gate, as they come."""
    output, biases, memory = _READ_OUT[gate]
    found = []
    for seed in range(780_000, 780_004):
        case = Case(5, 1, 3, 6, evidence.case.dtype, seed=seed)
        p = case.arrays.p
        changed = {f"b{g}": np.full_like(p[f"b{g}"], bias) for g, bias in biases.items()}
        changed |= {f"{kind}{g}": np.zeros_like(p[f"{kind}{g}"]) for kind in "UV" for g in biases}
        seen = evidence.look(case, C0=np.full_like(case.arrays["C0"], memory), **changed)
        if seen is not None and output in seen.came:
            found.append(seen.came[output].ravel())
    return np.concatenate(found)


@where(r"(.+) comes? in (\d+) significant bits(?:, as .+ has)?")
def _in_bits(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that gates or tensors come in a number of significant bits; what is due does not."""
    said, whole = int(match[2]), 53 if evidence.case.dtype == "float64" else 24
    gates = re.search(r"\bgates? ([figo](?:(?:, | and )[figo]\b)*)", match[1])
    rest = match[1].replace(gates[0], "") if gates else match[1]
    for gate in listed(gates[1]) if gates else ():
        if _bits(_read_out(evidence, gate)) > said:
            return Verdict(Said.FALSE, f"gate {gate} comes in {_bits(_read_out(evidence, gate))}")
    for name in re.findall(rf"\b{NAME}\b", rest):
        values = [seen.came[name].ravel() for seen in evidence.failing() if name in seen.came]
        bits = _bits(np.concatenate(values)) if values else whole
        if bits > said:
            return Verdict(Said.FALSE, f"{name} comes in {bits}")
    if said >= whole - 2:
        return Verdict(Said.MISLEADING, "so does what is due")
    return Verdict(Said.HELPFUL)


_OPERANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "X U": ("X U", ("h", "Cn")),
    "h V": ("h0 V", ("h", "Cn")),
    "dk_ U^T": ("dCn U", ("dX",)),
    "dk_ V^T": ("dCn V", ("dh0",)),
    "X^T dk_": ("X dCn", ("dUf", "dUg")),
    "h^T dk_": ("h0 dCn", ("dVf", "dVg")),
}
"""What each product is of, after one step, and what it makes."""


def _goes_wrong(evidence: Evidence, product: str, bits: int) -> bool:
    """Return whether a product of operands with so many bits is wrong in one of some cases."""
    text, made = _OPERANDS[product]
    for seed in range(790_000, 790_003):
        case = Case(4, 1, 5, 6, evidence.case.dtype, seed=seed)
        changed: dict[str, Any] = {}
        for name, value in case.arrays.items():
            of = name[0] if name in case.arrays.p else name
            if of in text.split():
                scale = np.exp2(bits - 1 - np.floor(np.log2(np.abs(value))))
                changed[name] = (np.floor(value * scale) / scale).astype(value.dtype)
            elif "dCn" in text:
                changed[name] = np.full_like(value, 0.5 if of == "C0" else 0)
            elif of in ("X", "U", "h0", "V"):
                changed[name] = np.zeros_like(value)
        seen = evidence.look(case, **changed)
        if seen is not None and set(seen.wrong) & set(made):
            return True
    return False


@where(r"(.+) (?:is|are) wrong where operands have (\d+) significant bits, right where they have (\d+), as .+ has")
def _of_operands(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that products take operands of no more than so many bits."""
    for product in re.split(r", | and ", match[1]):
        if not _goes_wrong(evidence, product, int(match[2])):
            return Verdict(Said.FALSE, f"{product} is right with {match[2]}")
        if _goes_wrong(evidence, product, int(match[3])):
            return Verdict(Said.FALSE, f"{product} is wrong with {match[3]}")
    return Verdict(Said.HELPFUL)
