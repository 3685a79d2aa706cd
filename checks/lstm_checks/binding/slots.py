"""Which of a layer's arrays may be which weights: the layouts that shapes, or the mere number of arrays, allow.

The gates of a layout made here stand in places, written as if their order were f, i, g, o; which of the 24 orders it is
the forward pass shows (`problem.py`).
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lstm_checks.contract import PLAIN
from lstm_checks.weights.layouts import COLUMNS, DOCUMENTED, ROWS, SECOND, SPLIT, STACKED, VECTOR, Block, Layout

GATES = "".join(PLAIN.gates)
Kinds = tuple[str, ...]

TOGETHER: dict[Kinds, tuple[Kinds, ...]] = {
    ("U",): (("U",),),
    ("V",): (("V",),),
    ("U", "V"): (("U", "V"), ("V", "U")),
    ("U", "V", "b"): (("U", "V", "b"), ("b", "U", "V"), ("V", "U", "b"), ("b", "V", "U")),
    ("U", "b"): (("U", "b"), ("b", "U")),
    ("V", "b"): (("V", "b"), ("b", "V")),
}
"""What one matrix may hold, and in which orders."""


def layout_of(blocks: Sequence[Block]) -> Layout:
    """Return the layout of some blocks."""
    return Layout("its own", "found by trying", tuple(blocks), "", DOCUMENTED)


def _options(shape: tuple[int, ...], e: int, u: int) -> list[tuple[Kinds, str, bool]]:
    """Return what an array of a shape may be: its kinds in any order, its form, and whether all gates are in it."""
    found: list[tuple[Kinds, str, bool]] = []
    rows = {kinds: sum({"U": e, "V": u, "b": 1}[kind] for kind in kinds) for kinds in TOGETHER}
    for wide, joined in ((4 * u, True), (u, False)):
        for kinds, count in rows.items():
            found += [(kinds, COLUMNS, joined)] if shape == (count, wide) else []
            found += [(kinds, ROWS, joined)] if shape == (wide, count) else []
        found += [(("b",), form, joined) for form, due in _bias_shapes(wide).items() if shape == due]
    for kinds, count in rows.items():
        found += [(kinds, SPLIT, True)] if shape == (count, 4, u) else []
        found += [(kinds, STACKED, True)] if shape == (4, count, u) else []
    return found + ([(("b",), SPLIT, True)] if shape == (4, u) else [])


def _bias_shapes(wide: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a bias by its form."""
    return {VECTOR: (wide,), COLUMNS: (1, wide), ROWS: (wide, 1)}


def has_shape_of_weights(shape: tuple[int, ...], e: int, u: int) -> bool:
    """Return whether an array may be weights, by its shape."""
    return bool(_options(shape, e, u))


def lettered(names: Sequence[str]) -> list[str]:
    """Return those of some names that are the same in fours but for the letter of a gate."""
    return [name for four in _fours_by_stem(names) for name in four]


def layouts_of_shapes(shapes: Mapping[str, tuple[int, ...]], e: int, u: int) -> Iterator[Layout]:
    """Yield the layouts that arrays of known shapes may be in; what has no shape of a weight's is left out of them.

    Parameters
    ----------
    shapes : mapping
        The shape of each array by its name. Four of one shape for a gate each are in the order of their gates in all
        groups, or named by the gates' letters.
    e, u : int
        With e, u, e + u, 4 e, 4 u and these plus one all different.
    """
    options = {name: found for name, shape in shapes.items() if (found := _options(shape, e, u))}
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in options:
        groups.setdefault(shapes[name], []).append(name)
    choices: list[list[list[Block]]] = []
    for names in groups.values():
        several = [blocks for kinds, form, joined in options[names[0]] for blocks in _group(names, kinds, form, joined)]
        if not several:
            return
        choices.append(several)
    for chosen in itertools.product(*choices):
        blocks = [block for several in chosen for block in several]
        if _is_whole(blocks):
            yield from arranged(layout_of(blocks))


