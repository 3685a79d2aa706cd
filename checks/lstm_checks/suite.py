"""The property-based suite as a base class for anybody's tests: one test a claim, drawn and shrunk by Hypothesis.

    class TestMine(LayerSuite):
        target = staticmethod(my_lstm)

All tests of a class draw the same cases, and a case is judged once for all of them. `docs/suite.md` is for the user.
Without a test file, `pytest --lstm-target=pkg.mod:LSTM --pyargs lstm_checks.suite` collects this module (`plugin`).
"""

import difflib
import functools
import inspect
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from lstm_checks import strategies
from lstm_checks.calling import with_time_limit
from lstm_checks.cases import REGIMES, Case
from lstm_checks.compare import Claim, Verdict
from lstm_checks.contract import PLAIN, Target
from lstm_checks.formats import FORMATS, is_format
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.reports import (
    CHECK_GRAD,
    CHECK_GRAD_ALL,
    FORM,
    OF_HARNESS,
    CaseReport,
    claims_about,
    is_tensor,
)
from lstm_checks.judging.text import render_failure
from lstm_checks.strategies import draw_options
from lstm_checks.targets.load import TargetError, load_target, to_target
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named

REMEMBERED = 4096  # cases whose reports are kept

NOTHING_ELSE, ORACLES_AGREE, SOMETHING_PASSED = "nothing else", "oracles agree", "something passed"
_NOT_BY_ITSELF = (FORM, CHECK_GRAD_ALL, *OF_HARNESS)


def claims_tested(cell: Cell) -> tuple[str, ...]:
    """Return what is tested of a target that is to follow a cell, one test each, by the names that `xfail` takes."""
    own = (name for name in claims_about(cell) if name not in _NOT_BY_ITSELF)
    return (*own, NOTHING_ELSE, ORACLES_AGREE, SOMETHING_PASSED)


class LayerSuite:
    """The whole suite for one target; a subclass named Test... is collected by pytest.

    Attributes
    ----------
    target : layer class, function, str or Target
        What is judged: whatever `lstm-checks verify` takes, or the object itself.
    xfail : mapping
        Claims that are known to fail, with the reason: ``{"dC0": "not implemented yet"}``. Strict: one that
        passes after all fails. The names are those of `claims_tested(cell)`.
    dtypes : tuple of str, optional
        Those to draw from; all that the target has, where None.
    max_dims : tuple of int, optional
        Largest (m, s, e, u) drawn; see `lstm_checks.judging.verify.verify`.
    regimes : tuple of str
        The value regimes drawn; see `Case`.
    examples : int, optional
        Cases a test; what the Hypothesis profile says, where None.
    timeout : float, optional
        Seconds that a call may take; see `load_target`.
    cell : str
        The equations that the target is to follow: a name that `lstm_ref.cells.cell_named` knows.
    """

    target: ClassVar[Any] = None
    xfail: ClassVar[Mapping[str, str]] = {}
    dtypes: ClassVar[Sequence[str] | None] = None
    max_dims: ClassVar[strategies.Dims | None] = None
    regimes: ClassVar[Sequence[str]] = REGIMES
    examples: ClassVar[int | None] = None
    timeout: ClassVar[float | None] = None
    cell: ClassVar[str] = PLAIN.name

    lstm_properties: Mapping[str, str | int] | None = None
    lstm_failure: CaseReport | None = None
    lstm_judged: Target | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _check_options(cls)
        tests = claims_tested(_cell_of(cls))
        for name in cls.xfail:
            if name not in tests:
                near = difflib.get_close_matches(name, tests, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(tests)}"
                raise TypeError(f"{cls.__name__}.xfail has {name!r}; {hint}")
        shared = functools.cache(lambda: Shared(cls))
        for name in tests:
            test = _make_test(cls, name, shared)
            if test.__name__ not in vars(cls):
                setattr(cls, test.__name__, test)


def _cell_of(cls: type[LayerSuite]) -> Cell:
    """Return the cell that the tests of a class are about: that of a `Target`, which knows its own, or the class's."""
    return cls.target.cell if isinstance(cls.target, Target) else cell_named(cls.cell)


def _check_options(cls: type[LayerSuite]) -> None:
    """Raise if an attribute of a class is not what it should be: where it is defined, and not in each of its tests."""
    try:
        cell_named(cls.cell)
    except ValueError as error:
        raise TypeError(f"{cls.__name__}.cell is {error}") from None
    known = (*REGIMES, "init")
    for option, words, is_one in (("dtypes", FORMATS, is_format), ("regimes", ", ".join(known), known.__contains__)):
        given = getattr(cls, option)
        if given is not None and (isinstance(given, str) or not given or not all(is_one(word) for word in given)):
            raise TypeError(f"{cls.__name__}.{option} is {given!r}, expected a tuple of some of {words}")
    dims, examples = cls.max_dims, cls.examples
    letters = _cell_of(cls).letters
    further = "".join(f" and {letter}" for letter in letters[4:])
    right = dims is None or 4 <= len(dims) <= len(letters)
    if not right or any(not isinstance(size, int) or size < 1 for size in dims or ()):
        form = f"four sizes m, s, e, u{further}, each at least 1"
        raise TypeError(f"{cls.__name__}.max_dims is {dims!r}, expected {form}")
    if examples is not None and (not isinstance(examples, int) or examples < 1):
        raise TypeError(f"{cls.__name__}.examples is {examples!r}, expected a number of at least 1")


