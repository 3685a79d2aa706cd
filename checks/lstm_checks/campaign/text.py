"""The report on a campaign as text."""

from lstm_checks.campaign.tally import CampaignReport
from lstm_checks.judging.text import none_in, reference_of, render_failure
from lstm_ref.cells import cell_named


def render_campaign(report: CampaignReport, seconds: float) -> str:
    """Return the whole report; `seconds` is how long it took."""
    plan, tally = report.plan, report.tally
    name = plan.target
    dtypes = " and ".join(plan.dtypes)
    reference = reference_of(cell_named(plan.cell))
    lines = [
        f"{name} ({report.kind}) against {reference}: {tally.examples:,} examples in {dtypes}, "
        f"seed {plan.seed}, {plan.chunks} chunks, {seconds:.1f} s"
    ]
    if report.resumed:
        lines.append(f"  resumed   {report.resumed} chunks were in the journal")
    if report.damaged:
        lines.append(f"  damaged   {report.damaged} lines of the journal; what they may have said was judged again")
    if report.repeated:
        lines.append(f"  repeated  {report.repeated} times a chunk was judged again, since a worker was lost")
    if report.empty_strata:
        lines.append(f"  none in   {none_in(report.empty_strata)}")
    if tally.worst is not None:
        use, tensor, descriptor = tally.worst
        lines.append(f"  tolerance {100 * use:.0f} % used by the worst entry, in {tensor} of {descriptor}")
    if tally.not_repeatable:
        lines.append(f"  note      not repeatable to the last bit in {tally.not_repeatable} examples")
    counted = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(tally.verdicts.items())) or "no examples"
    if tally.mistrusted:
        shown = ", ".join(tally.mistrusted[:3])
        return "\n".join([*lines, f"MISTRUSTED  {name}: the oracles disagree on {shown}, blame the harness"])
    if tally.failed:
        failure = report.failure
        told = [] if failure is None else [render_failure(name, failure)] if failure.failures else _not_again(report)
        return "\n".join([*lines, "", *told, "", f"FAIL  {name}: {counted}"])
    if report.exit_code:
        return "\n".join([*lines, f"NOTHING JUDGED  {name}: {counted}, expected at least one example to judge"])
    return "\n".join([*lines, f"PASS  {name}: {counted}"])


def _not_again(report: CampaignReport) -> list[str]:
    """Return that the first failing example did not fail when it was judged once more."""
    return [f"{report.tally.failed[0]} failed in a worker and did not fail again here"]
