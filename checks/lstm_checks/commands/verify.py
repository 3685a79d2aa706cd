"""`lstm-checks verify`: judge an LSTM over random examples, or on one case."""

import argparse
import contextlib
import gc
import sys
from dataclasses import replace
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import FAILED, NOTHING_JUDGED, OK, UsageError
from lstm_checks.formats import BASES, is_low

EXAMPLES = 100

FEW = 20
"""Of fewer examples a process that works ahead is not worth its start."""

MAX_DIMS_HELP = (
    "largest sizes drawn; default 9,60,9,9, and in one example each 17, 33, 65 and 129, past the edges of blocks; a "
    "fifth is that of p, of a cell that has it"
)


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "verify",
        run,
        help="judge an LSTM over random examples",
        description="Judge an LSTM's outputs and gradients over random examples, or on one case.",
        epilog=common.TARGETS,
    )
    common.add_target(parser)
    own = parser.add_argument_group("what it is", "found out, as far as it can be")
    common.add_layer(own)
    common.add_cell(parser, own)
    common.add_projection(own)
    common.add_lacks(own)
    common.add_lengths(own)
    own.add_argument(
        "--frozen", metavar="NAME,NAME", help="arrays of the target that are meant not to learn, by its own names"
    )
    own.add_argument(
        "--no-reference",
        action="store_true",
        help="judge a variant of the LSTM, which lstm_ref is no reference for, by properties and check_grad alone",
    )
    drawn = parser.add_argument_group("which examples, and what is asked of each")
    drawn.add_argument("--examples", type=common.positive, metavar="N", help=f"number of examples, default {EXAMPLES}")
    drawn.add_argument(
        "--seed",
        type=common.seed,
        metavar="N",
        help="seed of the examples, default 0; random: one that cannot be foreseen, which the report says",
    )
    drawn.add_argument(
        "--dtype",
        choices=[*BASES, "both"],
        metavar="DTYPE",
        help="default: all that the target computes in, in one run; the first of them with --no-reference. Of low "
        "precision: bfloat16 and float16 throughout; tf32 and bfloat16products, float32 with operands of products so "
        "short; autocastbfloat16 and autocastfloat16, float32 outside and short inside; both: float64 and float32",
    )
    common.add_contract(drawn)
    drawn.add_argument("--case", metavar="DESCRIPTOR", help="judge one case, e.g. m1s2e1u3-float64-seed7")
    drawn.add_argument("--max-dims", type=common.dims, metavar="M,S,E,U", help=MAX_DIMS_HELP)
    common.add_min_dims(drawn)
    drawn.add_argument(
        "--regimes",
        metavar="R,R",
        help="value regimes drawn, default normal,x1e-3,x10,x100,mixed,zero,padded; beside these there is large: "
        "more than 65536 rows (m times s), some seconds an example",
    )
    drawn.add_argument(
        "--properties",
        metavar="P,P",
        help="properties and questions asked, e.g. causality,batch-split,second-pullback; all or none; default two and "
        "one an example, all with --case, all properties but sign-symmetry,zero-weights with --no-reference",
    )
    drawn.add_argument(
        "--repeat",
        type=common.positive,
        metavar="N",
        help="calls with the same inputs that are compared in each example; default 2, and 10 where these differ",
    )
    where = parser.add_argument_group("where it runs, and how long")
    where.add_argument(
        "--executor", metavar="WHERE", help="spread the examples: processes, processes:N or dask://HOST:PORT"
    )
    where.add_argument(
        "--journal", metavar="FILE", help="with --executor: write down what is done, and go on from it after a stop"
    )
    common.add_timeout(where)
    common.add_process(where)
    common.add_bounds(where)
    shown = parser.add_argument_group("what is shown and written")
    shown.add_argument(
        "--diff", action="store_true", help="show the suspected fault as a diff; always shown with --case"
    )
    shown.add_argument(
        "--no-source", action="store_true", help="do not look for the line of the target's own Python that is wrong"
    )
    common.add_output(shown)


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `verify`."""
    common.with_layer(options)
    common.expect_apart([*common.reports_of(options), ("the journal", options.journal)], options.target)
    if options.case is not None:
        _refuse_draws(options)
    options.examples = EXAMPLES if options.examples is None else options.examples
    options.seed = options.seed or 0
    if options.executor is not None:
        return _verify_on_executor(options)
    if options.journal is not None:
        raise UsageError("--journal is for --executor, which is not given")
    with _ahead(options) as ahead, common.loaded(options) as loaded:
        common.expect_dims(options, loaded.cell)
        target = _without_frozen(common.in_form(loaded), options.frozen)
        gc.freeze()  # of what is loaded by now nothing goes, and to look through it again costs a twentieth
        return _verify_examples(target, options, ahead) if options.case is None else _verify_case(target, options)


def _ahead(options: argparse.Namespace) -> Any:
    """Return a process that works out what is due meanwhile; nothing where it would not help, or is not wanted.

    For a debugger there is one process; and a target that is not to see its judge's memory is not to see this either.
    """
    from lstm_checks.judging.ahead import Ahead
    from lstm_checks.workers.processes import usable_processors

    few = options.case is not None or options.examples < FEW
    kept_together = options.in_process or options.no_reference or options.isolate or is_low(options.dtype or "float64")
    return contextlib.nullcontext() if few or kept_together or usable_processors() < 2 else Ahead()


def _without_frozen(target: Any, frozen: str | None) -> Any:
    """Return the target whose arrays that are meant not to learn are no failure."""
    from dataclasses import replace

    if frozen is None:
        return target
    names = [word.strip() for word in frozen.split(",")]
    unknown = [name for name in names if name not in target.unlearned]
    if unknown:
        known = ",".join(target.unlearned) or "none, since all its arrays learn"
        raise UsageError(f"--frozen {unknown[0]!r} is no array that does not learn, expected {known}")
    return replace(target, unlearned={name: why for name, why in target.unlearned.items() if name not in names})


def _refuse_draws(options: argparse.Namespace) -> None:
    """Raise for an option that says which examples are drawn: a case says all that by itself."""
    for name in ("examples", "seed", "dtype", "contract", "max-dims", "regimes"):
        if getattr(options, name.replace("-", "_")) is not None:
            raise UsageError(f"--{name} does not go with --case {options.case}, which is one example by itself")


def _verify_case(target: Any, options: argparse.Namespace) -> int:
    """Return the exit code of `verify --case`."""
    from lstm_checks.asking.claims import ROTATED
    from lstm_checks.judging import text
    from lstm_checks.judging.case import verify_case
    from lstm_checks.judging.explain import explain
    from lstm_checks.judging.look import case_in_full
    from lstm_checks.properties.claims import GENERAL, NAMES

    properties = _parse_properties(options.properties)
    if properties is None:
        properties = (*(NAMES if not options.no_reference else GENERAL), *ROTATED)
    case, reference = common.parse_case(options.case), not options.no_reference
    with _large_progress(case, options) as advance:
        found = verify_case(
            target,
            case,
            properties=properties,
            reference=reference,
            progress=advance,
            repeat=options.repeat or 0,
        )
        if found.failures:
            advance.doing(f"finding out what is wrong with {options.target}")
            found = explain(target, found)
            advance.doing(f"looking for the line in {options.target}")
            found = _with_source(found, [found.case], [], options)
        exit_code = _case_exit_code(found)
        common.save(options, lambda: case_in_full(target, found, exit_code))
    common.say(text.render_case(options.target, found) + text.render_diff(found), options, exit_code)
    return exit_code


def _large_progress(case: Any, options: argparse.Namespace) -> Any:
    """Say what a large case will cost, and return what tells how far it is."""
    from lstm_checks import tolerance
    from lstm_checks.oracles.expected import LARGE_ROUNDS, estimate_large

    if case.size <= tolerance.LARGE:
        return common.progress(options, f"verifying {options.target}")
    if not options.quiet:
        seconds, memory = estimate_large(case)
        print(
            f"{case.size:,} gradient entries are judged along random directions: "
            f"about {max(seconds, 1):.0f} s and {memory / 2**30:.1f} GB",
            file=sys.stderr,
        )
    return common.progress(options, f"verifying {options.target}", LARGE_ROUNDS)


def _verify_examples(target: Any, options: argparse.Namespace, ahead: Any) -> int:
    """Return the exit code of `verify` over random examples."""
    from lstm_checks.judging import text
    from lstm_checks.judging.look import report_in_full
    from lstm_checks.judging.verify import verify
    from lstm_checks.properties.claims import OWN_REGIMES

    more: dict[str, Any] = {} if options.max_dims is None else {"max_dims": options.max_dims}
    more |= {
        "dtypes": common.formats_asked(options),
        "properties": _parse_properties(options.properties),
        "reference": not options.no_reference,
        "repeat": options.repeat or 0,
    }
    if options.regimes is not None:
        more["regimes"] = common.parse_regimes(options.regimes)
        if options.no_reference and not set(more["regimes"]) <= set(OWN_REGIMES):
            raise UsageError(f"--no-reference cannot judge the regimes {options.regimes}, only {','.join(OWN_REGIMES)}")
    with common.progress(options, f"verifying {options.target}", options.examples) as advance:
        report = verify(target, examples=options.examples, seed=options.seed, progress=advance, ahead=ahead, **more)
        if report.failure is not None:
            from lstm_checks.repair.ask import failing_cases

            advance.doing(f"looking for the line in {options.target}")
            run_cases = [example.case for example in report.examples]
            report = replace(report, failure=_with_source(report.failure, failing_cases(report), run_cases, options))
        if options.json is not None or options.html is not None:
            advance.doing(f"drawing what is wrong with {options.target}" if report.failure else "writing the report")
        common.save(options, lambda: report_in_full(target, report))
    shown = text.render_report(report)
    if options.diff and report.failure is not None:
        shown += text.render_diff(report.failure)
    common.say(shown, options, report.exit_code)
    return report.exit_code


def _with_source(found: Any, cases: list[Any], run_cases: list[Any], options: argparse.Namespace) -> Any:
    """Return the report on a failing case with which lines of the user's own source are wrong, where that is found."""
    from lstm_checks import tolerance
    from lstm_checks.judging.reports import is_tensor
    from lstm_checks.repair.ask import look_into_source

    kinds = {c.discrepancy.kind for c in found.failures if is_tensor(c.name) and c.discrepancy is not None}
    if (
        is_low(found.case.dtype)
        or options.no_source
        or options.isolate
        or options.memory
        or not found.reference
        or found.chance
        or not kinds & {"value", "finite"}
    ):
        return found
    # A fix is one only if all examples of a run are right with it.
    seconds = tolerance.FIX_IN_VERIFY if run_cases else 0.0
    return replace(found, source=look_into_source(options.target, cases, seconds, run=run_cases))


