"""JUnit's XML, as Jenkins, GitLab, Azure and pytest's own readers take it: a suite a format, a test case a check.

JUnit knows no warning: what warns is a skipped test with its reason, which every viewer shows.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from edgekit.gating.outputs.findings import CONVERSION, NO_VERDICT, Finding


def junit_xml(findings: Sequence[Finding], *, device: str) -> str:
    """Returns the document. Without any finding it holds one error: a gate that checked nothing did not pass."""
    root = ET.Element("testsuites", name=f"edgekit {device}")
    runtimes = list(dict.fromkeys(finding.runtime for finding in findings))
    for runtime in runtimes:
        _add_suite(root, runtime, [finding for finding in findings if finding.runtime == runtime], device)
    if not findings:
        suite = ET.SubElement(root, "testsuite", name="edgekit", tests="1", failures="0", errors="1", skipped="0")
        case = ET.SubElement(suite, "testcase", classname=f"edgekit.{device}", name="checks", time="0")
        ET.SubElement(case, "error", message="No check has a limit: nothing was judged.", type="no_checks")
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.attrib[count]) for suite in root)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add_suite(root: ET.Element, runtime: str, findings: Sequence[Finding], device: str) -> None:
    suite = ET.SubElement(root, "testsuite", name=runtime, tests=str(len(findings)))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for finding in findings:
        case = ET.SubElement(
            suite, "testcase", classname=f"edgekit.{device}.{runtime}", name=finding.title.rpartition(": ")[2], time="0"
        )
        kind = _kind(finding)
        if kind is not None:
            counts[kind] += 1
            ET.SubElement(case, kind, message=_plain(f"{finding.sentence}."), type=finding.verdict).text = _plain(
                finding.text
            )
        else:
            ET.SubElement(case, "system-out").text = _plain(finding.text)
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))


def _kind(finding: Finding) -> str | None:
    if finding.severity == "none":
        return None
    if finding.severity == "warning":
        return "skipped"
    # JUnit's word: a failure is a missed assertion, an error a test that could not do its work.
    judged = finding.verdict in ("fail", "inconclusive") and finding.rule not in (CONVERSION, NO_VERDICT)
    return "failure" if judged else "error"


def _plain(text: str) -> str:
    """Returns `text` without the characters that XML 1.0 cannot hold, such as a log's escape codes."""
    return "".join(c for c in text if c in "\t\n\r" or (ord(c) >= 0x20 and not 0xD800 <= ord(c) <= 0xDFFF))
