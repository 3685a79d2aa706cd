"""Operands of products that are rounded to fewer bits are told by the bits with which the product is right."""

import pytest
from plain_lstm import planted
from planted_faults import BACK, DW, EDITS

from lstm_checks.cases import Case
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.diagnosis.operands import short_operands

CUT = "(lambda v: (v.astype('f4').view('u4') & np.uint32({:#x})).view('f4').astype(v.dtype))"
TF32, BFLOAT16 = CUT.format(0xFFFFE000), CUT.format(0xFFFF0000)
FLOAT32 = "(lambda v: v.astype('f4').astype(v.dtype))"
FORWARD = ("a = W.T @ z", "a = short(W[: e + u]).T @ short(z[: e + u]) + W[e + u :].T")


def with_short(edit, short):
    return planted("short", [(edit[0], edit[1].replace("short", short))])


@pytest.mark.parametrize(
    ("short", "bits"),
    [
        (TF32, "12 significant bits, right where they have 11, as float16 or TF32 has"),
        (BFLOAT16, "9 significant bits, right where they have 8, as bfloat16 has"),
        (FLOAT32, "25 significant bits, right where they have 24, as float32 has"),
    ],
)
@pytest.mark.parametrize(
    ("edit", "products"),
    [
        (FORWARD, "X U and h V are"),
        ((FORWARD[0], "a = W[e:].T @ z[e:] + short(W[:e]).T @ short(z[:e])"), "X U is"),
        ((BACK, "back = short(R) @ short(delta)"), "dk_ U^T and dk_ V^T are"),
        ((DW, "dW += np.vstack([short(k.z[: e + u]) @ short(delta).T, delta.sum(1)])"), "X^T dk_ and h^T dk_ are"),
    ],
)
def test_products_of_short_operands_are_told(edit, products, short, bits):
    assert list(short_operands(with_short(edit, short))) == [f"{products} wrong where operands have {bits}"]


def test_what_is_told_stands_in_the_diagnosis_in_float32_too():
    target = with_short(FORWARD, TF32)
    for dtype in ("float64", "float32"):
        found = diagnose(target, Case(3, 4, 3, 3, dtype=dtype, seed=3))
        assert not any(suspect.certain for suspect in found.suspects)
        assert any(said.startswith("X U and h V are wrong where operands have 12") for said in found.relations)


@pytest.mark.parametrize(
    "id", ["gate-order-ifgo", "carry-without-forget", "dvo-transposed", "final-memory-cotangent-ignored"]
)
def test_nothing_is_said_of_other_faults(id):
    assert list(short_operands(planted(id, EDITS[id]))) == []


def test_sums_in_a_short_format_are_no_short_operands():
    assert list(short_operands(with_short(FORWARD, "np.float32"))) == []


def test_nothing_is_said_of_what_is_right():
    assert list(short_operands(planted("right", []))) == []
