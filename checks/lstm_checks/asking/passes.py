"""What a question is asked about, a forward pass that stays alive, and what an answer is worth."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.calling import (
    Outcome,
    cotangents_for,
    describe_error,
    key_name,
    same_bits,
    to_numpy,
    type_name,
)
from lstm_checks.cases import Arrays, Case
from lstm_checks.compare import Claim, Discrepancy, Verdict, compare
from lstm_checks.contract import LAST, ContractError, Target, not_interrupted, undisturbed, with_article
from lstm_checks.oracles.expected import Expected, expect

Array = NDArray[Any]


class NotAskedError(Exception):
    """A question cannot be asked of this target on this case; says why."""


class RefusedError(Exception):
    """The target raised, ended its process, or gave no answer in time: the message, and which by `kind`."""

    def __init__(self, words: str, kind: str = "error") -> None:
        super().__init__(words)
        self.kind = kind


@dataclass(frozen=True)
class Judged:
    """What one answer is worth, with the share of the tolerance that it used."""

    verdict: Verdict
    use: float = 0.0
    discrepancy: Discrepancy | None = None
    reason: str = ""


def worst_of(many: Iterable[Judged]) -> Judged:
    """Return what several answers together are worth: one that failed, else one that passed, else what they were."""
    found = [*many]
    for verdict in (Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED):
        alike = [one for one in found if one.verdict is verdict]
        if alike:
            return max(alike, key=lambda one: one.use)
    return Judged(Verdict.VACUOUS)


def _bare(name: str) -> set[str]:
    """Return what a derivative is of, "th" and "ddUf", and what an output is that came again, by the cell's names."""
    return {name[1:], name.rpartition(" ")[2]}


