"""Whether it is in the tensors, samples, steps and units that a line names that the target goes wrong."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from truth.evidence import (
    NAMES,
    PARAMETER_GRADIENTS,
    Evidence,
    Said,
    Verdict,
    axis_of,
    judge_share,
    listed,
    passes,
)
from truth.forms import numbers, where

from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN


def _ever_wrong(evidence: Evidence) -> set[str]:
    """Return the tensors that are wrong on any fresh case."""
    return set().union(*(seen.wrong for seen in evidence.failing(60)), set())


@where(rf"only ({NAMES})(?: \(gate ([figo])\))? (?:is|are) ever wrong in \d+ cases(?: of other shapes)?")
def _only_tensors(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which tensors are ever wrong."""
    said, ever = set(listed(match[1])), _ever_wrong(evidence)
    if ever - said:
        return Verdict(Said.FALSE, f"{', '.join(sorted(ever - said))} on fresh cases, too")
    if evidence.truth.tensors is not None and not said <= evidence.truth.tensors:
        return Verdict(Said.FALSE, f"planted in {', '.join(sorted(evidence.truth.tensors))}")
    return Verdict(Said.HELPFUL)


@where(r"only gradients of gates? ([figo](?:(?:, | and )[figo])*) are ever wrong in \d+ cases(?: of other shapes)?")
def _only_gates(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge of which gates gradients are ever wrong."""
    said, ever = set(listed(match[1])), _ever_wrong(evidence)
    other = {name for name in ever if name not in PARAMETER_GRADIENTS or name[2] not in said}
    return Verdict(Said.FALSE, f"{', '.join(sorted(other))} on fresh cases, too") if other else Verdict(Said.HELPFUL)


@where(r"only gradients of parameters are ever wrong in \d+ cases(?: of other shapes)?; dX, dh0 and dC0 are right")
def _only_parameters(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that only parameters' gradients are ever wrong."""
    other = _ever_wrong(evidence) - set(PARAMETER_GRADIENTS)
    return Verdict(Said.FALSE, f"{', '.join(sorted(other))} on fresh cases, too") if other else Verdict(Said.HELPFUL)


@where(r"wrong at (unit|row|element|sample)s? ([\d, and]+) of (\d+) alone")
def _entries(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge at which units, rows, elements or samples alone the wrong tensors are wrong."""
    label, said, count = match[1] + "s", set(numbers(match[2])), int(match[3])
    size = {"units": "u", "rows": "u", "elements": "e", "samples": "m"}[label]
    told = []
    for seen in evidence.failing(**{size: count}):
        hits = set()
        for name, mask in seen.wrong.items():
            axis = axis_of(name, mask.ndim, label)
            if axis is not None and mask.shape[axis] == count:
                hits |= {int(k) for k in np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis)))}
        if hits:
            told.append(hits <= said)
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _groups(words: str) -> tuple[str, ...]:
    """Return the arrays that a word of a line names: "h0", "all V"."""
    return tuple(words[-1] + gate for gate in PLAIN.gates) if words.startswith("all ") else (words,)


@where(r"right where (?!every)(?:all )?(.+) (?:is|are) zero")
def _zeroed(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that an input or a cotangent need only be zero for the target to be right."""
    useless = []
    words = re.fullmatch(r"right where (.+) (?:is|are) zero", match[0])
    assert words is not None
    for word in listed(words[1]):
        names = _groups(word)
        told, idle = [], []
        for seen in evidence.failing():
            named = dict(seen.arrays)
            if any(name not in named for name in names):
                return Verdict(Said.UNJUDGED, f"no array {word}")
            if not any(named[name].any() for name in names):
                told.append(False)
                continue
            other = evidence.look(seen.case, **{name: np.zeros_like(named[name]) for name in names})
            if other is not None:
                told.append(not other.wrong)
                idle.append(all(not other.due[name].any() for name in seen.wrong))
        if (refused := judge_share(told, f"right with {word} zero")) is not None:
            return refused
        useless.append(bool(idle) and np.mean(idle) > 0.5)
    return Verdict(Said.NO_USE, "all that is wrong is due to be zero there") if all(useless) else Verdict(Said.HELPFUL)


@where(r"right for cotangents (.+), so not linear in them")
def _of_size(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge for how large cotangents, or of which sign, the target is right."""
    factors = {"2^-20 times as large": 2.0**-20, "2^20 times as large": 2.0**20, "of the other sign": -1.0}
    for words in re.split(r", | or ", match[1]):
        told = []
        for seen in evidence.failing():
            changed = {n: v * np.asarray(factors[words], v.dtype) for n, v in seen.arrays.cotangents.items()}
            other = evidence.look(seen.case, **changed)
            if other is not None:
                told.append(not other.wrong)
        if (refused := judge_share(told, f"right for cotangents {words}")) is not None:
            return refused
    return Verdict(Said.HELPFUL)


def _one_step(case: Case, t: int) -> dict[str, Any]:
    """Return cotangents of one output step alone."""
    dh = np.zeros_like(case.arrays["dh"])
    dh[:, t] = case.arrays["dh"][:, t] if case.arrays["dh"][:, t].any() else 1
    return {"dh": dh, "dhn": np.zeros_like(case.arrays["dhn"]), "dCn": np.zeros_like(case.arrays["dCn"])}


@where(r"wrong for cotangents of output steps? ([\d, and]+) of (\d+) alone, right for those of the others")
def _output_steps(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge for cotangents of which output steps, given alone, the target is wrong."""
    said, s = set(numbers(match[1])), int(match[2])
    told, never = [], True
    for seen in evidence.failing(20, s=s, cotangents="every+h+C", regime="normal"):
        found = [evidence.look(seen.case, **_one_step(seen.case, t)) for t in range(s)]
        if None not in found:
            wrong = {t for t in range(s) if found[t] is not None and found[t].wrong}
            if wrong:
                never = False
                told.append(wrong == said)
    if never and told == []:
        return Verdict(Said.FALSE, "right for the cotangents of any one output step")
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(
    r"(dX is not zero at steps after the output whose cotangent is given|credit goes wrong [^:]*|dX goes wrong at "
    r"input steps? [^:]*|where credit goes wrong): ([x. ]+) \(a word an output step.*\)"
)
def _credit(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge a map of output steps and input steps."""
    words = match[2].split(" ")
    s = len(words)
    told = []
    for seen in evidence.failing(20, s=s, cotangents="every+h+C", regime="normal"):
        found = [evidence.look(seen.case, **_one_step(seen.case, t)) for t in range(s)]
        if any(one is None for one in found):
            continue
        marks = []
        for t, one in enumerate(found):
            mask = one.wrong.get("dX") if one is not None else None
            marks.append("".join("x" if mask is not None and mask[:, j].any() else "." for j in range(t + 1)))
        if any("x" in mark for mark in marks):
            told.append(marks == words)
    return judge_share(told, "the map is so") or Verdict(Said.HELPFUL)


@where(r"right for cotangents of the outputs alone, wrong for the final (hidden and memory|hidden|memory) states?'s")
def _final_states(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that it takes a final state's cotangent to go wrong."""
    said = {"hidden": "dhn", "memory": "dCn"}
    named = {said[word] for word in listed(match[1])}
    told = []
    for seen in evidence.failing():
        zero = {name: np.zeros_like(value) for name, value in seen.arrays.cotangents.items()}
        without = evidence.look(seen.case, dhn=zero["dhn"], dCn=zero["dCn"])
        if without is None:
            continue
        good = not without.wrong
        for name in named:
            alone = evidence.look(seen.case, **(zero | {name: np.ones_like(zero[name])}))
            good = good and alone is not None and bool(alone.wrong)
        told.append(good)
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _one_sample(case: Case, n: int) -> dict[str, Any]:
    """Return cotangents of one sample alone."""
    alone = {name: np.zeros_like(value) for name, value in case.arrays.cotangents.items()}
    for name, value in case.arrays.cotangents.items():
        alone[name][n] = value[n]
    return alone


@where(r"wrong for cotangents of samples? ([\d, and]+) of (\d+) alone, right for those of the others")
def _samples(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge for cotangents of which samples, given alone, the target is wrong."""
    said, m = set(numbers(match[1])), int(match[2])
    told = []
    for seen in evidence.failing(20, m=m):
        found = [evidence.look(seen.case, **_one_sample(seen.case, n)) for n in range(m)]
        wrong = {n for n, one in enumerate(found) if one is not None and one.wrong}
        told.append(wrong == said)
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"right for the cotangents of any one sample alone, wrong for all together")
def _together(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that it takes several samples' cotangents to go wrong."""
    told = []
    for seen in evidence.failing(20):
        found = [evidence.look(seen.case, **_one_sample(seen.case, n)) for n in range(seen.case.m)]
        told.append(not any(one is not None and one.wrong for one in found))
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"h is right, the final memory state Cn is not")
def _only_memory(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that Cn is wrong and h is not."""
    told = ["h" not in seen.wrong and "Cn" in seen.wrong for seen in evidence.failing()]
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"h is wrong ((?:from step \d+ on|at (?:step|sample|unit)s? [\d, and]+ of \d+)(?:, .*)?)")
def _forward_places(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge at which steps, samples and units h is wrong, at the sizes of a case."""
    told = []
    places = re.findall(r"from step (\d+) on|at (step|sample|unit)s? ([\d, and]+) of (\d+)", match[1])
    for seen in evidence.failing():
        mask = seen.wrong.get("h")
        if mask is None or mask.ndim < 3:
            continue
        good = True
        for start, label, which, _ in places:
            axis = {"step": 1, "sample": 0, "unit": 2, "": 1}[label]
            hit = set(np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis))).tolist())
            said = set(range(int(start) - 1, mask.shape[1])) if start else set(numbers(which))
            good = good and hit <= said and (bool(label) or min(hit) == int(start) - 1)
        told.append(good)
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"first to depart among what the layer keeps: (fc|bc)\['(\w+)'\] at step (\d+) of (\d+)")
def _kept(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which of a layer's intermediates departs first, where it shows them."""
    if evidence.target.caches is None:
        return Verdict(Said.UNJUDGED, "it keeps nothing to see")
    told = []
    for seen in evidence.failing(20, s=int(match[4])):
        call_target(evidence.target, seen.arrays.copy(), seen.case.sequences)
        kept, t = (evidence.target.caches() or {}).get(match[2]), int(match[3]) - 1
        due = passes(seen.arrays)[match[1] == "bc"][match[2]]
        if isinstance(kept, np.ndarray) and kept.shape == due.shape:
            share = np.max(np.abs(due), initial=0) * (1e-9 if seen.case.dtype == "float64" else 1e-4)
            wrong = [s for s in range(seen.case.s) if np.any(np.abs(kept[:, s] - due[:, s]) > share)]
            told.append(t in wrong and (t == min(wrong) if match[1] == "fc" else t == max(wrong)))
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"of h, only the first sample is right")
def _first_sample(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that all samples but the first are wrong in h."""
    told = []
    for seen in evidence.each_failing(m=4):
        if "h" in seen.wrong and seen.telling:
            hit = seen.wrong["h"].any(axis=tuple(range(1, seen.wrong["h"].ndim)))
            told.append(not hit[0] and bool(hit[1:].any()))
        if len(told) == 20:
            break
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)
