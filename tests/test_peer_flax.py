"""Flax's own nnx.OptimizedLSTMCell, through the same harness; the whole run for all that JAX compiles."""

import pytest

pytest.importorskip("flax")

from checks.report.text import render_report
from checks.targets import TargetError, load_target
from checks.verify import verify

pytestmark = pytest.mark.peer


def test_optimized_lstm_cell_passes():
    report = verify(load_target("flax"), examples=100, seed=1)
    assert report.exit_code == 0, render_report(report)
    assert len(report.examples) == 100
    # Each is compiled; and still there is an example in every stratum.
    assert len({example.case.dims for example in report.examples}) <= 12
    assert all(report.stratum_counts.values()), report.stratum_counts
    assert "few because each is compiled" in render_report(report)


def test_a_module_of_other_weights_is_refused_with_what_it_has(tmp_path, monkeypatch):
    (tmp_path / "other.py").write_text("from flax import nnx\nGRU = nnx.GRUCell\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        TargetError, match=r"the weights of other.py:GRU are not those of one LSTM.*it has dense_h.kernel"
    ):
        load_target("other.py:GRU")
