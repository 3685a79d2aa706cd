"""`lstm-checks explain` and the page of words: whatever a report says can be asked for, and means the same in both."""

import ast
import re
from pathlib import Path

import pytest

import lstm_checks.judging.text
from lstm_checks.asking import claims as asking
from lstm_checks.cases import COTANGENTS, LARGE_REGIME, LENGTHS, REGIMES
from lstm_checks.cli import main
from lstm_checks.commands.explain import read_words
from lstm_checks.compare import Verdict
from lstm_checks.faults.catalogue import faults_of
from lstm_checks.judging.reports import OF_NO_TENSOR
from lstm_checks.properties import claims as properties
from lstm_ref.cells import CELLS

PAGE = Path(__file__).parents[2] / "docs" / "words.md"

WORDS = [
    *Verdict,
    *OF_NO_TENSOR,
    *properties.NAMES,
    *asking.NAMES,
    *REGIMES,
    "init",
    LARGE_REGIME,
    *LENGTHS,
    *dict.fromkeys(word for kinds in COTANGENTS for word in kinds.split("+")),
    "nostates",
]


def explained(*words, capsys):
    code = main(("explain", *words))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("word", dict.fromkeys(map(str, WORDS)))
def test_whatever_a_report_says_is_on_the_page(word):
    assert word in read_words()


def labels():
    """The words with which lines of a report begin, in the source that writes them."""
    source = Path(lstm_checks.judging.text.__file__).read_text()
    strings = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return {found[1].strip() for text in strings if (found := re.match(r"  ([a-z][a-z ]{3,8}?) *$", text[:12]))}


def test_every_line_of_a_report_has_a_word():
    # What says nothing but what it says.
    plain = {"also", "note", "claims", "examples", "shapes", "none in", "together"}
    found = labels()
    assert {"suspect", "relation", "hint", "rerun", "where"} <= found
    assert found - plain <= {*read_words(), "not asked"}


@pytest.mark.parametrize("word", ["suspect", "vacuous", "second call", "x1e-3", "check_grad"])
def test_the_command_says_what_the_page_says(word, capsys):
    code, out, _ = explained(word, capsys=capsys)
    section = re.search(rf"^### {re.escape(word)}\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.M | re.S)[1]
    assert code == 0
    assert out.split()[len(word.split()) :] == section.replace("`", "").split()


def test_no_word_is_there_twice():
    headings = [word for line in re.findall(r"^### (.*)$", PAGE.read_text(), re.M) for word in line.split(", ")]
    assert sorted(headings) == sorted(set(headings))
    assert len({word.lower() for word in headings if len(word) > 1}) == len([w for w in headings if len(w) > 1])


@pytest.mark.parametrize("words", [("second", "call"), ("second-call",), ("Second_Call:",)])
def test_a_word_may_be_written_in_several_ways(words, capsys):
    assert explained(*words, capsys=capsys)[1].startswith("second call\n\nA call gives the same after another one")


@pytest.mark.parametrize("name", CELLS)
def test_each_fault_of_a_cell_its_name_and_its_tensors_are_explained(name, capsys):
    cell = CELLS[name]
    some = [*faults_of(cell)][:: max(1, len(faults_of(cell)) // 3)]
    for fault in some:
        code, out, _ = explained(fault, capsys=capsys)
        assert code == 0
        assert " ".join(out.split()).startswith(f"{fault} A known fault, of the family ")
    assert explained(name, capsys=capsys)[1].startswith(f"{name}\n\nThe {cell.title}, as --cell {name}.")
    assert all(explained(tensor, capsys=capsys)[0] == 0 for tensor in cell.tensors)


def test_a_fault_is_told_from_the_catalogue(capsys):
    fault = faults_of(CELLS["plain"])["carry-dropped"]
    out = " ".join(explained("carry-dropped", capsys=capsys)[1].split())
    assert " ".join(fault.explanation.split()) in out
    assert out.endswith("lstm-checks faults carry-dropped")
    assert "--cell peephole" in explained("peepholes-ignored", capsys=capsys)[1]


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        ("dVf", "The gradient of the loss with respect to Vf, of shape (u, u)"),
        ("dX", "with respect to X, of shape (m, s, e)"),
        ("Cn", "A state after the last step, an output of shape (m, u)"),
        ("h", "The hidden state of every step"),
        ("dCn", "A cotangent of shape (m, u)"),
    ],
)
def test_a_tensor_has_its_shape(tensor, words, capsys):
    assert words in explained(tensor, capsys=capsys)[1]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("suspct", "'suspect'"),
        ("cary-dropped", "'carry-dropped'"),
        ("peephol", "'peephole'"),
        ("Xyz", "lists the words"),
    ],
)
def test_of_an_unknown_word_it_says_what_was_perhaps_meant(word, meant, capsys):
    code, out, err = explained(word, capsys=capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert meant in err


def test_without_a_word_all_are_listed(capsys):
    out = " ".join(explained(capsys=capsys)[1].replace(",", " ").split())
    assert all(word in out for word in read_words())
