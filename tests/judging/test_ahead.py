"""What is due, worked out by another process: the same to the bit, whatever happens to that process."""

import dataclasses

import pytest

from lstm_checks.cases import Case
from lstm_checks.judging import due
from lstm_checks.judging.ahead import Ahead
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.check_grad import reference_check_grad
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.expected import expect
from lstm_checks.oracles.stepped import stepped
from lstm_checks.targets.load import load_target
from lstm_checks.workers import processes


def told(report):
    """All that a report says of its examples."""
    return [(one.case, [(c.name, c.verdict, c.use, c.reason) for c in one.claims]) for one in report.examples]


@pytest.fixture
def ahead():
    with Ahead() as found:
        yield found


def test_a_report_is_the_same_whoever_works_out_what_is_due(ahead, monkeypatch):
    taken, understood = [], due.understood
    monkeypatch.setattr(due, "understood", lambda case, plain: taken.append(understood(case, plain)) or taken[-1])
    target = load_target("lstm_fast:LSTM")
    with_it = verify(target, examples=30, ahead=ahead)
    assert told(with_it) == told(verify(target, examples=30))
    assert taken
    assert any(expected.after_step is not None for expected in taken)


def test_a_failing_target_fails_alike(ahead):
    target = load_target("lstm_fast:LSTM")

    def wrong(inputs, sequences=True, how=None):
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents):
            found = dict(pullback(cotangents))
            return found | {"dUf": found["dUf"] * (1 + 1e-9)}

        return outputs, pull

    wrong_target = dataclasses.replace(target, call=wrong, answers=None)
    with_it = verify(wrong_target, examples=25, ahead=ahead)
    assert with_it.exit_code == 1
    assert told(with_it) == told(verify(wrong_target, examples=25))


def test_where_the_process_ends_it_is_done_here(ahead):
    target = load_target("lstm_fast:LSTM")
    ahead._pool.submit_named("lstm_checks.judging.due", "ready").result()
    for process in ahead._pool._running:
        processes.kill(process)
    assert told(verify(target, examples=20, ahead=ahead)) == told(verify(target, examples=20))


@pytest.mark.parametrize("case", ["m2s3e2u3-float64-seed7", "m1s2e1u2-float32-x100-last+h+C-nostates-seed1"])
def test_every_bit_goes_over(case):
    case = dataclasses.replace(Case.parse(case), absent=("h0",))
    here, learned = expect(case), ("Uf", "bo")
    there = due.understood(case, due.work_out(case.descriptor, case.absent, learned))
    after = stepped(case.arrays, here.values, learned)
    assert (there.after_step is None) is (after is None)  # a saturated layer has no gradient to step along
    pairs = [(here, there)] if after is None else [(here, there), (expect(case, arrays=after), there.after_step)]
    for this, that in pairs:
        for name, value in this.values.items():
            assert that.values[name].tobytes() == value.tobytes()
            assert that.sd[name].tobytes() == this.sd[name].tobytes()
    chaotic = here.chaotic(case.cell.gradients)
    assert there.by_complex_step == (None if chaotic else complex_step_disagreement(case, here))
    assert there.by_check_grad == (None if chaotic else reference_check_grad(case, here))
    assert dict(there.withheld) == dict(here.withheld)


@pytest.mark.parametrize(
    ("case", "asked"),
    [
        ("m2s3e2u3-float64-seed7", True),
        ("m2s3e2u3-gru-float64-seed7", True),
        ("m2s3e2u3-bfloat16-seed7", False),
        ("m16s32e512u1352-float64-seed7", False),
    ],
)
def test_what_does_not_go_over_is_not_asked(case, asked):
    assert due.can_be_asked(Case.parse(case)) is asked