def _group(names: Sequence[str], kinds: Kinds, form: str, joined: bool) -> Iterator[list[Block]]:
    """Yield the blocks that arrays of one shape may be."""
    second = kinds if kinds != ("b",) else (SECOND,)
    if joined:
        if len(names) == 1 or (kinds == ("b",) and len(names) == 2):
            yield [Block(name, kinds if not k else second, GATES, form) for k, name in enumerate(names)]
        return
    for told in _fours(names):
        if len(told) == 1 or kinds == ("b",):
            yield [
                Block(name, kinds if not k else second, gate, form)
                for k, four in enumerate(told)
                for name, gate in four.items()
            ]


def _fours(names: Sequence[str]) -> Iterator[list[dict[str, str]]]:
    """Yield how four or eight arrays may be one a gate: by their letters, or else in the order in which they come."""
    most = len(names) // 4
    if len(names) not in (4, 8):
        return
    told = _by_stem(names)
    if told:
        yield told
        return
    yield [dict(zip(names[k::most], GATES, strict=True)) for k in range(most)]
    if most > 1:
        yield [dict(zip(names[4 * k : 4 * k + 4], GATES, strict=True)) for k in range(most)]


def _is_whole(blocks: Sequence[Block]) -> bool:
    """Return whether blocks hold all weights once; biases may be missing, or be two."""
    held = sorted(kind + gate for block in blocks for kind in block.kinds for gate in block.gates)
    weights = [kind + gate for kind in "UV" for gate in GATES]
    biases, second = [f"b{gate}" for gate in GATES], [SECOND + gate for gate in GATES]
    return held in (sorted(weights), sorted(weights + biases), sorted(weights + biases + second))


def arranged(layout: Layout) -> Iterator[Layout]:
    """Yield a layout with what is in one matrix in each order, and square ones lying either way."""
    blocks = layout.blocks
    orders = {block.kinds: TOGETHER.get(block.kinds, (block.kinds,)) for block in blocks}
    square = any(_may_lie_either_way(block) for block in blocks)
    for chosen in itertools.product(*orders.values()):
        order = dict(zip(orders, chosen, strict=True))
        for turned in (False, True) if square else (False,):
            flip = {COLUMNS: ROWS, ROWS: COLUMNS}
            yield layout_of(
                [
                    replace(b, kinds=order[b.kinds], form=flip[b.form] if turned and _may_lie_either_way(b) else b.form)
                    for b in blocks
                ]
            )


def _may_lie_either_way(block: Block) -> bool:
    """Return whether an array is (u, u), whose shape does not tell how it lies."""
    return block.kinds == ("V",) and len(block.gates) == 1


def by_letter(layout: Layout) -> bool:
    """Return whether a layout made here has an array for each gate, named by the gates' letters or words."""
    names = [block.name for block in layout.blocks if len(block.gates) == 1]
    told = {name: gate for four in _fours_by_stem(names) for name, gate in four.items()}
    return bool(names) and told == {block.name: block.gates for block in layout.blocks if len(block.gates) == 1}


_WORDS = ((("V",), r"h2h|hh|wh|_h|rec|^u"), (("U",), r"x2h|ih|wx|_x|in|^w"), (("b",), r"b|bias"))
"""Words of names by which plans are ordered; all are tried."""


def layouts_of_names(names: Sequence[str], e: int, u: int) -> Iterator[Layout]:
    """Yield the layouts that arrays of unknown shapes may be in, by how many there are; likelier names first.

    Parameters
    ----------
    names : sequence of str
        What a function takes, in its order.
    e, u : int
        Which shapes follow from; not looked at here.
    """
    plans = sorted(_plans(names), key=_dislike)
    for plan in plans:
        for matrices, biases in itertools.product((COLUMNS, ROWS), (VECTOR, COLUMNS, ROWS)):
            if biases != VECTOR and not any(set(kinds) <= {"b", SECOND} for _, kinds, _ in plan):
                continue
            blocks = [
                Block(name, kinds, gates, biases if set(kinds) <= {"b", SECOND} else matrices)
                for name, kinds, gates in plan
            ]
            if _is_whole(blocks):
                yield layout_of(blocks)


Plan = list[tuple[str, Kinds, str]]