class Forward:
    """A forward pass of a target, alive until this is gone.

    Attributes
    ----------
    outputs : dict
        Copies of its outputs.
    """

    def __init__(self, asker: "Asker", inputs: Mapping[str, Any], how: Mapping[str, Any] | None = None) -> None:
        target = asker.target

        def run() -> Any:
            if how is None:
                found, pullback = target.call(dict(inputs), asker.sequences)
            else:
                assert target.call_as is not None
                found, pullback = target.call_as(dict(inputs), asker.sequences, how)
            return {name: to_numpy(found[name]) for name in target.cell.outputs}, pullback

        self.outputs, self._pullback = _guarded("forward", run)
        self._stage = (how or {}).get("way", "pullback")

    def pull(self, cotangents: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs and, of a pullback of these very arrays, the gradients."""

        def run() -> dict[str, Any]:
            gradients = self._pullback(dict(cotangents))
            if not isinstance(gradients, Mapping):
                raise ContractError(f"the pullback returned {with_article(type_name(gradients))}")
            named = ((key_name(key), value) for key, value in gradients.items())
            return self.outputs | {name: to_numpy(value) for name, value in named if name not in self.outputs}

        found: dict[str, Any] = _guarded(self._stage, run)
        return found


def _guarded(stage: str, run: Callable[[], Any]) -> Any:
    """Return what comes of a call, or raise a RefusedError whatever it raises."""
    try:
        with undisturbed():
            return run()
    except ContractError as error:
        raise RefusedError(str(error), error.kind) from error
    except BaseException as error:
        not_interrupted(error)
        raise RefusedError(f"the {stage} raised {describe_error(error)}") from error


class Asker:
    """What a question is asked about: a target, a case, the target's answer, which was right, and what is due."""

    def __init__(self, target: Target, case: Case, outcome: Outcome, expected: Expected) -> None:
        self.target, self.case, self.outcome, self.expected = target, case, outcome, expected
        self.arrays, self.last_step = case.arrays, outcome.last_step
        self.sequences = case.sequences or LAST in target.lacks
        self.rng = np.random.default_rng((case.seed, *case.dims, 5))
        self.gradients = tuple(name for name in target.cell.gradients if name not in target.lacks)
        self._as_before: Judged | None = None
        self._due: list[tuple[Arrays, Expected]] = []

    def forward(self, arrays: Mapping[str, Any] | None = None, how: Mapping[str, Any] | None = None) -> Forward:
        """Return a forward pass of the case's inputs, or others; its arrays are the caller's to change."""
        inputs = self.arrays.copy().inputs if arrays is None else arrays
        # How long the samples are is given beside the inputs, and stays as it is.
        lengths = {name: value[: len(inputs["X"])] for name, value in self.arrays.given.items() if name not in inputs}
        return Forward(self, {**inputs, **lengths}, how)

    def cotangents(self, arrays: Arrays | None = None) -> dict[str, Any]:
        """Return copies of the cotangents as the target takes them."""
        given = cotangents_for(self.target, self.arrays if arrays is None else arrays, self.last_step)
        return {name: value.copy() for name, value in given.items()}

    def other(self, array: Array) -> Array:
        """Return other values of the same shape, dtype and size."""
        scale = float(np.max(np.abs(array), initial=0)) or 1.0
        return (scale * self.rng.standard_normal(array.shape)).astype(array.dtype)

    def changed(self, arrays: Arrays) -> Arrays:
        """Return arrays of other values, of which what was zero throughout is zero."""
        return Arrays({n: self.other(v) if v.any() else v.copy() for n, v in arrays.items()}, arrays.cell)

    def judge(
        self,
        values: Mapping[str, Any],
        done: str,
        without: Iterable[str] = (),
        expected: Expected | None = None,
    ) -> Judged:
        """Return what an answer is worth that should be the case's own, or what is `expected`.

        Parameters
        ----------
        values : mapping
            Outputs and gradients by name.
        done : str
            How it came, in words: "at the second pullback of a forward pass".
        without : iterable of str
            Gradients that nobody asked for.
        expected : Expected, optional
        """
        left = set(without)
        values = {name: value for name, value in values.items() if name not in left}
        if expected is None and not left and self._is_the_same(values):
            # To the bit what has been judged already.
            if self._as_before is None:
                self._as_before = self._compared(values, done, left, self.expected)
            return self._as_before
        return self._compared(values, done, left, self.expected if expected is None else expected)

    def judge_along(self, values: Mapping[str, Any], done: str, expected: Expected) -> Judged:
        """Return what derivatives are worth that came along a direction, or outputs that came beside them.

        Parameters
        ----------
        values : mapping
            The case's outputs, and the derivatives by their names.
        done : str
            How they came, in words.
        expected : Expected
            What is due of the case, and of these besides. The case's own gradients are not asked for.
        """
        cell, lacks = self.target.cell, self.target.lacks
        names = [name for name in expected.values if name in cell.tensors or not _bare(name) & lacks]
        expected = replace(
            expected,
            values={name: expected.values[name] for name in names},
            sd={name: expected.sd[name] for name in names},
        )
        twins = {f"d{twin}": f"d{name}" for twin, name in self.target.twins.items() if f"d{name}" in names}
        target = replace(self.target, lacks=lacks.union(cell.gradients), twins=twins)
        # What the target is said to have no gradient of may come all the same, as of a bias that does not learn.
        asked = {name: value for name, value in values.items() if name in cell.tensors or not _bare(name) & lacks}
        return self._worst(compare(asked, expected, target, self.case.dtype), target, done)

    def due_at(self, arrays: Arrays) -> Expected:
        """Return what is due at other values of the inputs; at the same ones again it is known."""
        for other, found in self._due:
            if all(same_bits(value, other[name]) for name, value in arrays.items()):
                return found
        due = expect(self.case, arrays=arrays).as_returned(self.last_step, self.target.cell)
        self._due.append((arrays, due))
        return due

    def pulls_twice(self) -> bool:
        """Return whether one forward pass can be asked for its pullback again."""
        passed = self.forward()
        try:
            for _ in range(2):
                passed.pull(self.cotangents())
        except RefusedError:
            return False
        return True

    def _is_the_same(self, values: Mapping[str, Any]) -> bool:
        """Return whether an answer is the case's own to the bit."""
        before = self.outcome.values
        return values.keys() == before.keys() and all(same_bits(value, before[n]) for n, value in values.items())

    def _compared(self, values: Mapping[str, Any], done: str, left: set[str], expected: Expected) -> Judged:
        """Return what the comparison of an answer with what is due says, the worst tensor first."""
        twins = {twin: name for twin, name in self.target.twins.items() if name not in left}
        target = replace(self.target, lacks=self.target.lacks | left, twins=twins)
        return self._worst(compare(values, expected, target, self.case.dtype), target, done)

    @staticmethod
    def _worst(claims: Iterable[Claim], target: Target, done: str) -> Judged:
        """Return what claims about tensors are worth together; where an output is wrong, that one is told."""
        claims = [*claims]
        judged = worst_of(Judged(c.verdict, c.use, c.discrepancy) for c in claims if c.name not in target.cell.outputs)
        of_outputs = worst_of(Judged(c.verdict, c.use, c.discrepancy) for c in claims if c.name in target.cell.outputs)
        if of_outputs.verdict is Verdict.FAIL:
            judged = of_outputs
        if judged.discrepancy is None:
            return judged
        message = f"{done}, {judged.discrepancy.message}"
        return replace(judged, discrepancy=replace(judged.discrepancy, kind="asked", message=message))

    def refused(self, error: RefusedError, done: str) -> Judged:
        """Return the failure that there is no answer."""
        kind = error.kind if error.kind != "error" else "asked"
        return Judged(Verdict.FAIL, np.inf, Discrepancy("h", kind, f"{done}, {error}"))
