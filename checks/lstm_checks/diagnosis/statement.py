"""The one test that every explanation must pass before it is said: the right answer fails it.

An explanation, whatever its kind, comes down to values: what the tensors it speaks of would be on a case if it were so.
They are held against what came and against what is due. Near what came is not enough, for where an error is small what
is due is near it, too, and so is whatever changes next to nothing. So the values must account for the error: in the
tensors that are wrong they differ from what is due by clearly more than from what came (`tolerance.CLEARLY`), and in
those that are right they are right.
"""

from collections.abc import Collection, Iterable
from enum import Enum

import numpy as np

from lstm_checks import tolerance
from lstm_checks.diagnosis.observe import Array, Observation, Values, departs, slack


class Trial(Enum):
    """What a case says of an explanation."""

    REFUTED = "refuted"
    IDLE = "idle"
    SHOWN = "shown"


def try_values(
    observation: Observation,
    values: Values,
    names: Collection[str] | None = None,
    sd: Values | None = None,
    known: bool = False,
) -> Trial:
    """Return what a case says of an explanation that predicts values.

    Parameters
    ----------
    observation : Observation
        What came on the case, and what is due.
    values : mapping
        What the explanation predicts, by tensor, each with all steps.
    names : collection of str, optional
        The tensors it speaks of; by default all that came.
    sd : mapping, optional
        How much rounding blurs the values, in standard deviations; by default what is due's, with some slack.
    known : bool
        Whether a tensor that is what came to this rounding, but no nearer to it than what is due, refutes nothing.

    Returns
    -------
    Trial
        REFUTED where something else came, or where a wrong tensor stays wrong. IDLE where nothing is wrong, or not by
        enough to tell the explanation from the right answer, or by `known`. SHOWN where it accounts for an error.
    """
    shown = False
    for name in observation.came if names is None else names:
        if name not in observation.came:
            continue
        own = (slack({name: values[name]}, observation.expected) if sd is None else sd)[name]
        value, deviation = observation.shaped(name, values[name]), observation.shaped(name, own)
        blur, dtype = tolerance.FINGERPRINT * deviation, observation.case.dtype
        trials = [
            trial_of(came, value, *observation.due(name), blur, dtype, known)
            # The first call must show it; the second, where there is one, must only not be something else.
            for came in (observation.came[name], observation.came_again.get(name, observation.came[name]))
        ]
        if Trial.REFUTED in trials:
            return Trial.REFUTED
        shown |= trials[0] is Trial.SHOWN
    return Trial.SHOWN if shown else Trial.IDLE


def trial_of(came: Array, value: Array, due: Array, due_sd: Array, sd: Array, dtype: str, known: bool = False) -> Trial:
    """Return what one tensor says of an explanation.

    `sd` is how much rounding blurs `value`; with `known`, what is within that refutes nothing.
    """
    if value.shape != came.shape or departs(came, value, sd, dtype).any():
        return Trial.REFUTED
    if not departs(came, due, due_sd, dtype).any():
        return Trial.IDLE
    # Where an entry's own rounding is next to nothing beside its tensor's, either way of weighing it will do.
    floor = due_sd + tolerance.UNIT_ROUNDOFF[dtype] * np.max(np.abs(due), where=np.isfinite(due), initial=0)
    apart = [(_apart(came, value, s, dtype), _apart(came, due, s, dtype)) for s in (due_sd, floor)]
    # Near to the value is not enough: it must be nearer to it than to the right answer, by far.
    if any(left <= whole / tolerance.CLEARLY and whole > 1 for left, whole in apart):
        return Trial.SHOWN
    # What came is the value to its own rounding. Where that is guessed, or large, it may be as near by chance.
    return Trial.IDLE if known or apart[0][0] <= 1 else Trial.REFUTED


def accounted(trials: Iterable[Trial]) -> bool:
    """Return whether cases bear an explanation out: one at least shows it and none refutes it."""
    found = list(trials)
    return Trial.SHOWN in found and Trial.REFUTED not in found


def _apart(came: Array, other: Array, sd: Array, dtype: str) -> float:
    """Return by how many times what is accepted two answers differ at most; what is not finite, by infinitely many."""
    with np.errstate(all="ignore"):
        share = np.abs(came - other) / tolerance.accepted(sd, dtype)
    same = np.isfinite(came) == np.isfinite(other)
    return float(np.max(np.where(np.isfinite(share), share, np.where(same, 0.0, np.inf)), initial=0))
