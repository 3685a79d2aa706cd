"""Puts the pages of the site together: those of `docs/`, the READMEs, the catalogue of faults, and example reports.

    python docs/site/build.py build/site-pages [--examples N]

Links between files of the repository become links between pages; a link to a file that is no page becomes its text.
"""

import argparse
import os
import re
import shutil
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

RENAMED = {
    "docs/start.md": "index.md",
    "README.md": "readme.md",
    "lstm_ref/README.md": "equations.md",
    "checks/README.md": "map.md",
    "tests/README.md": "tests.md",
    "checks/lstm_checks/faults/README.md": "adding-a-fault.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Which page a file of the repository becomes, where it is not its path in `docs/`."""

REPORTS = {
    "carry-dropped": ("fault:carry-dropped", "A memory that hands no gradient on"),
    "transposed": ("fault:recurrence-untransposed", "A matrix that is transposed on the way back"),
    "right": ("lstm_fast:LSTM", "A layer that is right"),
}
"""The example reports: by the name of its page, what is judged, and the title."""

EXAMPLES = 40
"""How many examples each of these has."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def pages() -> dict[str, str]:
    """Return the page that each Markdown file of the repository becomes."""
    found = {f"docs/{path.relative_to(ROOT / 'docs').as_posix()}": "" for path in (ROOT / "docs").rglob("*.md")}
    return {name: name.removeprefix("docs/") for name in found} | RENAMED


def relinked(text: str, source: str, known: Mapping[str, str]) -> str:
    """Return the text of a file with its links as the site has them."""
    here = os.path.dirname(source)
    page = known[source]

    def link(match: re.Match[str]) -> str:
        image, words, path, anchor = match[1], match[2], match[3], match[4] or ""
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        name = os.path.normpath(os.path.join(here, path)).replace(os.sep, "/")
        name = f"{name}/README.md" if f"{name}/README.md" in known else name
        if name in known:
            return f"[{words}]({os.path.relpath(known[name], os.path.dirname(page) or '.')}{anchor})"
        if name.startswith("docs/") and (ROOT / name).is_file():
            path = os.path.relpath(name.removeprefix("docs/"), os.path.dirname(page) or ".")
            return f"{image}[{words}]({path})"
        return words

    return LINK.sub(link, text)


def write_pages(folder: Path) -> None:
    """Write the pages that files of the repository become, and the pictures."""
    known = pages()
    for source, page in known.items():
        place = folder / page
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(relinked((ROOT / source).read_text(encoding="utf-8"), source, known), encoding="utf-8")
    for picture in (ROOT / "docs").glob("*.svg"):
        shutil.copy(picture, folder / picture.name)


def write_faults(folder: Path) -> int:
    """Write the catalogue, a page a family, and return how many faults there are."""
    from lstm_checks.faults.catalogue import faults_of
    from lstm_checks.faults.model import Fault, diff
    from lstm_ref.cells import CELLS

    first: dict[str, tuple[Fault, str]] = {}
    for name, cell in CELLS.items():
        for fault in faults_of(cell).values():
            first.setdefault(fault.id, (fault, name))
    found = sorted(first.values(), key=lambda pair: pair[0].family)
    (folder / "faults").mkdir(parents=True, exist_ok=True)
    index = ["# Known bugs of LSTMs", f"{len(found)} known bugs, each a change of the reference's own source.", ""]
    for family, members in groupby(found, lambda pair: pair[0].family):
        listed, page = list(members), f"{re.sub(r'[^a-z0-9]+', '-', family.lower()).strip('-')}.md"
        lines = [f"# {family[0].upper()}{family[1:]}"]
        index.append(f"- [{family}]({page}), {len(listed)}: {', '.join(f'`{fault.id}`' for fault, _ in listed)}")
        for fault, cell in listed:
            lines += [f"## {fault.id}", fault.title, fault.explanation]
            lines += [f"Seen in {fault.seen}."] if fault.seen else []
            lines += [f"Smallest case, of the {CELLS[cell].title}: `{fault.example}`"]
            lines += ["```diff", diff(fault, CELLS[cell]).rstrip(), "```"]
            lines.append("")
        (folder / "faults" / page).write_text("\n\n".join(lines[:1]) + "\n\n" + _spaced(lines[1:]), encoding="utf-8")
    (folder / "faults" / "index.md").write_text("\n".join([index[0], "", *index[1:]]) + "\n", encoding="utf-8")
    return len(found)


def _spaced(lines: list[str]) -> str:
    """Return paragraphs apart, and the lines of a block of code together."""
    return "\n\n".join(lines).replace("```diff\n\n", "```diff\n").replace("\n\n```\n", "\n```\n") + "\n"


def write_reference(folder: Path) -> None:
    """Write the page on which the docstrings of what is public are shown."""
    import lstm_checks
    import lstm_ref

    names = [f"lstm_checks.{name}" for name in sorted(lstm_checks.__all__)]
    names += [f"lstm_ref.{name}" for name in sorted(lstm_ref.__all__)]
    text = "# Reference\n\n" + "\n".join(f"::: {name}\n" for name in names)
    (folder / "reference.md").write_text(text, encoding="utf-8")


def write_reports(folder: Path, examples: int) -> None:
    """Write example reports as pages of their own, of so many examples each, and the page that leads to them."""
    lines = ["# Example reports", "What `lstm-checks verify TARGET --html FILE` writes, as it writes it.", ""]
    if examples:
        from lstm_checks.html.page import report_to_html
        from lstm_checks.judging.look import report_in_full
        from lstm_checks.judging.verify import verify
        from lstm_checks.targets.load import load_target

        (folder / "reports").mkdir(exist_ok=True)
        for name, (spec, title) in REPORTS.items():
            target = load_target(spec)
            page = report_to_html(report_in_full(target, verify(target, examples=examples)))
            (folder / "reports" / f"{name}.html").write_text(page, encoding="utf-8")
            lines.append(f"- [{title}](reports/{name}.html), `lstm-checks verify {spec} --examples {examples}`")
    (folder / "reports.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def build(folder: Path, examples: int = EXAMPLES) -> None:
    """Write all pages into a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_pages(folder)
    write_faults(folder)
    write_reference(folder)
    write_reports(folder, examples)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="of each example report; 0 for none")
    options = parser.parse_args()
    build(options.folder, options.examples)
