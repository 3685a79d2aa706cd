"""The claims that each property holds of a target on a case, and which properties are asked when."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.calling import Outcome
from lstm_checks.cases import REGIMES, Case
from lstm_checks.compare import Claim, Discrepancy, Verdict, differing_digits
from lstm_checks.contract import CN, DCN, STATES, Target, with_article
from lstm_checks.formats import is_low
from lstm_checks.oracles.expected import Expected
from lstm_checks.properties import relations
from lstm_checks.properties.closed_form import CLOSED_FORMS
from lstm_checks.properties.noise import BrokenAnswerError, OwnExpected, checked
from lstm_checks.properties.relations import Compared, Example, NotAskedError
from lstm_ref.cell import Cell

Array = NDArray[Any]

PER_EXAMPLE = 2
"""How many of the properties an example is asked beside a reference."""

OWN_REGIMES = tuple(regime for regime in REGIMES if regime != "x100")
"""The value regimes in which a target's noise can be told without a reference; see `tolerance.OWN_FLOOR`."""


@dataclass(frozen=True)
class Property:
    """One property.

    Attributes
    ----------
    relation : callable
        From an `Example` to the comparisons; an empty list where rounding drowns them.
    at_stake : callable
        Whether a case puts it to the test at all.
    needs : tuple of str
        What the target must not lack.
    resolution : float
        The property passes where one entry at least is compared to this share of itself.
    cells : collection of str, optional
        The names of the cells of whose own equations it is known to hold, and of no variant of these; where None, it
        holds of any.
    of_gradients : bool
        Whether it is about gradients alone, so that a target without any cannot be asked.
    of_networks, of_lengths : bool
        Whether it holds of a network of cells, too, and of one over samples of their own lengths.
    of_low : bool
        Whether it can be asked in low precision, whose numbers are too few for steps, sums or factors of what is given,
        and in which what a target hands on inside need not be what it returns.
    """

    relation: Callable[[Example], list[Compared]]
    at_stake: Callable[[Case], bool] = lambda case: True
    needs: tuple[str, ...] = ()
    resolution: float = tolerance.PROPERTY_RESOLUTION
    cells: Collection[str] | None = None
    of_gradients: bool = False
    of_networks: bool = False
    of_lengths: bool = False
    of_low: bool = True

    def not_asked(self, case: Case) -> str:
        """Return why a case of its cell cannot be asked; nothing where it can."""
        if is_low(case.dtype) and not self.of_low:
            return "not in low precision"
        if case.cell.places and not self.of_networks:
            return "of a cell by itself alone"
        if not self.known_of(case.cell):
            return f"not known of {with_article(case.cell.title)}"
        if case.lengths and not self.of_lengths:
            return "not where samples have lengths of their own"
        return ""

    def known_of(self, cell: Cell) -> bool:
        """Return whether it is known to hold of a cell."""
        return self.cells is None or cell.name in self.cells


ALL: dict[str, Property] = {
    "batch permutation": Property(relations.batch_permutation, lambda c: c.m > 1, of_networks=True),
    "batch split": Property(relations.batch_split, lambda c: c.m > 1, of_networks=True),
    "unit permutation": Property(relations.unit_permutation, lambda c: c.u > 1, of_networks=True),
    "linearity": Property(relations.linearity, of_gradients=True, of_networks=True, of_lengths=True, of_low=False),
    "causality": Property(
        relations.causality,
        lambda c: c.s > 1 and c.sequences and not any(place.reverse for place in c.cell.places),
        of_networks=True,
    ),
    "sequence cut": Property(relations.sequence_cut, lambda c: c.s > 1, (STATES, CN, DCN, "dh0", "dC0"), of_low=False),
    "sign symmetry": Property(relations.sign_symmetry, cells=relations.NEGATED),
    "zero weights": Property(relations.zero_weights, cells=CLOSED_FORMS),
    "zero cotangent": Property(relations.zero_cotangent, of_gradients=True, of_networks=True, of_lengths=True),
    "gradient step": Property(
        relations.gradient_step, resolution=tolerance.GRADIENT_STEP_COARSE, of_gradients=True, of_low=False
    ),
}
NAMES = tuple(ALL)
"""All properties. Those in `GENERAL` hold of any recurrent layer whose samples and whose units are alike: one with
peepholes, coupled gates or gates reset like a GRU's; those in `OF_ITS_EQUATIONS` of a cell's own equations alone."""
GENERAL = tuple(name for name, found in ALL.items() if found.cells is None)
OF_ITS_EQUATIONS = tuple(name for name, found in ALL.items() if found.cells is not None)


