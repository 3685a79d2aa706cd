"""The site: its tutorials run, every link leads somewhere, and every fault has a place."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

from lstm_checks.faults.catalogue import faults_of
from lstm_ref.cells import CELLS

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs").glob("tutorial-*.md"))


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "docs" / "site" / "build.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, capsys):
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(), re.S)
    assert len(blocks) >= 3
    names: dict = {}
    for block in blocks:
        exec(compile(block, path.name, "exec"), names)
    assert capsys.readouterr().out


def test_every_link_leads_to_a_page_and_its_heading(builder, tmp_path):
    builder.write_pages(tmp_path)
    builder.write_reports(tmp_path, 0)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    # What other steps write.
    written |= {"faults/index.md", "reference.md"}
    for page in sorted(tmp_path.rglob("*.md")):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for _, _, path, anchor in builder.LINK.findall(text):
            if re.match(r"[a-z]+:", path):
                continue
            name = os.path.normpath(page.parent.relative_to(tmp_path) / path) if path else page.relative_to(tmp_path)
            assert str(name) in written, f"{page.name} leads to {path}"
            if anchor:
                headings = re.findall(r"^#+ (.*)", (tmp_path / name).read_text(), re.M)
                known = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
                assert anchor[1:] in known, f"{page.name} leads to {path}{anchor}"
    for page in re.findall(r"[\w/-]+\.md", (ROOT / "docs" / "site" / "mkdocs.yml").read_text()):
        assert page in written, f"mkdocs.yml names {page}"


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("[the map](../checks/README.md)", "[the map](map.md)"),
        ("[a decision](decisions/README.md#x)", "[a decision](decisions/README.md#x)"),
        ("![drawn](kill-matrix.svg)", "![drawn](kill-matrix.svg)"),
        ("[its text](../checks/lstm_checks/cli.py)", "its text"),
        ("[away](https://example.org/x.md)", "[away](https://example.org/x.md)"),
        ("[here](#below)", "[here](#below)"),
    ],
)
def test_a_link_is_one_of_the_site_or_its_text(builder, text, due):
    assert builder.relinked(text, "docs/gate.md", builder.pages()) == due


def test_every_fault_has_its_place_with_a_diff(builder, tmp_path):
    count = builder.write_faults(tmp_path)
    known = {fault for cell in CELLS.values() for fault in faults_of(cell)}
    assert count == len(known)
    pages = {path.name: path.read_text() for path in (tmp_path / "faults").glob("*.md")}
    index = pages.pop("index.md")
    headings = [name for text in pages.values() for name in re.findall(r"^## (\S+)$", text, re.M)]
    assert sorted(headings) == sorted(known)
    assert sum(text.count("```diff\n") for text in pages.values()) == count
    assert all(f"({name})" in index for name in pages)
    assert "dC_ = dh_ * o * tanh_derivative(C) + (dCn if" in "".join(pages.values())
