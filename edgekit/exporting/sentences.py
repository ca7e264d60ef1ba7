"""Sentences about checks and models, for the terminal, Markdown, JUnit and SARIF alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgekit.budget import CHANGE_SUFFIX, cost_of
from edgekit.checks import Check, ShownVerdict
from edgekit.model import CapturedModel
from edgekit.units import format_change, format_value

SHOWN_NAMES: Final = 5


NAMING: Final = (
    "integer_coverage",
    "delegate_coverage",
    "accelerator_coverage",
    "ignored_settings",
    "parity_floor",
    "integer_outputs",
    "outputs_alive",
    "evidence",
    "model_digest",
)
"""Checks whose figure alone says little: the detail names the operators and settings."""


NOT_MEASURED: Final = "not measured"
"""What stands in the place of a figure that there is not."""

STATUS_WORDS: Final[dict[ShownVerdict, tuple[str, str]]] = {
    "pass": ("pass", "green"),
    "fail": ("FAIL", "bold red"),
    "not measured": (NOT_MEASURED, "yellow"),
    "inconclusive": ("inconclusive", "yellow"),
    "warn": ("warn", "yellow"),
}
"""`Check.shown_as` to its word and colour: a word, because colours do not reach a pipe or every reader.

A failure is in capitals: it must be found in a long log.
"""


def model_line(model: CapturedModel) -> str:
    """Returns one line about a model: name, source, size, what it is."""
    macs = f", {model.macs / 1e6:.0f} M multiply-accumulates" if model.macs else ""
    return f"{model.name} ({model.source}): {model.parameters / 1e6:.2f} M parameters{macs}, {model.family}"


DEFAULT_HINT: Final = (
    "No model was given, so this is the embedded default: EfficientNet-Lite0 with ImageNet weights, judged by "
    "agreement with its float self on crops of photographs. Your own: edgekit {command} model.py:build "
    "--device {device}, or start from a task file: edgekit init"
)
"""What the output says where the embedded default was taken."""


def amount_text(name: str, value: float) -> str:
    """Returns a figure of the check `name` for people: `6.2 MB`; a change against a baseline with its sign."""
    unit = cost_of(name).unit
    return format_change(value, unit) if name.endswith(CHANGE_SUFFIX) else format_value(value, unit)


def limit_text(name: str, limit: float) -> str:
    """Returns a limit for people: `<= 20 MB` or `>= 20.0 dB`."""
    return f"{'<=' if cost_of(name).at_most else '>='} {amount_text(name, limit)}"


def check_sentence(check: Check) -> str:
    """Returns what a check says, in one sentence: what was exceeded, by how much, who set the limit.

    For example: `size 6.2 MB exceeds 6 MB by 200 kB (limit from --max-size)`. What was not measured here says so:
    `predicted latency 60 ms exceeds 50 ms by 10 ms (limit from profile)`.
    """
    title = cost_of(check.name).title
    if check.basis != "measured" and check.value is not None:
        title = f"{check.basis} {title}"
    if check.value is None:
        reason = check.detail.partition(". ")[0].rstrip(".") or "no measurement"
        return f"{title} was not measured: {reason}"
    value = amount_text(check.name, check.value)
    if check.limit is None:
        return f"{title} {value} (no limit)"
    limit = amount_text(check.name, check.limit)
    # Figures in percent differ by points.
    by = format_value(abs(check.value - check.limit), "pp" if check.unit == "%" else check.unit)
    source = f" (limit from {check.limit_from})" if check.limit_from else ""
    if check.verdict == "pass":
        return f"{title} {value} keeps {limit}{source}"
    if check.verdict == "inconclusive":
        return f"{title} {value} (band {band_text(check)}) straddles {limit}{source}"
    relation = "exceeds" if cost_of(check.name).at_most else "is below"
    return f"{title} {value} {relation} {limit} by {by}{source}"


def band_text(check: Check) -> str:
    """Returns a check's band for people, `0.10 pp to 1.40 pp`, or "" where its figure is exact."""
    if check.low is None or check.high is None:
        return ""
    return f"{amount_text(check.name, check.low)} to {amount_text(check.name, check.high)}"


def gate_lines(checks: Iterable[Check], failures: Iterable[str], *, device: str, good: bool) -> list[str]:
    """Returns one line for each failure, each open check and each waiver, then the verdict."""
    checks = tuple(checks)
    lines = [f"[bold red]FAIL[/] {escape(failure)}" for failure in failures]
    for check in sorted(checks, key=lambda check: (check.level, list(STATUS_WORDS).index(check.shown_as))):
        if check.verdict == "pass" or (check.limit is None and check.verdict != "fail"):
            continue
        word, style = STATUS_WORDS[check.shown_as]
        warns = " (warning)" if check.level == "warn" and check.verdict == "not_run" else ""
        lines.append(f"[{style}]{word}[/]{warns} {check.runtime}: {escape(check_sentence(check) + _rest(check))}")
    lines += waiver_lines(checks)
    return [*lines, f"[bold green]PASS[/] {device}" if good else f"[bold red]FAIL[/] {device}"]


def _rest(check: Check) -> str:
    """Returns what follows a check's sentence: what to do where nothing was measured, names where they tell most."""
    if check.value is None:
        advice = check.detail.partition(". ")[2]
        return f". {advice}" if advice else ""
    return f". {check.detail}" if check.name in NAMING else ""


def waiver_lines(checks: Iterable[Check]) -> list[str]:
    """Returns one line for each waiver: `not judged tflite: accuracy, accuracy drop (--without accuracy)`."""
    waived: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        if check.is_waived:
            waived.setdefault((check.runtime, check.limit_from), []).append(cost_of(check.name).title)
    return [
        f"[yellow]not judged[/] {runtime}: {escape(', '.join(titles) + f' ({source})')}"
        for (runtime, source), titles in waived.items()
    ]


def escape(text: str) -> str:
    """Returns `text` so that Rich does not take its brackets for markup."""
    from rich.markup import escape as rich_escape

    return rich_escape(text)