def rotation(case: Case) -> tuple[str, ...]:
    """Return the few properties that a case is asked where not all are: the same for the same case, all in turn."""
    at_stake = [n for n, p in ALL.items() if p.at_stake(case) and not p.not_asked(case)]
    order = np.random.default_rng((case.seed, *case.dims, 4)).permutation(len(at_stake))
    chosen = sorted(order[:PER_EXAMPLE])
    return tuple(at_stake[k] for k in chosen)


def property_claims(
    target: Target, case: Case, outcome: Outcome, expected: Expected, asked: Iterable[str]
) -> list[Claim]:
    """Return a claim for each property asked.

    Parameters
    ----------
    target, case
        What is judged, on what.
    outcome : Outcome
        What the target gave for the case, its form being right.
    expected : Expected
        Of which `sd` is the noise of that answer.
    asked : iterable of str
        Names from `NAMES`.
    """
    if isinstance(expected, OwnExpected) and case.regime not in OWN_REGIMES:
        reason = f"regime {case.regime}: the noise cannot be told without a reference"
        return [Claim(name, Verdict.INCONCLUSIVE, reason=reason) for name in asked]
    expected = expected.as_returned(outcome.last_step, case.cell)
    values = checked(target, outcome, case.arrays, outcome.last_step)
    example = Example(target, case, values, expected)
    return [_claim(name, example) for name in asked]


def _claim(name: str, example: Example) -> Claim:
    """Return the claim that a property holds."""
    found = ALL[name]
    lacking = [need for need in found.needs if need in example.target.lacks]
    if lacking:
        return Claim(name, Verdict.UNSUPPORTED, reason=f"the target lacks {', '.join(lacking)}")
    if found.of_gradients and set(example.target.cell.gradients) <= example.target.lacks:
        return Claim(name, Verdict.UNSUPPORTED, reason="the target has no gradients")
    if why := found.not_asked(example.case):
        return Claim(name, Verdict.UNSUPPORTED, reason=why)
    if not found.at_stake(example.case):
        return Claim(name, Verdict.VACUOUS, reason="nothing at stake at these sizes and cotangents")
    try:
        compared = found.relation(example)
    except NotAskedError as error:
        return Claim(name, Verdict.UNSUPPORTED, reason=str(error))
    except BrokenAnswerError as error:
        message = f"{name}: called with a problem derived from the case, {error}"
        kind = "property" if error.kind == "error" else error.kind
        return Claim(name, Verdict.FAIL, np.inf, Discrepancy(error.tensor, kind, message))
    if not compared:
        return Claim(name, Verdict.INCONCLUSIVE, reason="rounding drowns the answer")
    return _judged(name, example, compared)


def _judged(name: str, example: Example, compared: list[Compared]) -> Claim:
    """Return the claim about comparisons: failed by the worst of them, passed if one at least says something."""
    uses = [_use(c) for c in compared]
    worst = int(np.argmax([float(np.max(use)) for use in uses]))
    largest = float(np.max(uses[worst]))
    if not largest <= 1:
        return Claim(name, Verdict.FAIL, largest, _discrepancy(name, example, compared[worst], uses[worst]))
    if name == "zero cotangent":
        moved = any(example.values[c.tensor].any() for c in compared)
        return Claim(name, Verdict.PASS if moved else Verdict.VACUOUS)
    if all(np.all(np.abs(c.due) <= c.accepted) for c in compared):
        return Claim(name, Verdict.VACUOUS, largest)
    dtype, resolution = example.case.dtype, ALL[name].resolution
    if is_low(dtype):
        resolution = tolerance.RESOLUTION[dtype]
    if all(np.all(c.accepted > resolution * np.abs(c.due)) for c in compared):
        return Claim(name, Verdict.INCONCLUSIVE, largest, reason="rounding blurs every entry")
    return Claim(name, Verdict.PASS, largest)


def _use(compared: Compared) -> Array:
    """Return each entry's difference as a share of what is accepted; infinite where nothing is."""
    error = np.abs(compared.came - compared.due)
    share = np.divide(error, compared.accepted, out=np.full(error.shape, np.inf), where=compared.accepted > 0)
    return np.where(error == 0, 0.0, share)


def _discrepancy(name: str, example: Example, compared: Compared, use: Array) -> Discrepancy:
    """Return what is to be said of a property that does not hold."""
    index = tuple(int(k) for k in np.unravel_index(int(np.argmax(use)), use.shape))
    left, right = differing_digits(float(compared.came[index]), float(compared.due[index]))
    accepted = float(compared.accepted[index])
    around = f" ± {accepted:.2g}" if accepted else ""
    entry = f"{compared.tensor}{list(index)}" if index and compared.tensor in example.values else compared.tensor
    message = f"{name}: {compared.done}, {entry} = {left}, but should be {right}{around}, {compared.like}"
    return Discrepancy(compared.tensor, "property", message, int(np.sum(use > 1)), use.size, index=index)
