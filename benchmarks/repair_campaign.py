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
import random
import resource
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Slip:
    """A slip: the lines that it changed, what it was, and the new text; of several at once the text with each alone."""

    lines: tuple[int, ...]
    words: str
    text: str
    alone: tuple[str, ...] = ()


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
    return Slip(tuple(sorted(at[0] for at, _ in chosen)), words, whole, alone)


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
    """What became of one slip."""

    layer: str
    slip: str
    lines: tuple[int, ...]
    found: Found
    seconds: float
    same: bool = False
    alike: bool = False

    @property
    def first(self) -> bool:
        """Whether the first line that is named is the wrong one, or all of several are."""
        named = {line.line for line in self.found.lines}
        return (
            bool(named) and set(self.lines) <= named
            if len(self.lines) > 1
            else bool(named) and (self.found.lines[0].line == self.lines[0])
        )

    @property
    def untrue(self) -> bool:
        """Whether a line is named that is not wrong, and is not told together with one that is."""
        return any(not {line.line, *line.also} & set(self.lines) for line in self.found.lines)


def look(path: Path, name: str, slip: Slip, folder: Path, number: int, seconds: float, original: str) -> Result | None:
    """Return what is found of a slip; None where it changes nothing, or does not run."""
    for k, text in enumerate(slip.alone):
        one = folder / f"{path.stem}_{number}_{k}.py"
        one.write_text(text, encoding="utf-8")
        if not wrong_on(f"{one}:{name}", TOLD):
            return None
    file = folder / f"{path.stem}_{number}.py"
    file.write_text(slip.text, encoding="utf-8")
    spec = f"{file}:{name}"
    if not wrong_on(spec, TOLD):
        return None
    start = _processor()
    found = look_into_source(spec, TOLD, fix=seconds)
    result = Result(path.stem, slip.words, slip.lines, found, _processor() - start)
    if found.fixes:
        (text,) = found.fixes[0].texts.values()
        result.same = text.split() == original.split()
        file.write_text(text, encoding="utf-8")
        result.alike = wrong_on(spec, OTHERS) == frozenset()
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

    results = []
    original = plain_lstm.source()
    door = "    def pullback(dh, dCn, dhn):"
    assert door in original
    with tempfile.TemporaryDirectory() as name:
        for number, (fault, edits) in enumerate(list(EDITS.items())[:: options.every]):
            lines, changed = original.splitlines(), []
            for old, new in edits:
                (at,) = (k for k, line in enumerate(lines) if line.strip() == old)
                indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
                more = [indent + line for line in new.splitlines()]
                changed = [line + (len(more) - 1) * (line > at + 1) for line in changed]
                changed += [at + 1 + k for k, line in enumerate(more) if line != lines[at]]
                lines[at : at + 1] = more
            text = "\n".join(lines).replace(door, "    def pullback(dh, dCn, dhn=0 * C0):") + "\n"
            slip = Slip(tuple(sorted(changed)), fault, text)
            result = look(Path(plain_lstm.__file__), "plain_lstm", slip, Path(name), number, options.seconds, original)
            if result is not None:
                results.append(result)
                _say(result)
    return results


def _say(result: Result) -> None:
    """One line on one slip."""
    named = [f"{line.line}{'+' * len(line.also)}" for line in result.found.lines]
    fix = "same" if result.same else "alike" if result.alike else "other" if result.found.fixes else "no fix"
    verdict = "untrue" if result.untrue else "first" if result.first else "named" if named else "no line"
    print(
        f"{result.layer:16} line {','.join(map(str, result.lines)):8} named {','.join(named) or '-':10} {verdict:7} "
        f"{fix:7} {result.seconds:5.1f} s  {result.slip[:90]}",
        flush=True,
    )


def table(results: list[Result], words: str) -> str:
    """Return the figures as a table, by layer."""
    by_layer: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_layer[result.layer].append(result)
    heads = (words, "slips", "line named first", "no line", "another line", "fixed", "right elsewhere, too", "median s")
    rows = [f"| {' | '.join(heads)} |"]
    rows += ["|---|---|---|---|---|---|---|---|"]
    for layer, many in [*sorted(by_layer.items()), ("all", results)]:
        count = Counter(
            first=sum(r.first for r in many),
            none=sum(not r.found.lines for r in many),
            untrue=sum(r.untrue for r in many),
            fixed=sum(bool(r.found.fixes) for r in many),
            alike=sum(r.same or r.alike for r in many),
        )
        seconds = median([r.seconds for r in many] or [0.0])
        rows.append(
            f"| {layer} | {len(many)} | {count['first']} | {count['none']} | {count['untrue']} | {count['fixed']} "
            f"| {count['alike']} | {seconds:.1f} |"
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
    options = parser.parse_args()
    tolerance.SOURCE_SECONDS = options.patience
    results = catalogue(options) if options.catalogue else random_slips(options)
    print("\n" + table(results, "fault" if options.catalogue else "layer"))


if __name__ == "__main__":
    main()
