"""What is built from a checkout: the wheel that is installed, and the sdist that everything can be made from."""

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from lstm_checks.targets.adapters import ADAPTERS

ROOT = Path(__file__).parent.parent
# Git's own list is what a checkout holds; an unpacked sdist has none, and nothing to compare with.
CHECKOUT = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    return folder


def tracked(*folders):
    command = ["git", "ls-files", "-z", *folders]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=600).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


@CHECKOUT
def test_the_sdist_holds_what_a_checkout_does(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked() - inside <= {name for name in tracked() if name.startswith(".github/")}


@CHECKOUT
def test_the_wheel_holds_the_packages_and_the_pages_that_help_names(built):
    (path,) = built.glob("*.whl")
    inside = set(zipfile.ZipFile(path).namelist())
    ours = {name.removeprefix("checks/") for name in tracked("lstm_ref", "lstm_fast", "checks/lstm_checks")}
    assert ours <= inside
    assert {f"lstm_checks/{name}" for name in tracked("docs", "examples")} <= inside
    # A name as common as these is somebody else's package.
    assert {name.partition("/")[0] for name in inside if ".dist-info" not in name} == {
        "lstm_ref",
        "lstm_fast",
        "lstm_checks",
    }


def test_each_adapter_has_a_file_and_an_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for adapter in ADAPTERS:
        named = [re.match(r"[\w-]+", line)[0] for line in extras[adapter.name]]
        assert set(adapter.packages.split()) == set(named), adapter.name
        assert importlib.util.find_spec(f"lstm_checks.targets.{adapter.name}")


def test_help_names_pages_that_are_there():
    command = [sys.executable, "-m", "lstm_checks", "--help"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
    (page,) = (word for word in said.split() if word.endswith("exec.md"))
    assert Path(page).is_file()


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    (path,) = built.glob("*.whl")
    zipfile.ZipFile(path).extractall(folder)
    return folder


@pytest.mark.parametrize("by_module", [False, True], ids=["pytest", "python -m pytest"])
@pytest.mark.parametrize("names", [("checks",), ("tests", "benchmarks", "docs")], ids=" ".join)
def test_a_project_keeps_its_own_packages_beside_what_is_installed(installed, tmp_path, names, by_module):
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "mine.py").write_text(f"MINE = {name!r}\n")
    lines = [line for name in names for line in (f"import {name}.mine", f"assert {name}.mine.MINE == {name!r}")]
    body = "\n    ".join([*lines, "import lstm_checks", "assert request.config.pluginmanager.hasplugin('lstm-checks')"])
    seen = f"    assert lstm_checks.__file__.startswith({str(installed)!r})\n"
    (tmp_path / "test_mine.py").write_text(f"def test_mine(request):\n    {body}\n{seen}")
    # The folder comes before whatever is installed here, this checkout among it; -P leaves out the current one, as the
    # script `pytest` does.
    command = ["-m", "pytest"] if by_module else ["-P", "-m", "pytest"]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    found = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1 passed" in found.stdout
