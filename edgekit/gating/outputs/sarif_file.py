"""SARIF 2.1.0 (OASIS): a rule for each kind of check, a result for each that did not pass, at the line of its limit.

A limit of a profile that comes with edgekit stands in no file of the checkout: its result is where the model is named.

GitHub's code scanning shows each result at that line, and follows it over commits by its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import edgekit
from edgekit.budget import cost_of
from edgekit.gating.outputs.findings import CONVERSION, NO_VERDICT, Finding
from edgekit.gating.outputs.limit_location import FileLine

_OTHER_RULES: Final[Mapping[str, tuple[str, str]]] = {
    CONVERSION: ("conversion to a format", "A format could not be made or run."),
    NO_VERDICT: ("verdict", "There is no verdict: what was to be judged could not be read or run."),
}
"""Rules that are about no cost: title, and what a result means."""


def sarif_json(findings: Sequence[Finding], *, device: str, passed: bool, root: Path) -> str:
    """Returns the document.

    Args:
        findings: All of them; those that are fine only say which rules were applied.
        device: Whose budgets were applied.
        passed: The gate's verdict.
        root: Folder of the checkout: addresses are relative to it.
    """
    names = list(dict.fromkeys(finding.rule for finding in findings))
    shown = [finding for finding in findings if finding.severity != "none"]
    placed = [(finding, place_in(root, finding.place, finding.model)) for finding in shown]
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "edgekit",
                "version": edgekit.__version__,
                "semanticVersion": edgekit.__version__,
                "rules": [_rule(name) for name in names],
            }
        },
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": f"edgekit/{device}/"},
        "invocations": [
            {
                "executionSuccessful": True,
                "exitCode": 0 if passed else 1,
                # GitHub refuses a whole document with a result that has no place.
                "toolExecutionNotifications": [_notification(finding) for finding, place in placed if place is None],
            }
        ],
        "results": [_result(finding, place, names, device, root) for finding, place in placed if place is not None],
    }
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(document, indent=1) + "\n"


def _rule(name: str) -> Mapping[str, Any]:
    title, what = _OTHER_RULES.get(name) or (cost_of(name).title, f"The {cost_of(name).title} does not keep its limit.")
    return {
        "id": f"edgekit/{name}",
        "name": "".join(word.capitalize() for word in name.split("_")),
        "shortDescription": {"text": f"Budget: {title}"},
        "fullDescription": {"text": what},
        "defaultConfiguration": {"level": "error"},
    }


def _result(finding: Finding, place: FileLine, names: Sequence[str], device: str, root: Path) -> Mapping[str, Any]:
    # Not the sentence: its figures change from run to run, and the finding would be a new one each time.
    identity = f"{device}/{finding.title}"
    return {
        "ruleId": f"edgekit/{finding.rule}",
        "ruleIndex": names.index(finding.rule),
        "level": finding.severity,
        "kind": "fail",
        "message": _message(finding),
        "locations": [{"physicalLocation": _location(place, root)}],
        "partialFingerprints": {"edgekitBudget/v1": hashlib.sha256(identity.encode()).hexdigest()[:32]},
    }


def _notification(finding: Finding) -> Mapping[str, Any]:
    return {"level": finding.severity, "message": _message(finding)}


def _message(finding: Finding) -> Mapping[str, str]:
    return {"text": f"{finding.title.rpartition(': ')[0]}: {finding.text}"}


def _location(place: FileLine, root: Path) -> Mapping[str, Any]:
    uri = _quoted(relative_path(place.path, root))
    return {"artifactLocation": {"uri": uri}, "region": {"startLine": place.line}}


def place_in(root: Path, *places: FileLine | None) -> FileLine | None:
    """Returns the first of the places that lies in the checkout at `root`, where people can open it, or None."""
    return next((place for place in places if place is not None and _inside(place.path, root)), None)


def relative_path(path: Path, root: Path) -> str:
    """Returns `path` as it is written from `root`; the whole path where it lies elsewhere."""
    return path.resolve().relative_to(root.resolve()).as_posix() if _inside(path, root) else str(path)


def _inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)
