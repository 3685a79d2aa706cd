"""From several threads at once, where a target says that it may be: each is to get the answer to its own question."""

from typing import Any

from lstm_checks.asking.passes import Asker, Judged, RefusedError, worst_of
from lstm_checks.contract import THREADS


def several_threads(x: Asker) -> Judged:
    """Ask for the case's answer from some threads, others asking of other values meanwhile."""
    done = "called from several threads at once, as it says it may be"
    try:
        values = x.forward(how={"way": THREADS}).pull({**x.arrays.cotangents, **x.cotangents()})
    except RefusedError as error:
        return x.refused(error, done)
    of_each: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        number, told, own = name.partition(": ")
        if told:
            of_each.setdefault(number, {})[own] = value
    return worst_of(x.judge(own, done) for own in of_each.values())
