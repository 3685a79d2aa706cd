"""Weights of every cell, layer and direction carried there and back; what cannot be is refused with the reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_checks.weights.carrying import from_framework, gradients_from_framework, to_framework, variants_of
from lstm_checks.weights.files import WeightsError, convert
from lstm_checks.weights.layouts import LAYOUTS, LayoutError, find_layout
from lstm_checks.weights.recurrent import CARRIED
from lstm_checks.weights.stacked import by_its_names
from lstm_ref.cells import CELLS, cell_named

ALL = [(name, one.cell.name) for name in LAYOUTS for one in variants_of(name)]
ALIKE = {("onnx", "gru"), ("onnx", "gru_reset_after")}
"""Of which of two cells arrays are they do not tell."""


def parameters(network, e=2, u=3, seed=0, p=2):
    cell = cell_named(network)
    rng = np.random.default_rng(seed)
    sizes = (1, 1, e, u, p)[: 4 + ("p" in cell.letters)]
    return {name: rng.standard_normal(cell.shape(name, *sizes)) for name in cell.parameters}


def held(p, layout, cell):
    """Return parameters, with zeros where a layout has no array."""
    own = next(one for one in variants_of(layout) if one.cell.name == cell)
    return {name: value if name.split("_")[0] in own.parameters else 0 * value for name, value in p.items()}


def assert_the_same(found, p, forget_bias=0.0):
    assert {*found} == {*p}
    for name, value in p.items():
        # What is taken off the forget gate's bias and added again may round, once each way.
        slack = 2**-52 * (1 + np.abs(value)) if forget_bias and name.startswith("bf") else 0
        assert found[name].shape == value.shape
        assert np.all(np.abs(found[name] - value) <= slack), name


@pytest.mark.parametrize(("layout", "cell"), ALL)
@settings(max_examples=15)
@given(
    how=st.sampled_from(["", "@1xboth", "@2xforward", "@3xboth", "@2xsum", "@2xreverse"]),
    e=st.integers(1, 4),
    u=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_every_cell_and_stack_goes_there_and_back(layout, cell, how, e, u, seed):
    p = held(parameters(cell + how, e, u, seed), layout, cell)
    back = from_framework(to_framework(p, layout), layout, cell=cell, units=u)
    assert_the_same(back, p, LAYOUTS[layout].forget_bias)


@pytest.mark.parametrize(("layout", "cell"), [one for one in ALL if one not in ALIKE])
def test_which_cell_arrays_are_of_is_told_by_their_names_and_shapes(layout, cell):
    e, u = 5, 7
    p = held(parameters(cell, e, u), layout, cell)
    assert_the_same(from_framework(to_framework(p, layout), layout, units=u), p, LAYOUTS[layout].forget_bias)


@pytest.mark.parametrize(("layout", "cell"), ALL)
def test_gradients_come_by_the_names_of_a_stack_with_those_of_second_biases(layout, cell):
    net = f"{cell}@2xboth"
    e, u = 5, 7
    arrays = to_framework(held(parameters(net, e, u), layout, cell), layout)
    found = gradients_from_framework(arrays, layout, cell=cell, units=u)
    own = next(one for one in variants_of(layout) if one.cell.name == cell)
    due = {f"d{name}{place.suffix}" for place in cell_named(net).places for name in own.parameters}
    twins = {name for name in found if " of " in name}
    assert {*found} - twins == due
    assert len(twins) == 4 * len(own.twins)
    assert all(name.split(" of ")[0] in due for name in twins)
    # Where two biases are only added, the second is zero when it is packed, and its gradient comes from where it was.
    assert not any(found[name].any() for name in twins)


@pytest.mark.parametrize("cell", [name for name in CELLS if not CELLS[name].shared])
def test_a_network_by_its_own_names_has_each_parameter_in_its_place(cell):
    """`pf` was given the values of `bf`, and `cg` those of `bg`."""
    net = cell_named(f"{cell}@2xboth")
    p = parameters(net.name)
    packed = by_its_names(net).pack(p)
    assert {*packed} == {*p}
    assert all(np.array_equal(packed[name], p[name]) for name in p)
    found = by_its_names(net).gradients(packed)
    assert all(np.array_equal(found[f"d{name}"], p[name]) for name in p)


def test_haikus_update_gate_is_one_less_ours_and_goes_there_by_its_sign():
    p = parameters("gru")
    arrays = to_framework(p, "haiku")
    z, r, g = np.split(arrays["w_h"], 3, axis=1)
    assert np.array_equal(z, -p["Vz"])
    assert np.array_equal(r, p["Vr"])
    assert np.array_equal(g, p["Vg"])


def test_onnx_peepholes_are_in_the_order_i_o_f():
    p = parameters("peephole@1xboth")
    arrays = to_framework(p, "onnx")
    assert arrays["P"].shape == (2, 9)
    due = [p[f"p{gate}_l0_reverse"] for gate in "iof"]
    assert np.array_equal(arrays["P"][1], np.concatenate(due, axis=1)[0])


@pytest.mark.parametrize(
    ("p", "layout", "words"),
    [
        (parameters("gru"), "torch", "layout torch holds no weights of the GRU"),
        (parameters("gru"), "torch", r"expected one of plain, projected, gru_reset_after, rnn"),
        (parameters("peephole"), "keras", "layout keras holds no weights of the LSTM with peepholes"),
        (parameters("layernorm"), "onnx", r"\(layernorm\), expected one of plain, peephole, gru, gru_reset_after, rnn"),
        (parameters("gru_reset_after"), "flax", "layout flax has no array for cg, expected zeros there"),
        ({**parameters("plain"), "q": np.ones(2)}, "torch", "q is none of layout named's arrays"),
        ({"Uf_l0": np.ones((2, 3)), "Vf": np.ones((3, 3))}, "torch", "Vf says no place, as the others do"),
        (
            {name: value for name, value in parameters("rnn@2xboth").items() if not name.endswith("l1_reverse")},
            "torch",
            "there are weights at l0, l0_reverse, l1, and none at l1_reverse, expected every layer alike",
        ),
        (
            {**parameters("rnn@2xforward"), "Vg_l1": np.ones((3, 2))},
            "torch",
            r"l1: Ug has shape \(3, 3\), expected .*Vg has shape \(3, 2\), expected \(u, u\)",
        ),
    ],
)
def test_what_a_layout_does_not_hold_is_refused_by_name(p, layout, words):
    with pytest.raises(LayoutError, match=words):
        to_framework(p, layout)


def test_what_is_zero_may_be_left_out():
    p = parameters("peephole")
    p |= {name: 0 * p[name] for name in ("pf", "pi", "po")}
    assert {*to_framework(p, "keras")} == {"kernel", "recurrent_kernel", "bias"}


def test_arrays_of_two_cells_alike_ask_which_cell():
    p = parameters("gru_reset_after")
    arrays = to_framework(p, "onnx")
    with pytest.raises(LayoutError, match="the cells gru and gru_reset_after have such arrays: say which cell"):
        from_framework(arrays, "onnx")
    assert_the_same(from_framework(arrays, "onnx", cell="gru_reset_after"), p)
    with pytest.raises(
        LayoutError, match=r"layout torch is of no cell 'gru', expected one of plain, projected, gru_res"
    ):
        from_framework(to_framework(p, "torch"), "torch", cell="gru")


def test_a_second_bias_that_is_only_added_is_one():
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(v.shape) for name, v in to_framework(parameters("gru"), "onnx").items()}
    p = from_framework(arrays, "onnx", cell="gru")
    z, _, g, z2, _, g2 = np.split(arrays["B"][0], 6)
    assert np.array_equal(p["bz"][0], z + z2)
    assert np.array_equal(p["bg"][0], g + g2)


@pytest.mark.parametrize(
    ("cell", "layouts"),
    [
        ("projected", ["torch", "named"]),
        ("peephole", ["onnx", "tf1", "named"]),
        ("gru", ["keras", "onnx", "haiku", "openvino", "named"]),
        ("gru_reset_after", ["torch", "keras", "onnx", "mlx", "equinox", "flax-linen", "torch-cell"]),
        ("rnn", ["torch", "keras", "onnx", "mlx", "flax", "flax-linen", "haiku", "openvino"]),
    ],
)
def test_files_of_every_cell_are_converted_and_come_back(cell, layouts):
    p = parameters(f"{cell}@2xboth")
    first = {f"encoder.{name}": value for name, value in to_framework(p, layouts[0]).items()}
    for layout in layouts[1:]:
        there, told = convert(first, find_layout(layouts[0]), find_layout(layout), cell=cell)
        assert len(told) == 4
        assert CELLS[cell].title in told[0]
        back, _ = convert(there, find_layout(layout), find_layout(layouts[0]), cell=cell)
        assert {*back} == {*first}
        # The forget gate's bias may round.
        assert all(np.allclose(back[name], first[name], rtol=0, atol=1e-15) for name in first)


def test_files_without_biases_say_of_which_cell_they_may_be():
    arrays = {name: v for name, v in to_framework(parameters("gru"), "keras").items() if name != "bias"}
    layout = find_layout("keras")
    with pytest.raises(
        WeightsError, match="without biases they may be of gru and gru_reset_after: say which cell, --c"
    ):
        convert(arrays, layout, find_layout("onnx"), bias=False)
    found, _ = convert(arrays, layout, find_layout("onnx"), bias=False, cell="gru")
    assert not found["B"].any()
    with pytest.raises(
        WeightsError, match=r"layout torch holds no weights of the GRU.*expected one of plain, projected"
    ):
        convert(arrays, layout, find_layout("torch"), bias=False, cell="gru")


def test_every_further_layout_says_where_it_is_used():
    assert all(one.of and one.cell.name != "plain" for one in CARRIED)
