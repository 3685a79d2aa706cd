"""A report as text: quiet where all is well; value, expectation, tolerance, context where it is not."""

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lstm_checks.asking import claims as asking
from lstm_checks.cases import BLOCK_EDGES, DTYPES, EDGES, LARGE_REGIME, LARGE_ROWS
from lstm_checks.compare import Claim, Verdict
from lstm_checks.contract import PLAIN, min_dims_in_words, with_article
from lstm_checks.formats import is_low
from lstm_checks.judging.hints import hint_of_dtype
from lstm_checks.judging.reports import (
    CHECK_GRAD,
    CHECK_GRAD_ALL,
    COMPLEX_STEP,
    PROPERTIES,
    CaseReport,
    Report,
    is_tensor,
)
from lstm_checks.oracles.kinks import AT_A_KINK
from lstm_checks.properties.claims import ALL, OF_ITS_EQUATIONS
from lstm_checks.repair.found import Found, Line
from lstm_checks.targets.load import is_spec
from lstm_checks.words import first_few, series
from lstm_ref.cell import Cell

if TYPE_CHECKING:
    from lstm_checks.diagnosis.diagnose import Diagnosis

REFERENCE = "lstm_ref"


def render_report(report: Report) -> str:
    """Return the whole report."""
    name, kind = report.target.name, report.target.kind
    judged_by = f"{name} ({kind}){_judged_by(report)}"
    lines = [f"{judged_by}: {_examples(report)}, seed {report.seed}, {report.seconds:.1f} s"]
    lines += [*_unsupported(report), *_notes(report)]
    if report.mistrusted:
        return "\n".join([*lines, *_mistrusted(report), f"MISTRUSTED  {name}: the oracles disagree, blame the harness"])
    if report.failure is not None:
        for failure in (report.failure, *report.further):
            lines += ["", render_failure(name, failure)]
        lines += _unexplained(report)
        return "\n".join([*lines, "", f"FAIL  {name}: {_failed(report)}"])
    lines += [*_summary(report), *_not_repeatable(report)]
    lines += [f"  contract  {line}" for line in report.contract]
    if report.together:
        return "\n".join([*lines, *_together(report), f"FAIL  {name}: {_counted(report)}, and not all together"])
    if report.exit_code:
        hint = hint_of_dtype(report.target, {example.case.dtype for example in report.examples})
        lines += [f"  hint      {hint}"] if hint else []
        return "\n".join(
            [*lines, f"NOTHING JUDGED  {name}: {_counted(report)}, expected at least one example to judge"]
        )
    return "\n".join([*lines, f"PASS  {name}: {_counted(report)}{_in_low_precision(report)}"])


def render_case(name: str, report: CaseReport) -> str:
    """Return the report on a single case, each tensor with its share of the tolerance."""
    if report.mistrusted:
        return "\n".join(f"MISTRUSTED  {_message(claim)}" for claim in report.mistrusted)
    if report.failures:
        return render_failure(name, report)
    lines = [f"{name}{_judged_by(report)}, case {report.case.descriptor}"]
    for claim in report.claims:
        share = f"{_percent(claim.use)} of the tolerance" if claim.use else ""
        lines.append(f"  {claim.name:<29} {claim.verdict:<13} {claim.reason or share}".rstrip())
    lines += [f"  {note}" for note in report.notes]
    word = {Verdict.PASS: "PASS", Verdict.FAIL: "FAIL"}.get(report.verdict, "NOTHING JUDGED")
    return "\n".join([*lines, f"{word}  {name}: {report.verdict}"])


def render_failure(name: str, report: CaseReport) -> str:
    """Return why a case failed: the worst entry first, then its context."""
    worst = report.failures[0]
    lines = [f"{_message(worst)}    [{name}{_judged_by(report)}]"]
    case = report.case
    lines.append(f"  case      {case.descriptor}")
    if report.chance:
        lines.append(f"  chance    {report.chance}")
    lines += [f"  extent    {text}" for text in _extent(report)]
    if report.stands_for is not None and report.stands_for[0] < report.stands_for[1]:
        (one, *more), (count, failed) = sorted(report.signature), report.stands_for
        which = f"any of these {len(more) + 1}" if more else one
        lines.append(f"  examples  {which} fails in {count} of the {failed} failing examples")
    told = (CHECK_GRAD, CHECK_GRAD_ALL)
    if report.pattern:
        lines.append(f"  pattern   {report.pattern}")
    others = [claim for claim in report.failures[1:] if not is_tensor(claim.name) and claim.name not in told]
    lines += [f"  also      {_message(claim)}" for claim in others]
    oracles = _oracles(report)
    if oracles:
        lines.append(f"  oracles   {oracles}")
    if report.diagnosis is not None:
        lines += _diagnosis(report, report.diagnosis)
    lines += render_source(report)
    lines += [f"  hint      {text}" for text in report.hints]
    return "\n".join([*lines, f"  rerun     {rerun_command(name, report)}"])


