"""From a report's JSON, whichever command wrote it, to its page."""

from collections.abc import Callable, Mapping
from typing import Any

from lstm_checks.files import shown
from lstm_checks.html import others
from lstm_checks.html.compared import page_of_comparison
from lstm_checks.html.parts import Page
from lstm_checks.html.render import render_page
from lstm_checks.html.verified import page_of_case, page_of_report

Plain = Mapping[str, Any]

PAGES: Mapping[str, Callable[[Plain], Page]] = {
    "lstm-checks/verify/1": page_of_report,
    "lstm-checks/case/1": page_of_case,
    "lstm-checks/campaign/1": others.page_of_campaign,
    "lstm-checks/certify/1": others.page_of_certificates,
    "lstm-checks/vectors/1": others.page_of_vectors,
    "lstm-checks/gate/1": others.page_of_gate,
    "lstm-checks/faults/1": others.page_of_faults,
    "lstm-checks/kill-matrix/1": others.page_of_matrix,
    "lstm-checks/suite/1": others.page_of_suite,
    "lstm-checks/compare/1": lambda report: page_of_comparison(report, page_of),
}
"""By the schema of a report, what makes its page."""


class PageError(ValueError):
    """What is to be shown is no report; the message says what it has instead."""


def page_of(report: Any) -> Page:
    """Return the page of a report.

    Raises
    ------
    PageError
        "has the schema 'x/1', expected one of ...", or that it is not as its schema says.
    """
    schema = report.get("schema") if isinstance(report, Mapping) else None
    if not isinstance(schema, str) or schema not in PAGES:
        raise PageError(f"has the schema {shown(schema)}, expected one of {', '.join(PAGES)}")
    try:
        return PAGES[schema](report)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise PageError(f"is not as {schema} says: {type(error).__name__}: {shown(str(error))}") from error


def report_to_html(report: Any) -> str:
    """Return the page of a report as HTML.

    Raises
    ------
    PageError
        What is given is no report.
    MissingExtra
        Jinja2 is not here.
    """
    return render_page(page_of(report))