def _plans(names: Sequence[str]) -> Iterator[Plan]:
    """Yield what each of so many arrays may be: its kinds and its gates."""
    joined: dict[int, tuple[tuple[Kinds, ...], ...]] = {
        1: ((("U", "V", "b"),), (("U", "V"),)),
        2: ((("U", "V"), ("b",)), (("U",), ("V",)), (("U", "b"), ("V",))),
        3: ((("U",), ("V",), ("b",)),),
        4: ((("U",), ("V",), ("b",), (SECOND,)),),
    }
    for kinds in joined.get(len(names), ()):
        for order in dict.fromkeys(itertools.permutations(kinds)):
            yield [(name, kind, GATES) for name, kind in zip(names, order, strict=True)]
    yield from _plans_of_fours(names)


def _plans_of_fours(names: Sequence[str]) -> Iterator[Plan]:
    """Yield plans with an array a gate: names that differ in the gate's letter, in fours or turn by turn."""
    count = len(names) // 4
    kinds: dict[int, tuple[tuple[Kinds, ...], ...]] = {
        1: ((("U", "V", "b"),), (("U", "V"),)),
        2: ((("U", "V"), ("b",)), (("U",), ("V",))),
        3: ((("U",), ("V",), ("b",)),),
        4: ((("U",), ("V",), ("b",), (SECOND,)),),
    }
    if len(names) % 4 or count not in kinds:
        return
    lettered = _by_stem(names)
    fours = [lettered] if lettered else []
    if not fours:
        fours.append([dict(zip(names[k::count], GATES, strict=True)) for k in range(count)])
        fours += [[dict(zip(names[4 * k : 4 * k + 4], GATES, strict=True)) for k in range(count)]] if count > 1 else []
    for several in fours:
        for order in itertools.chain.from_iterable(dict.fromkeys(itertools.permutations(k)) for k in kinds[count]):
            yield [(n, kind, gate) for four, kind in zip(several, order, strict=True) for n, gate in four.items()]


def _by_stem(names: Sequence[str]) -> list[dict[str, str]]:
    """Return names in fours that are the same but for the letter of the gate; nothing if they are not all so."""
    found = _fours_by_stem(names)
    covered = [name for four in found for name in four]
    return found if sorted(covered) == sorted(names) else []


_GATE_WORDS = (
    ("forget|forgt", "f"),
    ("candidate|cand|cell|modulation|update_gate", "g"),
    ("output|out(?!put)", "o"),
    ("input|inp(?!ut)", "i"),
)
"""Words for gates, and the letter that each is."""


def _short(name: str) -> str:
    """Return a name with a letter for the word of a gate."""
    for words, letter in _GATE_WORDS:
        name = re.sub(words, letter, name, flags=re.IGNORECASE)
    return name


def _fours_by_stem(names: Sequence[str]) -> list[dict[str, str]]:
    """Return the fours of names that are the same but for the letter, or the word, of a gate; with the gate of each."""
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        short = _short(name)
        for start in [match.start() for match in re.finditer("[figcjo]", short, re.IGNORECASE)]:
            groups.setdefault(f"{short[:start]}*{short[start + 1 :]}", {})[short[start].lower()] = name
    found = {}
    for letters in groups.values():
        gates = {{"c": "g", "j": "g"}.get(letter, letter): name for letter, name in letters.items()}
        if len(letters) == len(gates) == len(GATES) and set(gates) == set(GATES):
            found[tuple(sorted(gates.values()))] = {name: gate for gate, name in gates.items()}
    # As the names come, where other letters of theirs are gates' letters, too.
    taken, fours = set[str](), []
    for four in found.values():
        if not taken & set(four):
            fours.append(four)
            taken |= set(four)
    return fours


def _dislike(plan: Plan) -> int:
    """Return how many names speak against what a plan says of them."""
    against = 0
    for name, kinds, _ in plan:
        short = re.sub(r".*[\['.]", "", name.rstrip("]'")).lower() or name.lower()
        said = next((k for k, words in _WORDS if re.search(words, short)), None)
        against += said is not None and said[0] not in kinds
    return against