def rerun_command(name: str, report: CaseReport) -> str:
    """Return how to run the case again: by the command, or in Python where the target's name is none that loads."""
    of_the_cell = not report.reference and any(claim.name in OF_ITS_EQUATIONS for claim in report.failures)
    # A program's arguments, and the fault of one place of a network, have spaces.
    spec = name if name.startswith(("exec:", "fault:")) else name.split()[0]
    if is_spec(spec):
        options = "" if report.reference else " --no-reference"
        options += " --properties all" if of_the_cell else ""
        options += f" --lacks {','.join(report.declared)}" if report.declared else ""
        options += f" --min-dims {min_dims_in_words(report.min_dims)}" if report.min_dims else ""
        return f"lstm-checks verify {shlex.quote(spec)} --case {report.case.descriptor}{options}"
    options = "" if report.reference else ", reference=False"
    options += ", properties=lstm_checks.properties.claims.NAMES" if of_the_cell else ""
    case = f'lstm_checks.cases.Case.parse("{report.case.descriptor}")'
    return f"in Python: lstm_checks.judging.case.verify_case(target, {case}{options})"


def _unexplained(report: Report) -> list[str]:
    """Return how many groups of failures are not explained, and what is wrong in the most frequent ones."""
    if not report.unexplained:
        return []
    shown = [f"{first_few(sorted(names), 4, 3)} in {count}" for names, count in report.unexplained[:3]]
    groups, more = len(report.unexplained), len(report.unexplained) - len(shown)
    rest = f" and {more} more" if more else ""
    count = f"{groups} further group{'s' if groups > 1 else ''} of failures {'are' if groups > 1 else 'is'}"
    return ["", f"  {count} not explained: {'; '.join(shown)} of the failing examples{rest}"]


def _judged_by(report: Report | CaseReport) -> str:
    """Return against what the target was judged."""
    if not report.reference:
        return ", no reference used"
    cell = report.target.cell if isinstance(report, Report) else report.case.cell
    return f" against {reference_of(cell)}"


def reference_of(cell: Cell) -> str:
    """Return the reference for a cell, in words: "lstm_ref's LSTM with peepholes"."""
    return REFERENCE if cell is PLAIN else f"{REFERENCE}'s {cell.title}"


def _diagnosis(report: CaseReport, found: "Diagnosis") -> list[str]:
    """Return what is wrong, as far as it was found out: a catalogued fault, a relation, a reading, a place."""
    lines = []
    kinds = {c.discrepancy.kind for c in report.failures if is_tensor(c.name) and c.discrepancy is not None}
    if found.suspects:
        words = [f"{named.fault}: {named.title}    ({named.sure})" for named in found.suspects]
        # What another case refutes is no suspect; it may say what the failing case comes to.
        none = "no catalogued fault fits everywhere; here as with " if found.suspects[0].refuted else ""
        lines += [f"  suspect   {none}{words[0]}", *(f"            or {other}" for other in words[1:])]
    elif found.catalogue and kinds & {"value", "finite"}:
        lines.append("  suspect   no catalogued fault fits")
    certain = any(named.certain for named in found.suspects)
    lines += [f"  relation  {text}" for text in found.relations[: 2 if certain else 3]]
    lines += [f"  layout    {found.reading}"] if found.reading else []
    return lines + [f"  where     {text}" for text in found.where[:4]]


def render_lines(found: Found) -> list[str]:
    """Return which lines of the user's own are wrong, as far as an intervention showed, one text a line."""
    lines = []
    for one in found.lines:
        lines.append(f"  line      {place_of(one)}   {one.text}")
        if one.column >= 0 and one.word != one.text:
            indent = len(place_of(one)) + 15 + one.column
            lines.append(" " * indent + "~" * len(one.word))
        lines.append(f"            {one.shown}")
    if len(found.lines) > 1:
        lines.append("            with all of these in their places everything is right")
    return lines


