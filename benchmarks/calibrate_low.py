"""The formats of low precision against right programs and faults, and beside them the rules that others use.

python -m benchmarks.calibrate_low --cases 1000 --examples 20       # prints the tables; resumable
python -m benchmarks.calibrate_low --cases 1000 --examples 20 --write docs

Right programs, each in the contracts that it keeps: the reference and an LSTM written anew (`short_lstm`), both with
every operation rounded as the contract says; PyTorch's `nn.LSTM`; a scan of JAX; the reference in NumPy's own
arithmetic. The truth is the float64 reference's value, whose error is 2^-45 of what is accepted; of one case in fifty
it is held against balls. Then every catalogued fault planted in a program that keeps gates32: in how many examples it
dies. Both are judged by `verify`'s claims about values and by each of the rules.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

import numpy as np

from benchmarks.low_precision_kills import HIDDEN, drawn
from benchmarks.resumed import read_results
from benchmarks.short_lstm import short_lstm
from lstm_checks import tolerance
from lstm_checks.calling import call_target
from lstm_checks.cases import REGIMES, Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN, Target
from lstm_checks.faults.catalogue import FAULTS
from lstm_checks.faults.model import evaluate, fault_target
from lstm_checks.faults.short import evaluate_short, short_target
from lstm_checks.files import replace_file, with_figures
from lstm_checks.formats import NAMED, base_of, format_named
from lstm_checks.judging.case import judge_values, verify_case
from lstm_checks.judging.reports import TOGETHER, CaseReport
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.targets.load import TargetError, to_target

BASES = ("bfloat16", "float16")
BALLS_EACH = 50
JAX_SHAPES = ((1, 1, 1, 1), (2, 3, 2, 3), (3, 6, 4, 3), (5, 2, 3, 5), (2, 12, 3, 4))
LIBRARIES = ("torch", "jax", "numpy")
OURS = "lstm-checks"

# ---- The rules in use


Values = Mapping[str, Any]


def allclose(rtol: float, atol: float) -> Callable[[Values, Values, Values], bool]:
    """Return the rule that accepts |came - due| <= atol + rtol |due| in every entry."""

    def accepts(came: Values, due: Values, naive: Values) -> bool:
        return all(np.allclose(came[name], due[name], rtol, atol) for name in due)

    return accepts


def ratio(most: float, floor: float = 1e-6) -> Callable[[Values, Values, Values], bool]:
    """Return the rule that accepts a root mean square error of a share of the root mean square value, a tensor."""

    def accepts(came: Values, due: Values, naive: Values) -> bool:
        for name, value in due.items():
            error = np.abs(came[name] - value)
            if not np.max(error, initial=0) <= floor and not (
                np.sqrt(np.mean(error**2)) < most * (np.sqrt(np.mean(value**2)) + 1e-8)
            ):
                return False
        return True

    return accepts


def twice(floor: float) -> Callable[[Values, Values, Values], bool]:
    """Return the rule that accepts twice the largest error of a plain program in the same format, a tensor."""

    def accepts(came: Values, due: Values, naive: Values) -> bool:
        return all(
            np.max(np.abs(came[name] - value)) <= 2 * np.max(np.abs(naive[name] - value)) + floor
            for name, value in due.items()
        )

    return accepts


RULES: dict[str, dict[str, Callable[[Values, Values, Values], bool]]] = {
    "torch.testing.assert_close": {"bfloat16": allclose(1.6e-2, 1e-5), "float16": allclose(1e-3, 1e-5)},
    "fla, ratio 0.005": dict.fromkeys(BASES, ratio(0.005)),
    "FlashAttention, twice": dict.fromkeys(BASES, twice(0.0)),
    "FlashAttention, twice + 3e-5": dict.fromkeys(BASES, twice(3e-5)),
    "Liger RMSNorm, 2e-1 2e-2": {"bfloat16": allclose(2e-2, 2e-1)},
    "Liger SwiGLU, 1e4 1e-2": {"bfloat16": allclose(1e-2, 1e4)},
    "FlashRNN's LSTM": {"bfloat16": allclose(0.4, 0.2), "float16": allclose(0.2, 0.1)},
}
"""The rules by name and format, as their projects' tests have them: absolute and relative tolerances of PyTorch for a
dtype, of Liger and of FlashRNN, flash-linear-attention's share of the root mean square, and FlashAttention's twice the
error of a plain program, here of the reference with every operation but sums in the format."""


def rejecting(base: str, came: Values, expected: Expected, naive: Values) -> list[str]:
    """Return the rules that reject what came."""
    due = {name: value for name, value in expected.values.items() if name in came}
    as_numbers = {name: np.asarray(came[name]).astype(np.float64) for name in due}
    with np.errstate(all="ignore"):
        return [name for name, of in RULES.items() if base in of and not of[base](as_numbers, due, naive)]


@cache
def naive_of(case: Case) -> dict[str, Any]:
    """Return what a plain program gives: every operation in the format, sums in float32."""
    plain = Case.parse(case.descriptor.replace(case.dtype, f"{base_of(case.dtype)}+accumulate32"))
    return {name: np.asarray(value).astype(np.float64) for name, value in evaluate_short(None, plain).items()}


# ---- Right programs


@cache
def library(name: str, base: str) -> Target:
    """Return a library's LSTM in a format."""
    if name == "torch":
        import torch

        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[base]

        def make(input_size: int, hidden_size: int) -> Any:
            return torch.nn.LSTM(input_size, hidden_size, batch_first=True).to(dtype)

        return to_target(make, "torch.nn.LSTM")
    if name == "jax":
        import jax
        import jax.numpy as jnp

        def scan(p: Any, X: Any, h0: Any, C0: Any) -> Any:
            def step(carry: Any, x: Any) -> Any:
                h, C = carry
                k = {gate: x @ p[f"U{gate}"] + h @ p[f"V{gate}"] + p[f"b{gate}"] for gate in "figo"}
                C = jax.nn.sigmoid(k["f"]) * C + jax.nn.sigmoid(k["i"]) * jnp.tanh(k["g"])
                h = jax.nn.sigmoid(k["o"]) * jnp.tanh(C)
                return (h, C), h

            (_, Cn), h = jax.lax.scan(step, (h0, C0), X.swapaxes(0, 1))
            return h.swapaxes(0, 1), Cn

        return to_target(scan, "a scan of JAX")
    return fault_target()


