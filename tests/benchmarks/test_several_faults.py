"""`benchmarks/several_faults.py`: what is drawn can be told apart, and what is named is held to it."""

import random
from dataclasses import replace

import pytest

from benchmarks.several_faults import ALIKE, NONE, OTHER, SAME, SOME, draw, judge
from lstm_checks.diagnosis.diagnose import Diagnosis, Named
from lstm_checks.faults.catalogue import FAULTS

PLANTED = tuple(FAULTS[id] for id in ("carry-dropped", "dvo-transposed", "dh0-zero"))


def test_equal_seeds_draw_equal_faults():
    first, again = (draw(random.Random(5), 3) for _ in range(2))
    assert first == again
    assert len({fault.id for fault in first}) == 3


@pytest.mark.parametrize(
    ("named", "certain", "said"),
    [
        (("dh0-zero", "carry-dropped", "dvo-transposed"), True, SAME),
        (("carry-dropped", "dvo-transposed"), True, OTHER),
        (("carry-dropped", "dvo-transposed", "dh0-zero"), False, SOME),
        ((), False, NONE),
    ],
)
def test_what_is_named_is_held_to_what_was_planted(named, certain, said):
    suspects = (Named(" and ".join(named), "", "", certain, ""),) if named else ()
    assert judge(PLANTED, Diagnosis(suspects)) == said


def test_other_faults_that_give_the_same_are_alike():
    twin = replace(PLANTED[0], id="under-another-name")
    found = Diagnosis((Named("carry-dropped and dvo-transposed and dh0-zero", "", "", True, ""),))
    assert judge((twin, *PLANTED[1:]), found) == ALIKE
