"""The rows of docs/museum.md whose exhibits need a framework."""

import importlib.util

import pytest
from test_museum import EXHIBITS, holds

pytestmark = pytest.mark.peer
OTHERS = [id for id, exhibit in EXHIBITS.items() if exhibit.framework]


@pytest.mark.parametrize("id", OTHERS)
def test_a_row_holds(id, tmp_path):
    if importlib.util.find_spec(EXHIBITS[id].framework) is None:  # Keras is not imported before its backend is chosen
        pytest.skip(f"needs {EXHIBITS[id].framework}")
    holds(EXHIBITS[id], tmp_path)
