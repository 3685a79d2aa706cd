"""`lstm-checks explain`: what a word of a report means, from the page of words, the catalogue and the equations."""

import argparse
import difflib
import re
import sys
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import OK, UsageError

PAGE, WIDTH = "words.md", 100

EPILOG = f"""\
All words are on one page, too:
{common.page(PAGE)}

exit code: 0, or 2 where nobody knows the word
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "explain",
        run,
        help="say what a word of a report means",
        description="Say what a word of a report means: a verdict, a line such as suspect, a claim, a regime of "
        "values, a tensor such as dVf, a cell, or a known fault by its id. Without a word: list them.",
        epilog=EPILOG,
    )
    parser.add_argument("word", nargs="*", metavar="WORD", help="one word, or several that are one: second call")


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `explain`."""
    known = read_words()
    if not options.word:
        common.emit(_listed(known), sys.stdout)
        return OK
    word = " ".join(options.word)
    common.emit(_explained(word, known), sys.stdout)
    return OK


def read_words() -> dict[str, tuple[str, str]]:
    """Return each word of the page with the heading it stands under and what is said of it, as plain text."""
    from lstm_checks.files import FileError, read_bytes

    path = common.page(PAGE)
    try:
        text = read_bytes(path).decode("utf-8")
    except (OSError, FileError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    found: dict[str, tuple[str, str]] = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        heading, *entries = re.split(r"^### ", section, flags=re.M)
        for entry in entries:
            words, _, said = entry.partition("\n")
            for word in words.split(", "):
                found[word.strip()] = heading.split("\n")[0].strip(), _plain(said)
    return found


def _plain(text: str) -> str:
    """Return Markdown as a terminal shows it."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "").strip()


def _listed(known: dict[str, tuple[str, str]]) -> str:
    """Return all words of the page by their headings."""
    import textwrap

    headings: dict[str, list[str]] = {}
    for word, (heading, _) in known.items():
        headings.setdefault(heading, []).append(word)
    lines = []
    for heading, words in headings.items():
        lines += [f"{heading}:", textwrap.indent(textwrap.fill(", ".join(words), WIDTH - 2), "  ")]
    lines += ["", "and every known fault (lstm-checks faults), tensor (h, Cn, dVf) and cell (plain, peephole)"]
    return "\n".join(lines)


def _explained(word: str, known: dict[str, tuple[str, str]]) -> str:
    """Return what a word means."""
    folded = {_folded(name): name for name in known}
    name = folded.get(_folded(word), word)
    # A word may be two things: h is an output, and says of a case which cotangent it has.
    told = [_of_a_fault(word), _of_a_cell(word), _of_a_tensor(word), known.get(name, ("", ""))[1]]
    said = [_filled(text) for text in told if text]
    if said:
        return "\n\n".join([name, *said])
    others = [*known, *_faults(), *_cells()]
    by_folded = {_folded(name): name for name in others}
    near = difflib.get_close_matches(_folded(word), by_folded, n=3)
    meant = f"did you mean {' or '.join(repr(by_folded[name]) for name in near)}?" if near else "lstm-checks explain"
    hint = meant if near else f"{meant} lists the words, lstm-checks faults the known faults"
    raise UsageError(f"no report says {word!r}; {hint}")


def _filled(text: str) -> str:
    """Return a text with lines as long as they are read with ease."""
    import textwrap

    return "\n\n".join(textwrap.fill(part, WIDTH, break_on_hyphens=False) for part in text.split("\n\n"))


def _folded(word: str) -> str:
    """Return a word in the form in which those are equal that are meant alike; h and H are not."""
    folded = re.sub(r"[\s_-]+", " ", word.strip().strip(":"))
    return folded.lower() if len(folded) > 1 else folded


def _faults() -> dict[str, Any]:
    """Return every known fault of any cell, with the first cell that has it."""
    from lstm_checks.contract import PLAIN
    from lstm_checks.faults.catalogue import FAULTS, own_faults
    from lstm_ref.cells import CELLS

    # Whether the other cells can have what is the plain one's, too, is not tried: it takes seconds.
    found: dict[str, Any] = {id: (fault, PLAIN) for id, fault in FAULTS.items()}
    for cell in CELLS.values():
        for fault in own_faults(cell):
            found.setdefault(fault.id, (fault, cell))
    return found


def _cells() -> dict[str, Any]:
    """Return the cells by name."""
    from lstm_ref.cells import CELLS

    return dict(CELLS)


def _of_a_fault(word: str) -> str:
    """Return what the catalogue says of a fault."""
    from lstm_checks.contract import PLAIN

    faults = _faults()
    if word.lower() not in faults:
        return ""
    fault, cell = faults[word.lower()]
    of = "" if cell is PLAIN else f" --cell {cell.name}"
    said = f"A known fault, of the family {fault.family}. {fault.title.rstrip('.')}."
    seen = f" Seen in {fault.seen}." if fault.seen else ""
    shown = f"As a change of the reference, and as a report: lstm-checks faults {fault.id}{of}"
    return f"{said}\n\n{fault.explanation}{seen}\n\n{shown}"


def _of_a_cell(word: str) -> str:
    """Return which cell has a name, and what it takes."""
    from lstm_ref.cells import cell_named

    if word not in _cells() and not re.search("[,@+]", word):
        return ""
    try:
        cell = cell_named(word)
    except ValueError:
        return ""
    taken = f"It takes the parameters {' '.join(cell.parameters)} and gives {' and '.join(cell.outputs)}."
    return f"The {cell.title}, as --cell {cell.name}. {taken}"


def _of_a_tensor(word: str) -> str:
    """Return what a tensor is, and its shape."""
    for cell in _cells().values():
        if word not in (*cell.inputs, *cell.tensors, *cell.cotangents):
            continue
        shape = f"({', '.join(cell.axes[word])})"
        whose = f"of the {cell.title}"
        if word in cell.gradients:
            return f"The gradient of the loss with respect to {word[1:]}, of shape {shape}, {whose}."
        if word in cell.outputs:
            what = "The hidden state of every step" if word == "h" else "A state after the last step"
            return f"{what}, an output of shape {shape}, {whose}."
        kind = "A cotangent" if word in cell.cotangents else "A parameter" if word in cell.parameters else "An input"
        return f"{kind} of shape {shape}, {whose}."
    return ""