def render_source(report: CaseReport) -> list[str]:
    """Return the lines that are wrong, and the edit that mends them."""
    lines = render_lines(report.source)
    for fix in report.source.fixes[:1]:
        changed = [line for line in fix.diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        edited = [f"{line[0]} {line[1:].strip()}" for line in changed]
        lines += [f"  fix       {edited[0]}", *(f"            {line}" for line in edited[1:])] if edited else []
        lines.append(f"            so changed, all is right in {fix.tried} cases")
    return lines


def place_of(line: Line) -> str:
    """Return the file and the number of a line, or of those that no intervention tells apart."""
    path = os.path.relpath(line.path) if os.path.isabs(line.path) else line.path
    path = line.path if path.startswith("..") else path
    if not line.also:
        return f"{path}:{line.line}"
    return f"{path}:{line.line} or {series([str(number) for number in line.also], 'or')}"


def render_diff(report: CaseReport) -> str:
    """Return the diff of the first suspect against the reference, where one reproduces what came; else nothing."""
    if report.diagnosis is None or not report.diagnosis.suspects or not report.diagnosis.suspects[0].certain:
        return ""
    named = report.diagnosis.suspects[0]
    return f"\n\n{named.fault}, as a change of {REFERENCE}:\n{named.diff}".rstrip()


def _extent(report: CaseReport) -> list[str]:
    """Return how much of the tensors is wrong."""
    failed = [claim for claim in report.failures if is_tensor(claim.name) and claim.discrepancy is not None]
    counted = [claim for claim in failed if claim.discrepancy is not None and claim.discrepancy.size]
    if not counted:
        return []
    shown = []
    for claim in counted[:4]:
        found = claim.discrepancy
        assert found is not None
        where = f" ({found.where})" if found.where else ""
        shown.append(f"{claim.name} {found.wrong}/{found.size} entries{where}")
    more = f" and {len(counted) - 4} more" if len(counted) > 4 else ""
    judged = [c for c in report.claims if is_tensor(c.name) and c.verdict is not Verdict.UNSUPPORTED]
    others = [c for c in judged if c.verdict in (Verdict.PASS, Verdict.VACUOUS)]
    text = f"{', '.join(shown)}{more}; {len(failed)} of {len(judged)} tensors"
    if others:
        text += f"; the others use at most {_percent(max(c.use for c in others))} of their tolerance"
    return [text]


def _oracles(report: CaseReport) -> str:
    """Return what the other oracles say of the case."""
    said = []
    by_complex_step = report.claim(COMPLEX_STEP)
    by_check_grad = {c.verdict for name in (CHECK_GRAD, CHECK_GRAD_ALL) if (c := report.claim(name)) is not None}
    if by_complex_step is not None and by_complex_step.verdict is Verdict.PASS:
        said.append(f"complex step agrees with {REFERENCE}")
    if Verdict.FAIL in by_check_grad:
        alone = report.failures[0].name in (CHECK_GRAD, CHECK_GRAD_ALL)
        said += [] if alone else ["check_grad rejects the target too"]
    elif Verdict.PASS in by_check_grad:
        wrong_outputs = {claim.name for claim in report.failures} & {*report.case.cell.outputs}
        own = wrong_outputs and report.case.dtype == "float64" and not report.unsteady
        said.append(
            "check_grad sees nothing wrong with the target"
            + (f": it fits its own forward pass, not {REFERENCE}'s" if own else "")
        )
    return "; ".join(said)


def _summary(report: Report) -> list[str]:
    """Return the strata, the verdicts that are neither pass nor fail, and the worst use of the tolerance."""
    lines = []
    counts = report.stratum_counts
    strata = [f"{name} {count}" for name, count in counts.items() if count and name not in EDGES]
    half = (len(strata) + 1) // 2
    lines.append("  examples  " + ", ".join(strata[:half]) + ",")
    lines.append("            " + ", ".join(strata[half:]))
    if any(counts.get(name) for name in EDGES):
        lines.append(f"  edges     {_at_edges(report)}")
    empty = [name for name, count in counts.items() if not count]
    if empty:
        lines.append(f"  none in   {none_in(empty)}")
    if report.target.compiles:
        count = len({example.case.dims for example in report.examples})
        lines.append(f"  shapes    {count}, few because each is compiled; --seed draws others")
    checked = sum(len(example.claims) for example in report.examples)
    counts = {v: sum(c[v] for c in report.claim_counts.values()) for v in Verdict}
    told = [
        f"{counts[v]} {v}"
        for v in (Verdict.PASS, Verdict.VACUOUS, Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED)
        if counts[v]
    ]
    lines.append(f"  claims    {checked}: {', '.join(told)}")
    if report.worst is not None:
        example, claim = report.worst
        lines.append(
            f"  tolerance {_percent(claim.use)} used by the worst entry, in {claim.name} of {example.case.descriptor}"
        )
    lines += [*_at_kinks(report), *_properties(report), *_asked(report)]
    oracles = [
        report.claim_counts[name][Verdict.PASS] if name in report.claim_counts else 0
        for name in (COMPLEX_STEP, CHECK_GRAD)
    ]
    said = [f"{REFERENCE} agrees with the complex step in {oracles[0]} examples"] if report.reference else []
    if not set(report.target.cell.gradients) <= report.target.lacks:
        said.append(f"scipy.optimize.check_grad accepts the target in {oracles[1]}")
    return [*lines, f"  oracles   {'; '.join(said)}"] if said else lines


def _at_kinks(report: Report) -> list[str]:
    """Return how many examples were not judged, or by their outputs alone, since they lie at a kink, with the first."""
    found = [(e, c) for e in report.examples for c in e.claims if c.reason.startswith(AT_A_KINK)]
    if not found:
        return []
    count = len({example.case for example, _ in found})
    example, claim = found[0]
    which = f"{count} examples" if count != 1 else "1 example"
    return [
        f"  kinks     {which} not judged by the gradients, which are a convention there, as in",
        f"            {example.case.descriptor}: {claim.reason.removeprefix(AT_A_KINK)}",
    ]


def none_in(empty: Sequence[str]) -> str:
    """Return the strata without an example, with what asks for those that are drawn only where they are named."""
    words = [name for name in empty if name != LARGE_REGIME]
    large = [f"{LARGE_REGIME} (more than {LARGE_ROWS} rows; --regimes {LARGE_REGIME})"] * (LARGE_REGIME in empty)
    return ", ".join([*words, *large])


def _at_edges(report: Report) -> str:
    """Return the sizes that were reached at the edges of blocks, by letter."""
    drawn = [example.case.sizes for example in report.examples]
    found = {name: sorted({sizes[name] for sizes in drawn}) for name in report.target.cell.letters}
    reached = {name: [str(size) for size in sizes if size in BLOCK_EDGES] for name, sizes in found.items()}
    return "; ".join(f"{name} {' '.join(sizes)}" for name, sizes in reached.items() if sizes)


def _properties(report: Report) -> list[str]:
    """Return how often each property was judged and held; without a reference also what nobody has looked at."""
    asked = {name: counts for name, counts in report.claim_counts.items() if name in PROPERTIES}
    held = [f"{name} {counts[Verdict.PASS]}" for name, counts in asked.items()]
    half = (len(held) + 1) // 2
    lines = ["  holds     " + ", ".join(held[:half]) + ",", "            " + ", ".join(held[half:])] if held else []
    if report.reference:
        return lines
    uses = [claim.use for example in report.examples for claim in example.claims if claim.name in PROPERTIES]
    lines.append(
        f"  tolerance {_percent(max(uses, default=0.0))} used by the worst entry; it is generous without a reference"
    )
    reasons = {
        (claim.name, claim.reason)
        for example in report.examples
        for claim in example.claims
        if claim.name in PROPERTIES and claim.verdict is Verdict.UNSUPPORTED
    }
    lines += [f"  not asked {name}: {reason}" for name, reason in sorted(reasons)]
    not_asked = [name for name in PROPERTIES if name in OF_ITS_EQUATIONS and name not in asked]
    if not_asked:
        cell = report.target.cell
        known = [name for name in not_asked if ALL[name].known_of(cell)]
        unknown = [name for name in not_asked if name not in known]
        alone = f"of {_the_cell(cell)} alone; --properties all asks them"
        for names, why in ((known, alone), (unknown, f"not known of {with_article(cell.title)}")):
            lines += [f"  not asked {', '.join(names)}: {why}"] if names else []
    others = "an LSTM of other equations" if report.target.cell.finals else "what has other equations"
    return [*lines, f"  note      no reference used: {others} whose gradients fit them passes"]


def _the_cell(cell: Cell) -> str:
    """Return a cell after "the"; "plain LSTM" may stand for the network, too, and its equations are what is meant."""
    return f"the {cell.title} cell" if cell is PLAIN else f"the {cell.title}"


def _asked(report: Report) -> list[str]:
    """Return how often each question was answered rightly, and which cannot be asked of such a target, and why."""
    counts = {name: found for name, found in report.claim_counts.items() if name in asking.ROTATED}
    held = [f"{name} {found[Verdict.PASS]}" for name, found in counts.items() if found[Verdict.PASS]]
    lines = [f"  asked     {', '.join(held)}"] if held else []
    reasons: dict[str, list[str]] = {}
    for name, reason in report.not_asked.items():
        reasons.setdefault(reason, []).append(name)
    found = (claim for example in report.examples for claim in example.claims if claim.name in counts)
    refused = {c.name: c.reason for c in found if c.verdict is Verdict.UNSUPPORTED and not counts[c.name][Verdict.PASS]}
    for name, reason in (pair for pair in refused.items() if pair[0] not in report.not_asked):
        reasons.setdefault(reason, []).append(name)
    return [*lines, *(f"  not asked {', '.join(names)}: {reason}" for reason, names in reasons.items())]


def _not_repeatable(report: Report) -> list[str]:
    """Return a line on examples in which two calls differ within the tolerance."""
    count = sum(bool(example.notes) for example in report.examples)
    use = max((c.use for e in report.examples for c in e.claims if c.name == asking.REPEATABLE), default=0.0)
    spread = f", by {_percent(use)} of the tolerance at most" if use else ""
    return [f"  note      not repeatable to the last bit in {count} examples{spread}"] if count else []


def _unsupported(report: Report) -> list[str]:
    """Return a line on what the target lacks."""
    names, gradients = report.target.unsupported, report.target.cell.gradients
    if set(gradients) <= set(names):
        names = (
            *(name for name in names if name not in gradients),
            "all gradients, so only the forward pass is judged",
        )
    return [f"  unsupported: {', '.join(names)}"] if names else []


def _notes(report: Report) -> list[str]:
    """Return what is to be said of how the target is judged."""
    return [f"  note      {remark}" for remark in report.target.remarks(report.reference)]


def _mistrusted(report: Report) -> list[str]:
    """Return a line for each disagreement between oracles, a few at most."""
    shown = report.mistrusted[:3]
    return [f"  {example.case.descriptor}: {_message(claim)}" for example in shown for claim in example.mistrusted]


def _together(report: Report) -> list[str]:
    """Return a line for each thing that the entries of all examples say together, a few at most."""
    words = "by the entries of all examples together"
    return [f"  together  {one.sentence}, {words}: {one.accepted}" for one in report.together[:3]]


def _examples(report: Report) -> str:
    """Return the number of examples in words, with their dtypes."""
    counts = _by_dtype(report)
    total = len(report.examples)
    words = f"{total} example{'s' if total != 1 else ''}"
    if len(counts) < 2:
        return words + "".join(f" in {dtype}" for dtype in counts)
    return f"{words}, {', '.join(f'{count} in {dtype}' for dtype, count in counts.items())}"


def _failed(report: Report) -> str:
    """Return how many of the examples failed, dtype by dtype where there are several."""
    counts = _by_dtype(report)
    failed = Counter(example.case.dtype for example in report.examples if example.failures)
    if len(counts) < 2:
        return f"{failed.total()} of {_examples(report)}"
    parts = (f"{failed[dtype]} of {count} in {dtype}" for dtype, count in counts.items())
    return f"{failed.total()} of {len(report.examples)} examples, {', '.join(parts)}"


def _by_dtype(report: Report) -> dict[str, int]:
    """Return the number of examples of each dtype that there is."""
    counts = Counter(example.case.dtype for example in report.examples)
    return {dtype: counts[dtype] for dtype in dict.fromkeys((*DTYPES, *counts)) if counts[dtype]}


def _counted(report: Report) -> str:
    """Return the number of examples by verdict."""
    return ", ".join(f"{report.counts[v]} {v}" for v in Verdict if report.counts[v]) or "no examples"


def _in_low_precision(report: Report) -> str:
    """Return the formats of low precision that examples were judged in: a pass there allows for much more."""
    low = [name for name in dict.fromkeys(example.case.dtype for example in report.examples) if is_low(name)]
    return f", in {series(low)}" if low else ""


def _message(claim: Claim) -> str:
    """Return the sentence of a failed claim."""
    return claim.discrepancy.message if claim.discrepancy is not None else claim.name


def _percent(share: float) -> str:
    """Return a share in percent; small ones with a digit more."""
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"
