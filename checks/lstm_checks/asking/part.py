"""Asked in part: outputs that are not used, inputs that no gradient is required of, parameters that never learn.

An output that a loss does not use has no cotangent: autograd hands None or a symbol for zero to whoever asked for it,
and backward passes go wrong there that are right when zeros arrive. So None is given where the case's cotangent is zero
throughout, and the same is due. In the same way what no gradient is required of leaves the others' as they are.
"""

from collections.abc import Iterator
from itertools import combinations

from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.cases import Case
from lstm_checks.compare import Discrepancy, Verdict
from lstm_checks.contract import DHN, Target
from lstm_checks.words import series


def may_be_left_out(target: Target, case: Case) -> bool:
    """Return whether some of the cotangents that a target can do without are zero throughout, and not all."""
    zero = [not case.arrays[name].any() for name in case.cell.cotangents]
    return any(zero) and not all(zero)


def hidden_is_unused(target: Target, case: Case) -> bool:
    """Return whether the cotangent of every step's hidden state is zero, and a target can do without it."""
    every = case.cell.cotangents[0]
    given = case.arrays.dh_total if DHN in target.lacks else case.arrays[every]
    return every in target.optional and not given.any()


def absent_cotangents(x: Asker) -> Judged:
    """Leave out the cotangents that are zero throughout, each alone and several together."""
    found = []
    for absent in _left_out(x):
        done = f"with {series(sorted(absent))} absent, None and not zero"
        try:
            found.append(x.judge(x.forward().pull(x.cotangents() | dict.fromkeys(absent)), done))
        except RefusedError as error:
            found.append(x.refused(error, done))
    if not found:
        raise NotAskedError(f"none of {series(sorted(x.target.optional))} is zero throughout")
    return worst_of(found)


def _left_out(x: Asker) -> Iterator[tuple[str, ...]]:
    """Yield the cotangents that are left out together, never all that there are."""
    given = x.cotangents()
    zero = sorted(name for name, value in given.items() if name in x.target.optional and not value.any())
    for count in range(1, len(zero) + 1):
        yield from (some for some in combinations(zero, count) if len(some) < len(given))


def inputs_without_gradient(x: Asker) -> Judged:
    """Require no gradient of some of the inputs, drawn by the case, and then of the others: the rest is what it is."""
    parts = [part for part in x.target.parts if all(f"d{name}" not in x.target.lacks for name in part)]
    if len(parts) < 2:
        raise NotAskedError("there are no two inputs that a gradient can be required of apart")
    # About half: of one input alone, or of all but one, few pairs of a required and a frozen one are asked.
    count = int(x.rng.integers(max(len(parts) // 3, 1), max(len(parts) - len(parts) // 3, 2)))
    # Of what a compiler makes a program for, the same for all values of one shape.
    chosen = x.rng if not x.target.compiles else type(x.rng)(type(x.rng.bit_generator)(sum(x.case.dims)))
    order = chosen.permutation(len(parts))
    return worst_of(_without(x, [parts[k] for k in sorted(some)]) for some in (order[:count], order[count:]))


def _without(x: Asker, still: list[tuple[str, ...]]) -> Judged:
    """Return what an answer is worth for which no gradient of some inputs is required."""
    names = [name for part in still for name in part]
    done = f"with no gradient required of {series(names)}"
    try:
        values = x.forward(how={"still": names}).pull(x.cotangents())
    except RefusedError as error:
        return x.refused(error, done)
    without = [f"d{name}" for name in names]
    twins = [twin for twin, name in x.target.twins.items() if name in without]
    return x.judge(values, done, [*without, *twins])


def learning(target: Target) -> Judged:
    """Return whether all arrays of a target learn; who freezes one on purpose says so with --frozen."""
    if not target.unlearned:
        return Judged(Verdict.PASS)
    (name, why), *others = target.unlearned.items()
    more = f", nor {series([other for other, _ in others], 'nor')}" if others else ""
    message = f"{name} does not learn, {why}{more}; expected a gradient, or --frozen {','.join(target.unlearned)}"
    return Judged(Verdict.FAIL, float("inf"), Discrepancy(name, "asked", message))
