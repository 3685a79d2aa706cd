"""A GateReport as JUnit XML: a test case for each finding; a regression is a failure, what was not judged an error."""

import re
from xml.etree import ElementTree

from lstm_checks.gate.report import Finding, GateReport, GateVerdict
from lstm_checks.gate.text import side_by_side


def gate_to_junit(report: GateReport) -> str:
    """Return the report as an XML document."""
    counts = {
        "tests": len(report.findings),
        "failures": len(report.of(GateVerdict.REGRESSION)),
        "errors": len(report.of(GateVerdict.UNJUDGED)),
    }
    # A report without a finding must not read as one without a failure.
    findings = report.findings or (Finding("gate", "", GateVerdict.UNJUDGED, "nothing was judged"),)
    if not report.findings:
        counts = {"tests": 1, "failures": 0, "errors": 1}
    attributes = {"name": "lstm-checks gate", "time": f"{report.seconds:.3f}"}
    attributes |= {key: str(count) for key, count in counts.items()}
    root = ElementTree.Element("testsuites", attributes)
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    for finding in findings:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": _text(f"gate.{finding.what}"), "name": _text(finding.name)}
        )
        text = _text("\n".join(filter(None, [finding.message, finding.details, *side_by_side(finding.changes)])))
        if finding.outcome is GateVerdict.PASS:
            ElementTree.SubElement(case, "system-out").text = text
            continue
        kind = "failure" if finding.outcome is GateVerdict.REGRESSION else "error"
        told = {"message": _text(finding.message), "type": str(finding.outcome)}
        ElementTree.SubElement(case, kind, told).text = text
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _text(text: str) -> str:
    """Return a text without the characters that XML does not have."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "�", text)
