"""How often the wrong line is named, and the edit found that mends it: random slips in ten layers, and the catalogue.

Ten layers (`tests/repair/layers/`) are written as people write them. One slip of the pen is made in one of them at
random (a name, a sign, a factor or term too many or too few, a transpose, a number, a gate's letter, `=` for `+=`);
what changes nothing or does not run is drawn anew. Then it is asked of another process, as `verify` and `fix` do,
which line is wrong and what mends it. The slips are made by a program of their own, which knows nothing of the edits
that are searched.

    .venv/bin/python benchmarks/repair_campaign.py --edits 100 --seed 0
    .venv/bin/python benchmarks/repair_campaign.py --edits 40 --together 2
    .venv/bin/python benchmarks/repair_campaign.py --catalogue
"""

import argparse
import ast
import difflib
import random
import resource
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ROOT / "tests" / "repair" / "layers"
sys.path += [str(ROOT / "tests"), str(LAYERS)]

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.contract import DHN
from lstm_checks.diagnosis.observe import suited
from lstm_checks.repair.ask import look_into_source
from lstm_checks.repair.found import Found
from lstm_checks.repair.trial import Trial
from lstm_checks.targets.load import TargetError, load_target

NAMES = {"layer_class": "LSTM", "torch_module": "LSTM"}
TOLD = (Case(2, 3, 7, 5), Case(1, 2, 1, 1), Case(3, 4, 2, 2, seed=2))
OTHERS = tuple(
    Case(m, s, e, u, regime=regime, seed=100 + k)
    for k, (m, s, e, u, regime) in enumerate(
        [
            (2, 5, 3, 4, "normal"),
            (1, 3, 2, 2, "x1e-3"),
            (3, 2, 1, 5, "mixed"),
            (2, 2, 4, 4, "x10"),
            (4, 3, 2, 1, "padded"),
        ]
    )
)

SHOWING = (
    TOLD,
    (Case(4, 9, 3, 4), Case(3, 9, 4, 4, seed=1)),
    (Case(3, 5, 4, 4, regime="x10", cotangents="every+h+C"), Case(2, 4, 3, 3, regime="x100")),
    (Case(2, 4, 3, 3, regime="padded"), Case(3, 3, 2, 2, regime="padded")),
    (Case(140, 2, 2, 2),),
    (Case(2, 140, 2, 2),),
    (Case(2, 2, 140, 2),),
    (Case(2, 2, 2, 140),),
)
"""The cases of which a catalogued fault is asked: the first on which it shows."""


@dataclass(frozen=True)
class Slip:
    """A slip, or a fault as it is planted.

    `parts` are the lines that each of its edits changed, `words` what it was, `text` the new text, and `alone` the text
    with each of several slips alone. `enough` are the sets of edits, by number, that have to be taken back, the
    smallest that do: an edit may be there for the sake of another.
    """

    parts: tuple[frozenset[int], ...]
    words: str
    text: str
    alone: tuple[str, ...] = ()
    enough: tuple[frozenset[int], ...] = ()

    @property
    def lines(self) -> frozenset[int]:
        """All lines that it changed."""
        return frozenset().union(*self.parts)


def layers(only: list[str] | None = None) -> list[Path]:
    """Return the files of the layers."""
    files = [path for path in sorted(LAYERS.glob("*.py")) if path.stem not in ("repair_helpers", "conftest")]
    return [path for path in files if only is None or path.stem in only]


