"""What a report is held against (each edit is a case of tests/robustness/test_edited_records.py)."""

from __future__ import annotations

import json

from edgekit.budget import RECIPE_SOURCE, SOUNDNESS_SOURCE, Limit
from edgekit.checks import judge
from edgekit.exporting.record_check import figures_digest, locked_figures


def test_the_digest_is_that_of_what_is_read_back() -> None:
    formats = [{"checks": [judge("size", 1.0, None).to_json()], "host": {"by bits": {8: 1, 16: (2, 3)}}}]
    assert figures_digest(formats) == figures_digest(json.loads(json.dumps(formats)))
    assert figures_digest(formats) != figures_digest([{**formats[0], "host": {}}])


def test_the_lock_holds_what_the_same_inputs_give_again() -> None:
    checks = [
        judge("memory", 5.0, None),
        judge("latency", 5.0, None, basis="predicted"),
        judge("latency_p95", 5.0, None, basis="imported"),
        judge("ignored_settings", 0.0, Limit(name="ignored_settings", value=0.0, source=RECIPE_SOURCE)),
        judge("parity", float("nan"), None),
        judge("outputs_alive", 90.0, Limit(name="outputs_alive", value=100.0, source=SOUNDNESS_SOURCE)),
    ]
    found = locked_figures([check.to_json() for check in checks])
    assert list(found) == ["latency", "ignored_settings", "parity", "outputs_alive"]
    assert (found["ignored_settings"]["limit"], found["ignored_settings"]["level"]) == (0.0, "error")
    assert found["parity"]["verdict"] == "fail"
    assert (found["outputs_alive"]["limit"], found["outputs_alive"]["level"]) == (100.0, "error")
