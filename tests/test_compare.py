"""What is said of one tensor, by arrays made up for it: no layer and no reference are involved."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstm_checks import tolerance
from lstm_checks.compare import Verdict, compare, differing_digits
from lstm_checks.contract import PLAIN, Target
from lstm_checks.oracles.expected import Expected

SHAPES = {"h": (3, 4, 2), "Cn": (3, 2), "dX": (3, 4, 5)} | {name: (2, 3) for name in PLAIN.gradients if name != "dX"}
TENSORS = PLAIN.tensors
TARGET = Target("made up", "", lambda *_: None)
DTYPES = ("float64", "float32")


def due(dtype="float64", sd=1e-3):
    """Return values between 1 and 2, exact in float32, with noise of a share of what is told apart."""
    rng = np.random.default_rng(0)
    values = {n: np.float64(rng.uniform(1, 2, shape).astype(np.float32)) for n, shape in SHAPES.items()}
    noise = sd * tolerance.RESOLUTION[dtype]
    return Expected(values, {name: noise * rng.uniform(0.5, 1, shape) for name, shape in SHAPES.items()}, dtype)


def claims(values, expected, target=TARGET):
    came = {name: np.asarray(value).astype(expected.dtype) for name, value in values.items()}
    return claims_as_they_came(came, expected, target)


def claims_as_they_came(values, expected, target=TARGET):
    return {claim.name: claim for claim in compare(values, expected, target, expected.dtype)}


def masks(shape):
    return st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))).map(
        lambda flags: np.reshape(flags, shape)
    )


def of_where(where, shape):
    """Return the mask that the words speak of."""
    label, _, entries = where.partition(" ")
    axis = ({2: ("row", "column"), 3: ("sample", "step", "entry")}[len(shape)]).index(label.removesuffix("s"))
    # Words count from 1, and say of how many.
    listed, _, count = entries.partition(" of ")
    found = [int(k) - 1 for k in listed.split(", ")]
    assert int(count) == shape[axis]
    assert label.endswith("s") == (len(found) > 1)
    mask = np.zeros(shape, bool)
    mask[(slice(None),) * axis + (found,)] = True
    return mask


def assert_where(where, wrong):
    """Assert that the words speak of the wrong entries, and that there are words where they are whole slices."""
    axes = range(wrong.ndim)
    whole = (wrong.any(axis=tuple(k for k in axes if k != axis), keepdims=True) for axis in axes if not wrong.all())
    assert bool(where) == any(np.array_equal(wrong, np.broadcast_to(hit, wrong.shape)) for hit in whole)
    assert not where or np.array_equal(of_where(where, wrong.shape), wrong)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_due_passes_and_uses_nothing(dtype):
    found = claims(due(dtype).values, due(dtype))
    assert tuple(found) == TENSORS
    assert {(claim.verdict, claim.use) for claim in found.values()} == {(Verdict.PASS, 0.0)}


@settings(max_examples=200)
@given(name=st.sampled_from(["h", "Cn", "dX", "dUo"]), data=st.data(), dtype=st.sampled_from(DTYPES))
def test_exactly_the_entries_beyond_the_accepted_deviation_are_wrong_and_the_worst_is_shown(name, data, dtype):
    expected = due(dtype)
    shape = SHAPES[name]
    slab = np.zeros(shape, bool)
    slab[(slice(None),) * data.draw(st.integers(0, len(shape) - 1)) + (data.draw(st.integers(0, 1)),)] = True
    wrong = data.draw(st.one_of(masks(shape), st.just(slab)))
    worst = data.draw(st.tuples(*(st.integers(0, k - 1) for k in shape)))
    share = np.where(wrong, data.draw(st.sampled_from([1.05, 3.0])), data.draw(st.sampled_from([0.0, 0.95])))
    share[worst] *= 1.02
    accepted = 6 * expected.sd[name]
    sign = data.draw(st.sampled_from([-1, 1]))
    claim = claims(expected.values | {name: expected.values[name] + sign * share * accepted}, expected)[name]
    assert claim.use == pytest.approx(share.max(), rel=1e-2 if dtype == "float32" else 1e-4)
    if not wrong.any():
        assert claim.verdict is Verdict.PASS
        return
    assert claim.verdict is Verdict.FAIL
    found = claim.discrepancy
    assert (found.tensor, found.kind, found.wrong, found.size) == (name, "value", wrong.sum(), wrong.size)
    assert share[found.index] == share.max()
    assert found.message.startswith(f"{name}{list(found.index)} = ")
    assert found.message.endswith(f" ± {accepted[found.index]:.2g}")
    assert_where(found.where, wrong)


def test_what_is_accepted_is_accepted_to_the_last_bit():
    ones, sd = {n: np.ones(shape) for n, shape in SHAPES.items()}, {n: np.full(k, 2.0**-40) for n, k in SHAPES.items()}
    expected = Expected(ones, sd, "float64")
    limit = 6 * 2.0**-40  # beside it four of the smallest numbers are nothing
    came = ones | {"dbo": ones["dbo"] + limit}
    claim = claims(came, expected)["dbo"]
    assert (claim.verdict, claim.use) == (Verdict.PASS, 1.0)
    came["dbo"][1, 2] += 2.0**-52
    claim = claims(came, expected)["dbo"]
    assert (claim.verdict, claim.discrepancy.wrong, claim.discrepancy.index) == (Verdict.FAIL, 1, (1, 2))
    no_more = replace(expected, values=ones | {"dbo": np.full(SHAPES["dbo"], limit)})
    assert claims(no_more.values, no_more)["dbo"].verdict is Verdict.VACUOUS
    # So is a share of the entry that is just what must be known of it.
    known = replace(expected, values={n: limit / tolerance.RESOLUTION["float64"] * v for n, v in ones.items()})
    assert {claim.verdict for claim in claims(known.values, known).values()} == {Verdict.PASS}


@given(left=st.floats(-1e6, 1e6), right=st.floats(-1e6, 1e6), digits=st.integers(1, 17))
def test_numbers_are_shown_with_two_digits_more_than_tell_them_apart(left, right, digits):
    right = left + (right - left) * 10.0**-digits
    assume(left != right)
    apart = [k for k in range(3, 16) if f"{left:.{k}g}" != f"{right:.{k}g}"]
    digits = apart[0] + 2 if apart else 17
    assert differing_digits(left, right) == (f"{left:.{digits}g}", f"{right:.{digits}g}")


@pytest.mark.parametrize("name", ["dX", "dbf"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pass_takes_an_entry_that_is_not_zero_and_one_that_rounding_leaves(name, dtype):
    expected = due(dtype, 0.2)
    accepted = 6 * expected.sd[name]
    last = (-1,) * len(SHAPES[name])

    def verdict(values):
        changed = replace(expected, values=expected.values | {name: values})
        # The others' noise says that it is not chaotic, which is another matter.
        claim = claims(changed.values | {name: values + 0.5 * accepted}, changed)[name]
        assert claim.use == pytest.approx(0.5, rel=1e-2)
        return claim.verdict

    assert verdict(0.99 * accepted) is Verdict.VACUOUS
    blurred = accepted / tolerance.RESOLUTION[dtype] * 0.99
    assert verdict(blurred) is Verdict.INCONCLUSIVE
    changed = replace(expected, values=expected.values | {name: blurred})
    assert claims(changed.values, changed)[name].reason == "rounding blurs every entry"
    blurred[last] *= -1.03
    assert verdict(blurred) is Verdict.PASS
    some = np.zeros(SHAPES[name])
    some[last] = -1.01 * accepted[last]
    assert verdict(some) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", TENSORS)
def test_rounding_that_drowns_one_output_says_nothing_of_the_other_and_of_all_gradients(name):
    expected = due()
    expected.sd[name][0, 0] = 2.1 * tolerance.CHAOTIC["float64"]
    came = expected.values | {"dbhf": expected.values["dbf"]}
    all_claims = claims(came, expected, replace(TARGET, twins={"dbhf": "dbf"}))
    found = {n: c.reason for n, c in all_claims.items() if c.verdict is Verdict.INCONCLUSIVE}
    assert set(found) == ({name} if name in PLAIN.outputs else {*PLAIN.gradients, "dbhf"})
    assert set(found.values()) == {"chaotic: rounding drowns the answer"}


def test_what_a_target_lacks_adds_or_calls_by_a_second_name():
    expected = due()
    target = replace(TARGET, lacks=frozenset({"dX", "Cn"}), twins={"dbhf": "dbf", "dbho": "dbo"})
    values = {name: value for name, value in expected.values.items() if name not in ("dX", "Cn")}
    found = claims(values | {"dbhf": expected.values["dbf"], "dbho": expected.values["dbf"]}, expected, target)
    assert {n for n, c in found.items() if c.verdict is Verdict.UNSUPPORTED} == {"dX", "Cn"}
    assert {n for n, c in found.items() if c.verdict is Verdict.FAIL} == {"dbho"}
    assert found["dbhf"].verdict is Verdict.PASS
    found = claims(values | {"dWf": np.zeros(1)}, expected, target)
    assert {n: c.discrepancy.kind for n, c in found.items() if c.verdict is Verdict.FAIL} == {
        "dWf": "extra",
        "dbhf": "missing",
        "dbho": "missing",
    }
    assert found["dWf"].use == np.inf
    shown = found["dWf"].discrepancy
    assert shown.tensor == "dWf"
    assert shown.message.startswith("dWf is not a gradient of the contract, expected only dUf, dVf, dbf, dUi, ")


@pytest.mark.parametrize("step", range(4))
def test_of_h_the_last_step_alone_will_do_only_where_the_case_allows_it(step):
    expected = due()
    came = expected.values | {"h": expected.values["h"][:, step]}
    assert claims(came, expected)["h"].discrepancy.kind == "shape"
    allowed = claims(came, expected.as_returned(True, PLAIN))["h"]
    assert allowed.verdict is (Verdict.PASS if step == 3 else Verdict.FAIL)
    assert step == 3 or allowed.discrepancy.kind == "value"
    assert claims(expected.values, expected.as_returned(False, PLAIN))["h"].verdict is Verdict.PASS
    # Each entry by the noise of its own step.
    expected.sd["h"][:, -1] *= 10
    came["h"] = expected.values["h"][:, -1] + 5.9 * expected.sd["h"][:, -1]
    assert claims(came, expected.as_returned(True, PLAIN))["h"].use == pytest.approx(5.9 / 6, rel=1e-4)
    came["h"][1, 0] = np.inf
    found = claims(came, expected.as_returned(True, PLAIN))["h"].discrepancy
    assert found.message == "h[1, 0] = inf, but should be finite"
    # Of another tensor it will not.
    came = expected.values | {"dX": expected.values["dX"][:, -1]}
    assert claims(came, expected.as_returned(True, PLAIN))["dX"].discrepancy.kind == "shape"


def few(shape):
    """Return masks of one to three entries."""
    size = int(np.prod(shape))
    return st.sets(st.integers(0, size - 1), min_size=1, max_size=3).map(
        lambda found: np.isin(np.arange(size), [*found]).reshape(shape)
    )


@pytest.mark.parametrize("name", ["h", "dX", "Cn", "dUo", "dh0"])
@settings(max_examples=20)
@given(data=st.data(), value=st.sampled_from([np.nan, -np.inf]))
def test_of_what_is_not_finite_the_first_that_was_computed_is_shown(name, data, value):
    expected = due()
    bad = data.draw(st.one_of(few(SHAPES[name]), masks(SHAPES[name]).filter(np.any)))
    came = np.where(bad, value, expected.values[name])
    found = claims(expected.values | {name: came}, expected)[name]
    assert (found.verdict, found.use) == (Verdict.FAIL, np.inf)
    found = found.discrepancy
    entries = [tuple(map(int, index)) for index in np.argwhere(bad)]
    if name in ("h", "dX"):
        # Forwards h comes step by step, backwards dX from the last.
        step = (min if name == "h" else max)(index[1] for index in entries)
        entries = [index for index in entries if index[1] == step]
        assert f"; first non-finite value at step {step + 1} of 4" in found.message
    assert found.index == entries[0]
    assert found.message.startswith(f"{name}{list(found.index)} = {value}, but should be finite")
    assert found.message.endswith(", gate o") == (name == "dUo")
    assert ", gate" not in found.message or name == "dUo"
    assert (found.tensor, found.kind, found.wrong, found.size) == (name, "finite", bad.sum(), bad.size)
    assert_where(found.where, bad)


@pytest.mark.parametrize("name", ["dX", "dbo"])
@pytest.mark.parametrize("kind", ["missing", "none", "type", "dtype", "shape"])
def test_the_form_comes_before_the_values(name, kind):
    expected = due()
    value = expected.values[name]
    others = {"none": None, "type": value.tolist(), "dtype": value.astype(np.float32), "shape": value[:1]}
    came = expected.values | {name: others.get(kind)}
    if kind == "missing":
        del came[name]
    found = {c.name: c for c in compare(came, expected, TARGET, "float64")}
    assert {n for n, c in found.items() if c.verdict is Verdict.FAIL} == {name}
    assert found[name].discrepancy.kind == ("missing" if kind == "none" else kind)
    assert found[name].use == np.inf
    shown = found[name].discrepancy
    assert (shown.tensor, shown.wrong, shown.size, shown.where, shown.index) == (name, 0, 0, "", ())
    assert (" is missing," in found[name].discrepancy.message) == (kind == "missing")
    assert (" is None," in found[name].discrepancy.message) == (kind == "none")


@pytest.mark.parametrize("name", TENSORS)
def test_a_wrong_shape_and_a_wrong_type_are_shown_beside_what_was_expected(name):
    axes = {"h": "m, s, u", "dX": "m, s, e", "Cn": "m, u", "dh0": "m, u", "dC0": "m, u"}
    axes |= {f"d{kind}{gate}": {"U": "e, u", "V": "u, u", "b": "1, u"}[kind] for kind in "UVb" for gate in "figo"}
    expected = due()
    value, shape = expected.values[name], SHAPES[name]

    def message(came, last_step=False):
        found = claims_as_they_came(expected.values | {name: came}, expected.as_returned(last_step, PLAIN))
        return found[name].discrepancy.message

    wanted = f"expected ({axes[name]}) = {shape}"
    assert message(value[..., :1]) == f"{name} has shape {value[..., :1].shape}, {wanted}"
    assert message(None) == f"{name} is None, {wanted.replace('expected', 'expected an array of shape')}"
    assert message(1.0) == f"{name} is a float, expected a NumPy array of float64"
    assert message(np.float64(1)) == f"{name} is a numpy.float64, expected a NumPy array of float64"
    if name == "h":
        assert message(value[:, -1, :1], True) == "h has shape (3, 1), expected (m, u) = (3, 2)"


def test_an_error_too_large_for_its_share_is_infinite_and_no_warning():
    expected = due()
    expected.sd["dbo"][...] = 1e-300
    claim = claims(expected.values | {"dbo": expected.values["dbo"] + 1e300}, expected)["dbo"]
    assert (claim.verdict, claim.use) == (Verdict.FAIL, np.inf)


@given(
    share=st.floats(0.01, 30).filter(lambda x: abs(x - 1) > 1e-6), count=st.integers(1, 15), worst=st.integers(0, 15)
)
def test_a_large_tensor_is_judged_along_its_directions_as_well(share, count, worst):
    expected = replace(due(sd=1e-4), sigmas=1e3, seed=5)
    came = expected.values | {"dX": expected.values["dX"] + 10 * expected.sd["dX"]}
    found = expected.project("dX", came["dX"])
    accepted = np.full(16, 1e-3)
    expected.directions.update({name: (expected.project(name, came[name]), accepted) for name in came})
    beyond = np.where((np.arange(16) - worst) % 16 < count, share, 0.5) * accepted
    beyond[worst] *= 1.02
    expected.directions["dX"] = found - beyond, accepted
    claim = claims(came, expected)["dX"]
    use = max(1.02 * share, 0.5)
    assert claim.use == pytest.approx(use, rel=1e-6)
    assert claim.verdict is (Verdict.FAIL if use > 1 else Verdict.PASS)
    if use > 1:
        shown = claim.discrepancy
        assert (shown.kind, shown.size, shown.wrong) == ("direction", 16, count if share > 1 else 1)
        assert shown.tensor == "dX"
        assert shown.message.startswith(f"dX along random direction {worst} = ")
        assert shown.message.endswith(", though every entry by itself is within what 8 noisy copies can tell")
    # The entries' use counts where the directions' is less.
    expected.directions["dX"] = found, accepted
    assert claims(came, expected)["dX"].use == pytest.approx(1e-2, rel=0.01)
    # What is accepted is accepted to the last bit, and alone what is beyond is wrong.
    expected.directions["dX"] = 0 * found, np.abs(found)
    assert (claims(came, expected)["dX"].verdict, claims(came, expected)["dX"].use) == (Verdict.PASS, 1.0)
    expected.directions["dX"][1][worst] /= 2
    assert claims(came, expected)["dX"].discrepancy.wrong == 1
