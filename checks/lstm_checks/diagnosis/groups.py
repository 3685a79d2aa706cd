"""Which failing examples of a run go together, and how many of them a named fault explains.

Two faults at once fail most examples together and some apart. So the example that is explained is not taken for all
of them: the fault that is named is planted in the reference, which is run on each failing example, and what it does not
reproduce is left for another explanation. Where no fault is named, examples go together by which tensors are wrong.
"""

from collections import Counter
from collections.abc import Callable, Sequence, Set
from functools import cache

import numpy as np

from lstm_checks.cases import Case
from lstm_checks.contract import Target
from lstm_checks.diagnosis.diagnose import Named
from lstm_checks.diagnosis.fingerprint import Faults, reproduces
from lstm_checks.diagnosis.observe import Observation, departs, due_on, observe_once
from lstm_checks.diagnosis.statement import Trial
from lstm_checks.faults.catalogue import faults_of
from lstm_checks.faults.model import evaluate, fault_target
from lstm_checks.faults.slips import PARTS, slips
from lstm_ref.cell import Cell

Signature = frozenset[str]
"""The tensors that are wrong in an example, or the claims that failed where none is."""


def faults_behind(named: Named, cell: Cell) -> Faults | None:
    """Return the faults behind a suspect; None where one keeps something between calls, so that it predicts no case."""
    by_title = {f"{slip.id}: {slip.title}": slip for part in PARTS for slip in slips(part, cell)}
    if (slip := by_title.get(f"{named.fault}: {named.title}")) is not None:
        return (slip,)
    ids = named.fault.split(" and ")
    known = faults_of(cell)
    return tuple(known[id_] for id_ in ids) if all(id_ in known and not known[id_].wrap for id_ in ids) else None


def predictor(target: Target, faults: Faults) -> Callable[[Case], bool]:
    """Return what tells whether faults give what the target gives on a case, where something is wrong there.

    What they give must be wrong, too, in each tensor that is: what changes nothing explains nothing. By half of what is
    accepted is enough, for where the error is about as large as that, rounding adds to it.
    """

    @cache
    def predicts(case: Case) -> bool:
        if not target.takes(case.dtype):
            return False
        with np.errstate(all="ignore"):
            seen = observe_once(target, case)
            if lost := _not_finite(seen):
                # What outgrows its dtype does so at other steps in other arithmetic, and turns into NaN or infinity.
                return lost == _not_finite(observe_once(fault_target(*faults, cell=case.cell), case))
            # A case on which the target is right is none of the failures that are to be explained.
            if not seen.wrong:
                return False
            if reproduces(faults, seen) is Trial.REFUTED and reproduces(faults, seen, known=True) is not Trial.SHOWN:
                return False
            values = evaluate(faults, seen.taken(case.arrays.astype(np.float64)))
        expected = due_on(case)
        return all(departs(values[n], expected.values[n], expected.sd[n] / 2, case.dtype).any() for n in seen.wrong)

    return predicts


def _not_finite(seen: Observation) -> set[str]:
    """Return the wrong tensors in which something that came is not finite."""
    return {name for name in seen.wrong if not np.isfinite(seen.came[name]).all()}


def together(signature: Signature, shown: Set[str], spread: Set[str]) -> bool:
    """Return whether a failure goes with one that is explained: it shares a wrong tensor, and has none of its own.

    Parameters
    ----------
    signature : frozenset of str
        What is wrong in the example.
    shown, spread : set of str
        What is wrong in the simplest case of the other, and in a larger one of the same fault.
    """
    return bool(signature & shown) and signature <= spread | shown


def largest_first(signatures: Sequence[Signature]) -> list[tuple[Signature, int]]:
    """Return each signature with the number of examples that have it, the most frequent first."""
    counted = Counter(signatures)
    return sorted(counted.items(), key=lambda pair: (-pair[1], sorted(pair[0])))