def _verify_on_executor(options: argparse.Namespace) -> int:
    """Return the exit code of `verify --executor`."""
    import time

    from lstm_checks.campaign.executors import ExecutorError, parse_executor
    from lstm_checks.campaign.plan import CampaignError, Plan
    from lstm_checks.campaign.run import run as run_campaign
    from lstm_checks.campaign.text import render_campaign
    from lstm_checks.judging.verify import default_dtypes

    for given, option in (
        (options.case, "--case"),
        (options.in_process, "--in-process"),
        (options.no_reference, "--no-reference"),
        (options.properties, "--properties"),
        (options.proj, "--proj"),
        (options.lacks, "--lacks"),
        (options.min_dims, "--min-dims"),
        (options.repeat, "--repeat"),
        (options.frozen, "--frozen"),
        (options.memory, "--memory"),
        (options.isolate, "--isolate"),
    ):
        if given:
            raise UsageError(f"--executor does not go with {option}")
    with common.loaded(options) as loaded:
        common.expect_dims(options, loaded.cell)
        dtypes = common.formats_asked(options) or default_dtypes(common.in_form(loaded))[0]
        cell = loaded.cell.name  # which its own options may say
    more: dict[str, Any] = {} if options.max_dims is None else {"max_dims": options.max_dims}
    if options.regimes is not None:
        more["regimes"] = common.parse_regimes(options.regimes)
    plan = Plan(options.target, options.examples, options.seed, dtypes, cell=cell, **more)
    start = time.perf_counter()
    try:
        with (
            parse_executor(options.executor) as where,
            common.progress(options, f"verifying {options.target}", options.examples) as advance,
        ):
            report = run_campaign(plan, where.start, workers=where.workers, journal=options.journal, progress=advance)
    except (CampaignError, ExecutorError) as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        if options.journal is None:
            raise
        raise UsageError(f"interrupted; the same command goes on from {options.journal}") from None
    common.save(options, report.to_json)
    common.say(render_campaign(report, time.perf_counter() - start), options, report.exit_code)
    return report.exit_code


def _parse_properties(text: str | None) -> tuple[str, ...] | None:
    """Return the properties named in a list; None where nothing is said."""
    from lstm_checks.asking.claims import ROTATED
    from lstm_checks.properties.claims import NAMES as PROPERTIES

    NAMES = (*PROPERTIES, *ROTATED)
    if text is None:
        return None
    if text in ("all", "none"):
        return NAMES if text == "all" else ()
    names = tuple(word.strip().replace("-", " ") for word in text.split(","))
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        known = ",".join(name.replace(" ", "-") for name in NAMES)
        raise UsageError(f"there is no property {unknown[0]!r}, expected all, none or some of {known}")
    return names


def _case_exit_code(found: Any) -> int:
    """Return the exit code for the report on one case."""
    if found.mistrusted:
        return NOTHING_JUDGED
    return {"pass": OK, "fail": FAILED}.get(str(found.verdict), NOTHING_JUDGED)
