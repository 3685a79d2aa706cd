"""`lstm-checks certify`: say how wrong an LSTM is at most, with a proof."""

import argparse
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import FAILED, NOTHING_JUDGED, OK
from lstm_checks.formats import BASES

DESCRIPTION = """\
Bound the error of an LSTM's outputs and gradients against the exact answer, which balls of arbitrary precision enclose:
each figure is an upper bound that is proven, and above the error by a thousandth of an ulp at most. Needs python-flint:
pip install python-flint.
"""

EPILOG = """\
For each tensor:
  ulps            the largest error, in units of the last place of the exact entry, and the entry where it stands
  relative        the largest error over the largest exact entry of the tensor, and the entry
  of tolerance    the largest error over what rounding excuses in its entry (6 standard deviations). Only this figure
                  means the same everywhere: where gates saturate, whole tensors are lost to rounding by right.

exit code: 0 every error that could be judged is within its tolerance; 1 one is beyond it, or a tensor is missing or
of another form; 2 nothing could be judged: bad usage, a missing extra, or rounding drowns every answer
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "certify",
        run,
        help="say how wrong an LSTM is at most, with a proof",
        description=DESCRIPTION,
        epilog=EPILOG + "\n" + common.TARGETS.partition("\nexit code")[0],
    )
    common.add_target(parser)
    common.add_cell(parser)
    parser.add_argument("--case", metavar="DESCRIPTOR", help="certify one case, e.g. m8s20e16u16-float64-seed1")
    parser.add_argument(
        "--examples", type=common.positive, default=20, metavar="N", help="number of small examples, default 20"
    )
    parser.add_argument("--seed", type=common.natural, default=0, metavar="N", help="seed of the examples, default 0")
    parser.add_argument(
        "--dtype",
        choices=[*BASES, "both"],
        default="float64",
        metavar="DTYPE",
        help=f"of the examples, default float64: {', '.join(BASES)}, or both: N each in float64 and float32",
    )
    common.add_contract(parser)
    parser.add_argument(
        "--regimes",
        metavar="R,R",
        help="value regimes in turn, default normal,x1e-3, where no gate saturates; all: "
        "normal,x1e-3,x10,x100,mixed,zero,padded",
    )
    common.add_timeout(parser)
    common.add_process(parser)
    common.add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `certify`."""
    common.expect_apart(common.reports_of(options), options.target)
    common.need_balls()
    with common.loaded(options) as target:
        return _certify(target, options)


def _certify(target: Any, options: argparse.Namespace) -> int:
    """Return the exit code of `certify` for a target."""
    cases = _cases(target, options)
    from lstm_checks.certified import text as report
    from lstm_checks.certified.certify import case_for, certify, estimate_seconds, overall
    from lstm_checks.compare import Verdict

    what = cases[0].descriptor if options.case is not None else f"{len(cases)} examples"
    common.foretell(options, f"certifying {what}", sum(estimate_seconds(case_for(target, case)) for case in cases))
    certificates = []
    with common.progress(options, f"certifying {options.target}", len(cases)) as advance:
        for case in cases:
            certificates.append(certify(target, case))
            advance()
    verdict = overall([certificate.verdict for certificate in certificates])
    exit_code = {Verdict.PASS: OK, Verdict.FAIL: FAILED}.get(verdict, NOTHING_JUDGED)
    common.save(options, lambda: report.certificates_to_json(target, certificates, exit_code))
    common.say(report.render_certificates(options.target, certificates), options, exit_code)
    return exit_code


def _cases(target: Any, options: argparse.Namespace) -> list[Any]:
    """Return the cases asked for, all of them in a dtype of the target."""
    from lstm_checks.certified.certify import EXAMPLE_REGIMES, example_cases

    dtypes = common.formats_asked(options) or ("float64",)
    if options.case is not None:
        case = common.parse_case(options.case)
        dtypes, cases = (case.dtype,), [case]
    else:
        regimes = EXAMPLE_REGIMES if options.regimes is None else common.parse_regimes(options.regimes)
        cases = [case for dtype in dtypes for case in example_cases(options.examples, dtype, options.seed, regimes)]
    lacking = [dtype for dtype in dtypes if not target.takes(dtype)]
    if lacking:
        have = " and ".join(target.dtypes)
        raise common.UsageError(f"{options.target} computes in {have}, {lacking[0]} was asked for")
    return cases