def draw(k: int, seed: int) -> Case:
    """Return the case of that number: every base and contract in turn, all regimes, a few of many steps."""
    rng = np.random.default_rng((seed, k))
    base, contract = BASES[k % 2], list(NAMED)[k // 2 % len(NAMED)]
    m, e, u = map(int, rng.integers(1, 10, 3))
    s = int(rng.integers(30, 61)) if rng.random() < 0.04 else int(rng.integers(1, 13))
    dims = JAX_SHAPES[int(rng.integers(len(JAX_SHAPES)))] if rng.random() < 0.15 else (m, s, e, u)
    cotangents = str(rng.choice(["every+h+C", "every", "last+h+C", "h+C", "C"]))
    regime = REGIMES[int(rng.integers(len(REGIMES)))]
    name = format_named(f"{base}+{contract}").name
    return Case(*dims, name, regime, cotangents, bool(rng.random() < 0.75), int(rng.integers(2**20)))


def programs(case: Case) -> Iterator[tuple[str, Target]]:
    """Yield the right programs that keep the contract of a case's format."""
    yield "reference, emulated", short_target(None, case.dtype)
    yield "written anew, emulated", short_lstm(case.dtype)
    if case.dtype == base_of(case.dtype):
        for name in LIBRARIES:
            # A shape that XLA has not seen takes a second to compile; NumPy's bfloat16 becomes float32 beside a number.
            if {"jax": case.dims in JAX_SHAPES, "numpy": case.dtype == "float16"}.get(name, True):
                yield name, library(name, case.dtype)


def measure(k: int, seed: int) -> dict[str, Any]:
    """Return what one case says of right programs, in plain types."""
    start, case, rows = time.process_time(), draw(k, seed), {}
    expected = expect(case)
    if k % BALLS_EACH == 0:
        hold_against_balls(case, expected)
    for name, target in programs(case):
        try:
            report = verify_case(target, case, thorough=False, expected=expected)
        except TargetError:
            continue
        came = call_target(target, case.arrays.copy(), case.sequences).values
        rows[name] = told(report) | {"rules": rejecting(base_of(case.dtype), came, expected, naive_of(case))}
    return {"k": k, "case": case.descriptor, "programs": rows, "seconds": round(time.process_time() - start, 4)}


def told(report: CaseReport) -> dict[str, Any]:
    """Return the verdict, and the largest shares of a tolerance: of an entry, and of many together."""
    uses = {True: [0.0], False: [0.0]}
    for claim in report.claims:
        if claim.verdict in (Verdict.PASS, Verdict.FAIL):
            uses[claim.name == TOGETHER].append(min(float(np.nan_to_num(claim.use, nan=np.inf)), 1e9))
    return {"verdict": str(report.verdict), "use": max(uses[False]), "together": max(uses[True])}


def hold_against_balls(case: Case, expected: Expected) -> None:
    """Raise where the float64 value is off by more than a millionth of what is accepted."""
    from lstm_checks.certified.certify import certified_gradient

    truth = certified_gradient(case)
    for names in (*((name,) for name in PLAIN.outputs), PLAIN.gradients):
        for name in () if expected.chaotic(names) else names:
            off = np.abs(expected.values[name] - truth.values[name]) + truth.radii[name]
            if not np.all(off <= 1e-6 * tolerance.accepted(expected.sd[name], case.dtype)):
                raise SystemExit(f"{case.descriptor}: {name} is off by {np.max(off):.2g} from what balls enclose")


# ---- Faults


def pairs(base: str, number: int, seed: int) -> dict[str, Any]:
    """Return which catalogued faults an example shows under gates32, by whom, in plain types."""
    start, name = time.process_time(), format_named(f"{base}+gates32").name
    ((case, expected),) = drawn_examples(name, seed)[number : number + 1]
    found: dict[str, dict[str, Any]] = {}
    naive, due, right = naive_of(case), expected.values, short_target(None, name)
    for fault in FAULTS.values():
        if fault.wrap or fault.family in HIDDEN:
            continue
        exact = evaluate(fault, case.arrays.astype(np.float64))
        with np.errstate(all="ignore"):
            off = {n: np.max(np.abs(exact[n] - value)) / (np.max(np.abs(value)) or 1) for n, value in due.items()}
        shows = not max(off.values()) <= tolerance.TOLD_APART
        came = evaluate_short(fault, case)
        report = judge_values(right, case, came, expected)
        killed, knowing = bool(report.failures), shows and at_best(expected, exact) > tolerance.PROJECTION_SIGMAS
        found[fault.id] = {
            "shows": shows,
            "killed": killed,
            "possible": killed or knowing,
            "inconclusive": report.verdict is Verdict.INCONCLUSIVE,
            "rules": rejecting(base, came, expected, naive),
        }
    return {"pair": f"{name} {number}", "case": case.descriptor, "faults": found,
            "seconds": round(time.process_time() - start, 3)}  # fmt: skip


def at_best(expected: Expected, wrong: Mapping[str, Any]) -> float:
    """Return by how many standard deviations of rounding a fault shows to a sum over entries made for it alone.

    The weights are its own change over the noise, of a tensor or of all that are judged: what no projection on
    anything else can exceed by much. Zero where the example is inconclusive.
    """
    together, gradients = expected.together, PLAIN.gradients
    if together is None:
        return 0.0
    judged = [name for name in PLAIN.outputs if not expected.unjudged((name,))]
    judged += [] if expected.unjudged(gradients) else gradients
    best, size, copies = 0.0, 0.0, np.zeros(())
    with np.errstate(all="ignore"):
        for name in set(judged) & set(together.over):
            change, departures = wrong[name] - expected.values[name], together.departures[name]
            weight = change * together.over[name]
            own, sums = float(np.vdot(weight, change)), departures.reshape(len(departures), -1) @ weight.ravel()
            size, copies = size + own, copies + sums
            best = max(best, *(float(np.nan_to_num(of / np.sqrt(np.mean(np.square(by)))))
                               for of, by in ((own, sums), (size, copies))))  # fmt: skip
    return best


@cache
def drawn_examples(name: str, seed: int) -> list[tuple[Case, Expected]]:
    """Return the default examples of a format."""
    return drawn(name, 100, seed)


# ---- The run


def run(cases: int, examples: int, seed: int, path: Path) -> list[dict[str, Any]]:
    """Return all results, measuring those that the file of results lacks and appending them to it."""
    rows = read_results(path)
    known = {row.get("k", row.get("pair")) for row in rows}
    with path.open("a", encoding="ascii") as file:
        jobs: list[tuple[Any, Callable[[], dict[str, Any]]]] = []
        # At regular distances in the hundred, which stand in the order of their strata.
        for number in (100 * k // examples for k in range(examples)):
            for base in BASES:
                key = f"{format_named(f'{base}+gates32').name} {number}"
                jobs.append((key, lambda base=base, n=number: pairs(base, n, seed)))  # type: ignore[misc]
        jobs += [(k, lambda k=k: measure(k, seed)) for k in range(cases)]  # type: ignore[misc]
        for key, job in jobs:
            if key not in known:
                rows.append(job())
                file.write(json.dumps(rows[-1]) + "\n")
                file.flush()
    return rows


# ---- The figures


def tables(rows: Sequence[Mapping[str, Any]]) -> tuple[str, bool]:
    """Return the figures, and whether no right program was rejected."""
    right = [row for row in rows if "k" in row]
    minutes = sum(row["seconds"] for row in rows) / 60
    lines = [f"{len(right)} cases of right programs, {minutes:.0f} CPU-minutes with those of faults.", ""]
    head = ["format", "program", "judged", "rejected", "inconclusive", "entry, median", "entry, max", "together, max"]
    lines += ["### Right programs", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in right:
        for program, one in row["programs"].items():
            groups.setdefault((Case.parse(row["case"]).dtype, program), []).append(one)
    alarms = 0
    for (name, program), found in sorted(groups.items()):
        judged = [one for one in found if one["verdict"] != "inconclusive"]
        rejected = sum(one["verdict"] == "fail" for one in judged)
        alarms += rejected
        uses = [one["use"] for one in judged] or [0.0]
        cells = (len(judged), rejected, f"{100 - 100 * len(judged) / len(found):.1f} %", f"{np.median(uses):.2f}",
                 f"{max(uses):.2f}", f"{max((one['together'] for one in judged), default=0):.2f}")  # fmt: skip
        lines.append(f"| {name} | {program} | {' | '.join(map(str, cells))} |")
    lines += ["", "### Inconclusive, by regime", "", f"| format | {' | '.join(REGIMES)} |", "|---" * 8 + "|"]
    for name in dict.fromkeys(name for name, _ in sorted(groups)):
        shares = []
        for regime in REGIMES:
            some = [row["programs"]["reference, emulated"]["verdict"] for row in right
                    if (case := Case.parse(row["case"])).dtype == name and case.regime == regime]  # fmt: skip
            shares.append(f"{100 * some.count('inconclusive') / len(some):.0f} %" if some else "-")
        lines.append(f"| {name} | {' | '.join(shares)} |")
    lines += ["", "### The rules in use today, on the same", "", *beside(rows)]
    return "\n".join(lines), not alarms


def beside(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of the rules: false alarms, and kills of pairs."""
    found = summed(rows)
    lines = ["| rule | format | right answers rejected | pairs killed | of those that show |", "|---|---|---|---|---|"]
    for (rule, base), one in found.items():
        lines.append(
            f"| {rule} | {base} | {one['alarms']} of {one['right']} ({_share(one['alarms'], one['right'])}) | "
            f"{_share(one['killed'], one['pairs'])} | {_share(one['of_shown'], one['shown'])} |"
        )
    ours = {base: one for (rule, base), one in found.items() if rule == OURS and one["shown"]}
    for base, one in ours.items():
        lines += [
            "",
            f"In {base} {_share(one['shown'], one['pairs'])} of the pairs show in exact arithmetic. Of these "
            f"{_share(one['possible'], one['shown'])} would die by projections on the fault's own change.",
        ]
    return lines


def summed(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, int]]:
    """Return, for each rule and format, how many right answers it rejects and how many pairs it kills."""
    keys = ("right", "alarms", "pairs", "killed", "shown", "of_shown", "possible")
    found = {(rule, base): dict.fromkeys(keys, 0) for rule in (OURS, *RULES) for base in BASES
             if rule == OURS or base in RULES[rule]}  # fmt: skip
    for row in rows:
        base = base_of(Case.parse(row["case"]).dtype)
        for (rule, of), one in found.items():
            if of != base:
                continue
            for program in row.get("programs", {}).values():
                if program["verdict"] != "inconclusive":
                    one["right"] += 1
                    one["alarms"] += program["verdict"] == "fail" if rule == OURS else rule in program["rules"]
            for pair in row.get("faults", {}).values():
                killed = pair["killed"] if rule == OURS else rule in pair["rules"]
                one["pairs"] += 1
                one["killed"] += killed
                one["shown"] += pair["shows"]
                one["of_shown"] += killed and pair["shows"]
                one["possible"] += pair["shows"] and pair["possible"]
    return found


def _share(count: int, whole: int) -> str:
    """Return a share in percent."""
    return f"{100 * count / whole:.1f} %" if whole else "-"


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw each rule's kills over its false alarms."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "calibration", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(BASES), figsize=(10, 4), layout="constrained", sharey=True)
    for axis, base in zip(axes, BASES, strict=True):
        for (rule, of), one in summed(rows).items():
            if of != base or not one["right"] or not one["shown"]:
                continue
            at = (100 * one["alarms"] / one["right"], 100 * one["of_shown"] / one["shown"])
            ours = rule == OURS
            axis.plot(*at, "o", color="C0" if ours else "C1", markersize=9 if ours else 6)
            left = at[0] > 60
            # Two rules that differ by a floor stand next to each other.
            where = (-6 if left else 6, -11 if "+" in rule else 4)
            axis.annotate(rule, at, where, textcoords="offset points", ha="right" if left else "left")
        axis.set(xlim=(-4, 104), ylim=(0, 104), xlabel="right answers rejected, %", title=f"{base}, gates32")
    axes[0].set_ylabel("pairs (fault, example) killed, %")
    figure.savefig(path, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables; return 1 if a right program is rejected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, help="of right programs")
    parser.add_argument(
        "--examples", type=int, default=20, help="of the default hundred, on which all faults are tried"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--results", type=Path, default=Path("build/calibration-low.jsonl"), help="appended to, resumed"
    )
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="update calibration.md there, and draw the plot")
    options = parser.parse_args(arguments)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    rows = run(options.cases, options.examples, options.seed, options.results)
    text, good = tables(rows)
    print(text)
    if options.write is not None:
        page = options.write / "calibration.md"
        whole = with_figures(page.read_text(encoding="utf-8"), text, "low precision")
        plot(rows, options.write / "calibration-low.svg")
        replace_file(page, whole)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