class Shared:
    """What the tests of one class share: the target, and the report on each case that was drawn."""

    def __init__(self, cls: type[LayerSuite]):
        if cls.target is None:
            raise TargetError(f"{cls.__name__} has no target, expected for example: target = staticmethod(my_lstm)")
        self.target = _resolve(cls.target, cls.timeout, _cell_of(cls))
        dtypes = tuple(self.target.dtypes if cls.dtypes is None else cls.dtypes)
        self.options = draw_options(self.target, dtypes=dtypes, max_dims=cls.max_dims, regimes=tuple(cls.regimes))
        self.late: CaseReport | None = None
        self._remembered = functools.lru_cache(REMEMBERED)(self._judge)

    def _judge(self, descriptor: str) -> CaseReport:
        """Return the report on a case, without the arrays that the case keeps."""
        case = Case.parse(descriptor)
        return replace(verify_case(self.target, case), case=Case.parse(descriptor))

    def report(self, case: Case) -> CaseReport:
        """Return the report on a case; no other is judged after one to which no answer came in time."""
        if self.late is not None and self.late.case != case:
            hypothesis.reject()
        found: CaseReport = self._remembered(case.descriptor)
        if found.timed_out:
            self.late = found
        return found

    def claims(self, name: str, report: CaseReport) -> list[Claim]:
        """Return the claims that a test is about."""
        if name == SOMETHING_PASSED:
            return [claim for claim in report.claims if is_tensor(claim.name)]
        wanted = {name: {name}, CHECK_GRAD: {CHECK_GRAD, CHECK_GRAD_ALL}, ORACLES_AGREE: set(OF_HARNESS)}.get(
            name, {name}
        )
        wanted |= {twin for twin, like in self.target.twins.items() if like == name}
        if name == NOTHING_ELSE:
            others = [
                c
                for c in report.claims
                if c.name not in claims_about(self.target.cell) and c.name not in self.target.twins
            ]
            return others or [Claim(name, Verdict.PASS)]
        return [claim for claim in report.claims if claim.name in wanted]


class Tally:
    """What one test saw."""

    def __init__(self) -> None:
        self.examples = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.worst = 0.0
        self.failure: tuple[Claim, CaseReport] | None = None

    def add(self, claims: Sequence[Claim], report: CaseReport) -> None:
        """Count a case by the verdict that matters most."""
        self.examples += 1
        if not claims:
            return
        found = {claim.verdict for claim in claims}
        order = (Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.VACUOUS, Verdict.UNSUPPORTED)
        self.verdicts[next(v for v in order if v in found)] += 1
        self.worst = max([self.worst, *(c.use for c in claims if c.verdict is Verdict.PASS)])
        failed = [claim for claim in claims if claim.verdict is Verdict.FAIL]
        if failed:
            self.failure = failed[0], report

    @property
    def counted(self) -> str:
        """The number of cases by verdict, in words."""
        return ", ".join(f"{self.verdicts[v]} {v}" for v in Verdict if self.verdicts[v])


def _resolve(target: Any, timeout: float | None, cell: Cell) -> Target:
    """Return the Target of whatever a class gives as its target."""
    if isinstance(target, str):
        return load_target(target, timeout, cell=cell)
    found = target if isinstance(target, Target) else to_target(target, _spec(target), cell)
    return found if timeout is None else with_time_limit(found, timeout)


def _spec(target: Any) -> str:
    """Return what to type for an object on the command line, as far as there is such a thing."""
    name, module = getattr(target, "__qualname__", repr(target)), getattr(target, "__module__", "")
    if "<locals>" in name or not module:
        return name
    path = Path(inspect.getsourcefile(sys.modules[module]) or module) if module in sys.modules else Path(module)
    here = "." not in module and path.is_relative_to(Path.cwd())
    return f"{path.relative_to(Path.cwd()) if here else module}:{name}"


