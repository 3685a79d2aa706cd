"""How often several catalogued faults at once are named, without a look at any source.

So many faults are drawn at a time, planted together in the reference, and the target is diagnosed on the smallest of a
few cases that it fails. What is named with certainty is held to what was planted: the same faults, others that give the
same on cases that the diagnosis was not shown, or others that do not. A fault that changes nothing beside the others is
no part of what can be named, so what is drawn is drawn anew until each changes something.

    .venv/bin/python benchmarks/several_faults.py --sets 30 --together 3 --seed 0
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence
from statistics import median

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.diagnosis.diagnose import Diagnosis, diagnose
from lstm_checks.diagnosis.observe import observe_once
from lstm_checks.faults.catalogue import FAULTS
from lstm_checks.faults.model import Fault, evaluate, fault_target

SMALLEST_FIRST = (Case(1, 1, 1, 1), Case(1, 2, 1, 1), Case(2, 2, 2, 2), Case(2, 3, 2, 3), Case(3, 5, 4, 5))
NEVER_SHOWN = (Case(2, 4, 3, 5, seed=901), Case(3, 6, 2, 4, seed=902), Case(1, 3, 5, 2, regime="mixed", seed=903))
SAME, ALIKE, OTHER, SOME, NONE = "the same", "alike elsewhere", "others", "not certain", "none"


def draw(rng: random.Random, together: int) -> tuple[Fault, ...]:
    """Return so many catalogued faults that can be planted together, each of which changes something then."""
    able = [fault for fault in FAULTS.values() if not fault.wrap and not fault.place]
    while True:
        faults = tuple(rng.sample(able, together))
        try:
            whole = _values(faults)
            without = [_values(tuple(other for other in faults if other is not fault)) for fault in faults]
        except (ValueError, ArithmeticError, KeyError, IndexError, TypeError):
            continue
        if not any(_same(whole, values) for values in without) and not _same(whole, _values(())):
            return faults


def judge(faults: Sequence[Fault], found: Diagnosis) -> str:
    """Return what the first suspect is to the faults that were planted."""
    if not found.suspects:
        return NONE
    first = found.suspects[0]
    if not first.certain:
        return SOME
    ids = first.fault.split(" and ")
    if set(ids) == {fault.id for fault in faults}:
        return SAME
    return ALIKE if _same(_values(tuple(faults)), _values(tuple(FAULTS[id] for id in ids))) else OTHER


def _values(faults: tuple[Fault, ...]) -> list[np.ndarray]:
    """Return all that the reference gives with some faults on the cases that are never shown."""
    with np.errstate(all="ignore"):
        every = [evaluate(faults, case.arrays.astype(np.float64)) for case in NEVER_SHOWN]
    return [np.asarray(values[name]) for values in every for name in sorted(values)]


def _same(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    """Return whether two sets of faults give the same."""
    return all(
        np.allclose(a, b, rtol=tolerance.TOLD_APART, atol=0, equal_nan=True) for a, b in zip(one, other, strict=True)
    )


def measure(sets: int, together: int, seed: int) -> list[tuple[str, float]]:
    """Return of each set that was drawn what was named, and how many seconds of the processor it took."""
    rng, results = random.Random(seed), list[tuple[str, float]]()
    for number in range(sets):
        faults = draw(rng, together)
        target = fault_target(*faults)
        failing = next((case for case in SMALLEST_FIRST if observe_once(target, case).wrong), None)
        start = time.process_time()
        found = diagnose(target, failing) if failing is not None else Diagnosis()
        seconds = time.process_time() - start
        said = judge(faults, found)
        named = found.suspects[0].fault if found.suspects else "-"
        planted = " and ".join(fault.id for fault in faults)
        print(
            f"{number + 1:3} {said:15} {seconds:5.1f} s  {planted}" + ("" if said == SAME else f"  named: {named}"),
            flush=True,
        )
        results.append((said, seconds))
    return results


def main() -> None:
    """Run what is asked for, and print how often what was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=30, help="how many sets of faults")
    parser.add_argument("--together", type=int, default=3, help="how many faults in one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = measure(options.sets, options.together, options.seed)
    count = Counter(said for said, _ in results)
    words = ", ".join(f"{said} {count[said]}" for said in (SAME, ALIKE, OTHER, SOME, NONE) if count[said])
    print(f"\nof {len(results)}: {words}; {median(seconds for _, seconds in results):.1f} s in the median")


if __name__ == "__main__":
    main()
