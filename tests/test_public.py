"""What is public: the names that `lstm_checks` lists, and that listing them costs nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

import lstm_checks

PAGE = Path(__file__).parent.parent / "docs" / "api.md"


@pytest.mark.parametrize("name", lstm_checks.__all__)
def test_a_public_name_is_there_and_in_the_documentation(name):
    assert getattr(lstm_checks, name).__doc__
    assert f"`{name}" in PAGE.read_text()


def test_the_documentation_names_nothing_else():
    rows = [line.split("`")[1].partition("(")[0] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(lstm_checks.__all__) == sorted(dir(lstm_checks))


def test_what_is_not_public_is_refused_with_what_is():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'; public are Case, LayerSuite"):
        lstm_checks.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_else():
    code = "import sys, lstm_checks; print([n for n in ('numpy', 'scipy', 'hypothesis', 'pytest') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout == "[]\n"
