"""The layouts of GRUs and RNNs: what goes in comes back by its name, and arrays tell of which cell they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_checks.weights.layouts import SECOND
from lstm_checks.weights.recurrent import LAYOUTS, Kept, recognize_cell
from lstm_ref.cells import CELLS

ALL = [(CELLS[name], layout) for name, layouts in LAYOUTS.items() for layout in layouts]
by_layout = pytest.mark.parametrize(("cell", "layout"), ALL, ids=[f"{cell.name} {one.name}" for cell, one in ALL])


@by_layout
@given(e=st.integers(1, 5), u=st.integers(1, 5), prefix=st.sampled_from(["", "encoder.gru."]))
def test_what_is_packed_comes_back_and_a_second_bias_is_zero_or_the_cells_own(cell, layout, e, u, prefix):
    rng = np.random.default_rng((e, u))
    p = {name: rng.standard_normal(cell.shape(name, 1, 1, e, u)) for name in cell.parameters}
    kept = Kept(cell, layout, prefix)
    arrays = kept.pack(p)
    assert {name: array.shape for name, array in arrays.items()} == {
        prefix + name: shape for name, shape in layout.shapes(e, u).items()
    }
    found = kept.gradients(arrays)
    for name in p.keys() - set(kept.absent()):
        np.testing.assert_array_equal(found.pop(f"d{name}"), p[name])
    assert kept.absent() == (("cg",) if layout.name == "flax" and cell.name == "gru_reset_after" else ())
    assert set(found) == set(kept.twins)
    assert not any(value.any() for value in found.values())
    assert set(kept.twins.values()) <= set(cell.gradients)


@by_layout
def test_arrays_tell_of_which_cell_they_are_by_names_and_shapes(cell, layout):
    shapes = {f"net.{name}": shape for name, shape in layout.shapes(5, 7).items()}
    kept = recognize_cell({**shapes, "head.weight": (3, 7)}, 5, 7)
    assert (kept.cell, kept.layout, kept.prefix) == (cell, layout, "net.")
    assert recognize_cell(dict([*shapes.items()][1:]), 5, 7) is None
    assert recognize_cell({name: (*shape[:-1], shape[-1] + 1) for name, shape in shapes.items()}, 5, 7) is None


def test_a_grus_second_bias_is_the_candidates_alone():
    torch = next(layout for layout in LAYOUTS["gru_reset_after"] if layout.name == "torch")
    kept = Kept(CELLS["gru_reset_after"], torch)
    assert kept.twins == {"dbr of bias_hh_l0": "dbr", "dbz of bias_hh_l0": "dbz"}
    assert [block.gates for block in torch.blocks if SECOND in block.kinds] == ["rzg"]
    rnn = Kept(CELLS["rnn"], LAYOUTS["rnn"][0])
    assert rnn.twins == {"dbg of bias_hh_l0": "dbg"}