def slips(text: str) -> list[tuple[tuple[int, int, int, int], str]]:
    """All places of a file's functions where a slip can be made, each with what stands there then."""
    found = []
    for function in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)):
        operands = [
            side
            for node in ast.walk(function)
            if isinstance(node, ast.BinOp)
            for side in (node.left, node.right)
            if isinstance(side, ast.Name | ast.Attribute | ast.Subscript)
        ]
        names = sorted({ast.unparse(node) for node in operands})
        for node in ast.walk(function):
            if not hasattr(node, "lineno") or node is function:
                continue
            at = (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
            own = ast.get_source_segment(text, node) or ""
            if node in operands:
                found += [(at, other) for other in names if other != own]
                found += [(at, f"({own} * {names[len(own) % len(names)]})"), (at, f"(-{own})"), (at, f"(1 - {own})")]
                found += [(at, own[:-2] if own.endswith(".T") else f"{own}.T")]
            if isinstance(node, ast.BinOp):
                left, right = (ast.get_source_segment(text, side) for side in (node.left, node.right))
                found += [(at, f"({left})"), (at, f"({right})")]
                signs = {ast.Add: "-*", ast.Sub: "+*", ast.Mult: "+-", ast.MatMult: "", ast.Div: "*", ast.Pow: "*"}
                found += [(at, f"(({left}) {sign} ({right}))") for sign in signs.get(type(node.op), "")]
            if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
                found += [(at, str(node.value + 1)), (at, str(max(node.value - 1, 0)))]
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ("f", "i", "g", "o"):
                found += [(at, repr(gate)) for gate in "figo" if gate != node.value]
            if isinstance(node, ast.Constant) and str(node.value) in [k + gate for k in "UVb" for gate in "figo"]:
                found += [(at, repr(node.value[0] + gate)) for gate in "figo" if gate != node.value[1]]
            if isinstance(node, ast.AugAssign):
                target, value = (ast.get_source_segment(text, part) for part in (node.target, node.value))
                found += [(at, f"{target} = {value}"), (at, f"{target} -= {value}")]
    return found


def slipped(text: str, rng: random.Random, count: int) -> Slip | None:
    """Return the text with so many slips in different lines; None where they fall together."""
    chosen = [rng.choice(slips(text)) for _ in range(count)]
    if len({at[0] for at, _ in chosen}) < count:
        return None
    if any(at[0] != at[2] for at, _ in chosen):
        return None
    whole = _with(text, chosen)
    try:
        compile(whole, "slip", "exec")
    except SyntaxError:
        return None
    changed = whole.splitlines()
    words = "; ".join(changed[at[0] - 1].strip() for at, _ in sorted(chosen))
    alone = tuple(_with(text, [one]) for one in chosen) if count > 1 else ()
    lines = sorted(at[0] for at, _ in chosen)
    return Slip(tuple(frozenset({line}) for line in lines), words, whole, alone, (frozenset(range(count)),))


def _with(text: str, chosen: list[tuple[tuple[int, int, int, int], str]]) -> str:
    """Return the text with some of its places changed."""
    lines = text.splitlines(keepends=True)
    for (line, column, _, end_column), other in sorted(chosen, reverse=True):
        lines[line - 1] = lines[line - 1][:column] + other + lines[line - 1][end_column:]
    return "".join(lines)


def wrong_on(spec: str, cases: tuple[Case, ...]) -> frozenset[str] | None:
    """Which tensors of a target are wrong on any of some cases; None where it cannot be loaded, or raises."""
    try:
        target = load_target(spec)
    except TargetError:
        return None
    found: set[str] = set()
    for case in cases:
        asked = suited(target, case)
        if asked is None:
            return None
        with np.errstate(all="ignore"):
            trial = Trial(asked, DHN in target.lacks)
            found |= set() if trial.chaotic else trial.wrong(target)
    return None if any(name.startswith("error") for name in found) else frozenset(found)


@dataclass
class Result:
    """What became of one slip. `mended` are the lines of it that the fix changed, if all is right elsewhere, too."""

    layer: str
    slip: Slip
    found: Found
    seconds: float
    same: bool = False
    alike: bool = False
    mended: frozenset[int] = frozenset()

    @property
    def first(self) -> bool:
        """Whether the first line that is named is the wrong one; of several that are, whether all are named."""
        named = [line.line for line in self.found.lines]
        if set(named[:1]) & self.mended & self.slip.lines and len(set(named)) == 1:
            # One of several that were changed, and an edit of it is enough.
            return True
        return any(
            all(self.slip.parts[k] & set(named[: None if len(enough) > 1 else 1]) for k in enough)
            for enough in self.slip.enough
        )

    @property
    def others(self) -> bool:
        """Whether a line is named that was not changed, and is not told together with one that was."""
        return any(not {line.line, *line.also} & self.slip.lines for line in self.found.lines)

    @property
    def untrue(self) -> bool:
        """Whether such a line is named, and is not one whose edit makes everything right."""
        true = self.slip.lines | self.mended
        return any(not {line.line, *line.also} & true for line in self.found.lines)


def look(
    path: Path,
    name: str,
    slip: Slip,
    folder: Path,
    number: int,
    seconds: float,
    original: str,
    cases: tuple[Case, ...] = TOLD,
) -> Result | None:
    """Return what is found of a slip that fails these cases; None where it changes nothing there, or does not run."""
    for k, text in enumerate(slip.alone):
        one = folder / f"{path.stem}_{number}_{k}.py"
        one.write_text(text, encoding="utf-8")
        if not wrong_on(f"{one}:{name}", cases):
            return None
    file = folder / f"{path.stem}_{number}.py"
    file.write_text(slip.text, encoding="utf-8")
    spec = f"{file}:{name}"
    if not wrong_on(spec, cases):
        return None
    start = _processor()
    found = look_into_source(spec, cases, fix=seconds)
    result = Result(path.stem, slip, found, _processor() - start)
    if found.fixes:
        (text,) = found.fixes[0].texts.values()
        result.same = text.split() == original.split()
        file.write_text(text, encoding="utf-8")
        result.alike = wrong_on(spec, OTHERS + cases) == frozenset()
        old, new = slip.text.splitlines(), text.splitlines()
        if result.alike:
            changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
            result.mended = frozenset(k + 1 for what, i, j, _, _ in changes if what != "equal" for k in range(i, j))
    return result


def _processor() -> float:
    """Seconds of the processor that other processes took: on a machine that others use, the clock says nothing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def random_slips(options: argparse.Namespace) -> list[Result]:
    """Return what is found of random slips, as many in each layer."""
    rng, results = random.Random(options.seed), list[Result]()
    files = layers(options.layer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "repair_helpers.py").write_text((LAYERS / "repair_helpers.py").read_text())
        number = 0
        while len(results) < options.edits:
            path = files[len(results) % len(files)]
            text, number = path.read_text(encoding="utf-8"), number + 1
            slip = slipped(text, rng, options.together)
            layer = NAMES.get(path.stem, "lstm")
            result = look(path, layer, slip, folder, number, options.seconds, text) if slip else None
            if result is not None:
                results.append(result)
                _say(result)
    return results


def catalogue(options: argparse.Namespace) -> list[Result]:
    """Return what is found of every catalogued fault, as it is planted in `tests/plain_lstm.py`."""
    import plain_lstm
    from planted_faults import EDITS

    results, unseen = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = list(EDITS.items())[options.start :: options.every]
        for number, (fault, edits) in enumerate(chosen):
            text, parts = planted(edits)
            cases = next((cases for cases in SHOWING if _wrong_text(folder, text, cases)), None)
            if cases is None:
                unseen.append(fault)
                continue
            slip = Slip(parts, fault, text, (), taken_back(folder, edits, cases))
            original = planted(())[0]
            path = Path(plain_lstm.__file__)
            result = look(path, "plain_lstm", slip, folder, number, options.seconds, original, cases)
            if result is not None:
                results.append(result)
                _say(result)
    print("\nnot wrong on the cases asked:", ", ".join(unseen) or "none")
    return results


def planted(edits: Sequence[tuple[str, str]]) -> tuple[str, tuple[frozenset[int], ...]]:
    """Return the plain LSTM with some edits, and the lines that each changed."""
    import plain_lstm

    lines = [(line, -1) for line in plain_lstm.source().splitlines()]
    for k, (old, new) in enumerate(edits):
        (at,) = (n for n, (line, _) in enumerate(lines) if line.strip() == old)
        whole = lines[at][0]
        indent = whole[: len(whole) - len(whole.lstrip())]
        more = [indent + line for line in new.splitlines()]
        lines[at : at + 1] = [(line, -1 if line == whole else k) for line in more]
    parts = tuple(frozenset(n + 1 for n, (_, own) in enumerate(lines) if own == k) for k in range(len(edits)))
    door = "    def pullback(dh, dCn, dhn):"
    text = "\n".join(line for line, _ in lines)
    assert door in text
    return text.replace(door, "    def pullback(dh, dCn, dhn=0 * C0):") + "\n", parts


def taken_back(folder: Path, edits: Sequence[tuple[str, str]], cases: tuple[Case, ...]) -> tuple[frozenset[int], ...]:
    """Return the smallest sets of a fault's edits without which everything is right."""
    found: list[frozenset[int]] = []
    for size in range(1, len(edits) + 1):
        for some in map(frozenset, combinations(range(len(edits)), size)):
            left = [edit for k, edit in enumerate(edits) if k not in some]
            if not any(one <= some for one in found) and not _wrong_text(folder, planted(left)[0], cases):
                found.append(some)
    return tuple(found)


def _wrong_text(folder: Path, text: str, cases: tuple[Case, ...]) -> frozenset[str] | None:
    """Return which tensors are wrong of the plain LSTM with some text."""
    path = folder / f"plain_{hash(text) & 0xFFFFFFFF}.py"
    path.write_text(text, encoding="utf-8")
    return wrong_on(f"{path}:plain_lstm", cases)


def _say(result: Result) -> None:
    """One line on one slip."""
    named = [f"{line.line}{'+' * len(line.also)}" for line in result.found.lines]
    changed = ",".join(map(str, sorted(result.slip.lines)))
    fix = "same" if result.same else "alike" if result.alike else "other" if result.found.fixes else "no fix"
    verdict = (
        "untrue"
        if result.untrue
        else "other"
        if result.others
        else "first"
        if result.first
        else "named"
        if named
        else "no line"
    )
    print(
        f"{result.layer:16} line {changed:8} named {','.join(named) or '-':10} {verdict:7} "
        f"{fix:7} {result.seconds:5.1f} s  {result.slip.words[:90]}",
        flush=True,
    )


def table(results: list[Result], words: str) -> str:
    """Return the figures as a table, by layer."""
    by_layer: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_layer[result.layer].append(result)
    heads = (words, "slips", "line named first", "no line", "another line", "not mended there", "fixed")
    heads += ("right elsewhere, too", "median s")
    rows = [f"| {' | '.join(heads)} |"]
    rows += ["|---" * len(heads) + "|"]
    for layer, many in [*sorted(by_layer.items()), ("all", results)]:
        count = Counter(
            first=sum(r.first for r in many),
            none=sum(not r.found.lines for r in many),
            others=sum(r.others for r in many),
            untrue=sum(r.untrue for r in many),
            fixed=sum(bool(r.found.fixes) for r in many),
            alike=sum(r.same or r.alike for r in many),
        )
        seconds = median([r.seconds for r in many] or [0.0])
        rows.append(
            f"| {layer} | {len(many)} | {count['first']} | {count['none']} | {count['others']} | {count['untrue']} "
            f"| {count['fixed']} | {count['alike']} | {seconds:.1f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=100, help="how many slips")
    parser.add_argument("--together", type=int, default=1, help="how many at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layer", nargs="+", help="in these layers alone")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long a fix is looked for")
    parser.add_argument(
        "--patience",
        type=float,
        default=tolerance.SOURCE_SECONDS,
        help="seconds for all but the fix, on a busy machine",
    )
    parser.add_argument("--catalogue", action="store_true", help="the catalogue's faults in place of random slips")
    parser.add_argument("--every", type=int, default=1, help="of these every so many")
    parser.add_argument("--start", type=int, default=0, help="from which on")
    options = parser.parse_args()
    tolerance.SOURCE_SECONDS = options.patience
    results = catalogue(options) if options.catalogue else random_slips(options)
    print("\n" + table(results, "fault" if options.catalogue else "layer"))


if __name__ == "__main__":
    main()
