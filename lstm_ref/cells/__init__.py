"""The cells there are, one file each."""

import re
from collections.abc import Callable
from functools import cache

import numpy as np

from lstm_ref.cell import Cell, sharing
from lstm_ref.cells import clipped, coupled, gru, gru_reset_after, layernorm, peephole, plain, projected, rnn
from lstm_ref.network import parse
from lstm_ref.slots import USUAL, Activation, with_activations

CELLS: dict[str, Cell] = {
    found.CELL.name: found.CELL
    for found in (plain, coupled, peephole, layernorm, projected, clipped, gru, gru_reset_after, rnn)
}
"""By name, the plain LSTM first."""

LIMITED: dict[str, Callable[[float], Cell]] = {"clipped": clipped.with_limit}
"""The cells that hold a limit, and what makes the same of another one."""


@cache
def cell_named(name: str) -> Cell:
    """Return the cell of a name, or the network of one ("peephole@2xboth"), always the same one.

    After "+" stand initial states that all samples share.

    After the name of a cell in `CELLS` other activations may stand, by slot: f of the gates, g of the candidate, h of
    the memory; see `lstm_ref.slots`. Before these stands the limit of a cell that has one, "clipped,limit=3".

    Raises
    ------
    ValueError
        "'peep', expected one of plain, coupled, peephole, layernorm, ..."; whoever asks knows what to put before it.

    Examples
    --------
    >>> cell_named("plain,f=hardsigmoid6,h=leakyrelu:0.3")
    <Cell plain,f=hardsigmoid6,h=leakyrelu:0.3>
    """
    of, composed, how = name.partition("@")
    if composed:
        return parse(how, cell_named(of))
    found = re.fullmatch(r"(.+?)((?:\+[A-Za-z]+0)+)", name)
    if found:
        cell = sharing(cell_named(found[1]), found[2].split("+")[1:])
        # Each once and in their order: one cell, one name.
        return cell if cell.name == name else cell_named(cell.name)
    first, *options = name.split(",")
    if first not in CELLS:
        raise ValueError(f"{first!r}, expected one of {', '.join(CELLS)}")
    if not options:
        return CELLS[first]
    limit = None
    if first in LIMITED and options[0].startswith("limit="):
        limit = _limit(options.pop(0), name)
    cell, chosen = CELLS[first], {}
    if not cell.slots:
        raise ValueError(f"{name!r}, but the cell {first} takes no other activations, expected {first} alone")
    for option in options:
        slot, _, word = option.partition("=")
        if slot not in cell.slots or slot in chosen:
            forms = ", ".join(f"{known}=FUNCTION" for known in cell.slots)
            before = ", limit=NUMBER first" if first in LIMITED else ""
            raise ValueError(
                f"{name!r} with {option!r}, expected {first} and, each once after a comma, any of {forms}{before}"
            )
        try:
            chosen[slot] = Activation.parse(word)
        except ValueError as error:
            raise ValueError(f"{name!r} with the activation {error}") from None
    others = {slot: found for slot, found in chosen.items() if found != Activation(USUAL[slot])}
    return _with_options(first, limit, tuple(sorted(others.items())))


def _limit(option: str, name: str) -> float:
    """Return the limit that an option says."""
    try:
        limit = float(option.removeprefix("limit="))
    except ValueError:
        limit = np.nan
    if not 0 < limit < np.inf:
        raise ValueError(f"{name!r} with {option!r}, expected limit=NUMBER with a number above 0")
    return limit


@cache
def _with_options(name: str, limit: float | None, chosen: tuple[tuple[str, Activation], ...]) -> Cell:
    """Return a cell of another limit and with other activations, the same one however it was named."""
    cell = CELLS[name] if limit is None or limit in CELLS[name].numbers.values() else _limited(name, limit)
    return with_activations(cell, **dict(chosen)) if chosen else cell


@cache
def _limited(name: str, limit: float) -> Cell:
    """Return a cell of another limit, always the same one."""
    return LIMITED[name](limit)