def _make_test(cls: type[LayerSuite], name: str, shared: Callable[[], Shared]) -> Callable[[LayerSuite], None]:
    """Return the test of one claim: what pytest calls, around what Hypothesis calls for each case."""
    tally = Tally()

    def body(self: LayerSuite, case: Case) -> None:
        __tracebackhide__ = True
        report = shared().report(case)
        claims = shared().claims(name, report)
        tally.add(claims, report)
        failed = [claim for claim in claims if claim.verdict is Verdict.FAIL and name != SOMETHING_PASSED]
        if report.timed_out and not failed:
            failed = list(report.failures)
        if failed:
            raise AssertionError(_sentence(max(failed, key=lambda claim: claim.use)))

    body.__name__ = "test_" + name.replace(" ", "_")
    body.__qualname__ = f"{cls.__qualname__}.{body.__name__}"
    body.__module__ = cls.__module__
    drawn = hypothesis.given(case=st.deferred(lambda: strategies.stratified(**shared().options)))(body)
    drawn = _settings(cls.examples)(hypothesis.seed(_seed())(drawn))

    @functools.wraps(drawn)
    def test(self: LayerSuite) -> None:
        __tracebackhide__ = True
        nonlocal tally
        try:
            target = shared().target
        except TargetError as error:
            pytest.fail(f"the target cannot be had: {error}", pytrace=False)
        if name in target.lacks:
            self.lstm_properties = _properties(target, name, "unsupported", Tally())
            pytest.skip(f"unsupported: {target.name} lacks {name}")
        late = shared().late
        if late is not None:
            self.lstm_properties = _properties(target, name, "not judged", Tally())
            pytest.fail(f"not judged: {late.case.descriptor} got no answer in time", pytrace=False)
        tally = Tally()
        try:
            drawn(self)
        except AssertionError as error:
            if tally.failure is None:
                raise
            report = explain(target, tally.failure[1]) if tally.failure[1].failures else tally.failure[1]
            self.lstm_properties = _properties(target, name, "failed", tally, report)
            self.lstm_failure, self.lstm_judged = report, target
            if report.failures:
                error.add_note(render_failure(target.name, report))
            raise
        passed = tally.verdicts[Verdict.PASS] > 0
        self.lstm_properties = _properties(target, name, "passed" if passed else "nothing to judge", tally)
        if not passed:
            reason = f"nothing to judge in {tally.examples} examples: {tally.counted or 'not asked'}"
            if name == SOMETHING_PASSED:
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)

    if name in cls.xfail:
        return pytest.mark.xfail(reason=cls.xfail[name], strict=True, raises=AssertionError)(test)
    return test


def _sentence(claim: Claim) -> str:
    """Return what is wrong, in one line."""
    return claim.discrepancy.message if claim.discrepancy is not None else claim.name


def _properties(
    target: Target, name: str, outcome: str, tally: Tally, failure: CaseReport | None = None
) -> dict[str, str | int]:
    """Return what is told of a test beyond its outcome: in JUnit's properties and in the terminal's summary."""
    found: dict[str, str | int] = {"lstm_target": target.name, "lstm_claim": name, "lstm_outcome": outcome}
    found |= {"lstm_examples": tally.examples, "lstm_verdicts": tally.counted, "lstm_worst_use": f"{tally.worst:.3g}"}
    if failure is not None and tally.failure is not None:
        found |= {"lstm_case": failure.case.descriptor, "lstm_failure": _sentence(tally.failure[0])}
        suspects = failure.diagnosis.suspects if failure.diagnosis is not None else ()
        found |= {"lstm_fault": ", ".join(s.fault for s in suspects)} if suspects else {}
    return found


def _settings(examples: int | None) -> hypothesis.settings:
    """Return the profile's settings, but for what slow cases would trip over and for what our own text says better."""
    usual = hypothesis.settings()
    return hypothesis.settings(
        usual,
        max_examples=usual.max_examples if examples is None else examples,
        deadline=None,
        report_multiple_bugs=False,
        phases=[phase for phase in usual.phases if phase is not Phase.explain],
        suppress_health_check=[*usual.suppress_health_check, HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def _seed() -> int | str:
    """Return the seed that all tests of a run share, so that all draw the same cases; with `derandomize` always 0.

    The workers of pytest-xdist share it, too, and ``--hypothesis-seed`` sets it.
    """
    forced = getattr(hypothesis.core, "global_force_seed", None)
    if forced is not None:
        return str(forced)
    return "0" if hypothesis.settings().derandomize else _SEED


_SEED = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(random.SystemRandom().getrandbits(64))


def make_suite(spec: str, options: Mapping[str, Any]) -> type[LayerSuite]:
    """Return the class of tests for what a user typed; its name says it.

    Raises
    ------
    TargetError
        The target cannot be had.
    """
    target = load_target(spec, options.get("timeout"), cell=cell_named(options.get("cell", PLAIN.name)))
    # JUnit's class names end at a bracket, and pytest's parts at two colons.
    name = f"TestTarget({spec.replace('::', ':').replace('[', '(').replace(']', ')')})"
    return type(name, (LayerSuite,), {**options, "target": target, "timeout": None, "__module__": __name__})
