"""The table of Keras's options in docs/frameworks.md, row by row."""

import importlib.util
import re
from pathlib import Path

import pytest

if importlib.util.find_spec("keras") is None:
    pytest.skip("needs Keras", allow_module_level=True)

from lstm_checks.targets.load import TargetError, load_target, to_target

pytestmark = pytest.mark.peer

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"
ROWS = re.findall(r"^\| `(L\..+|keras\..+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
WHOLE = {"return_sequences": True, "return_state": True}


def made(text):
    """Return the function of units that a row stands for."""
    load_target("keras")  # chooses what Keras runs on, before it is imported
    import keras

    names = {"keras": keras, "L": keras.layers, "W": WHOLE, "S": {"return_sequences": True}}
    return eval(f"lambda units: (lambda u: {text})(units)", names)


def test_the_table_is_there():
    assert len(ROWS) > 25


@pytest.mark.parametrize(("text", "what"), ROWS, ids=[text for text, _ in ROWS])
def test_what_the_page_says_of_a_layer_is_so(text, what):
    if what.startswith("refused"):
        with pytest.raises(TargetError) as raised:
            to_target(made(text), "it")
        assert what.partition('"')[2].rstrip('"') in str(raised.value)
        return
    cell, _, besides = re.fullmatch(r"judged as `([^`]+)`(; )?(.*)", what).groups()
    target = to_target(made(text), "it")
    assert target.cell.name == cell
    lacking = besides.removesuffix(" unsupported")
    if lacking != besides:
        assert lacking in target.lacks
    elif besides:
        assert besides in " ".join(target.notes)
    if "bias" not in text:
        assert not {"dbf", "dbf_l0"} & target.lacks or "trainable" in text
