"""What a gate found, in the words that every output shares: one finding for each check that has a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, final

from edgekit.checks import Check, ShownVerdict
from edgekit.exporting.sentences import check_sentence
from edgekit.gating.baseline import BASELINE_NAME, Baseline
from edgekit.gating.gate import GateResult
from edgekit.gating.outputs.advice import advise
from edgekit.gating.outputs.limit_location import FileLine, LimitFiles
from edgekit.gating.outputs.measuring import Place, model_to_name
from edgekit.profiles.profile import DeviceProfile

Severity = Literal["error", "warning", "none"]
"""What a finding does to the exit code: fails it, is shown, is fine."""

CONVERSION: Final = "conversion"
"""Rule of a format that could not be made or run at all."""

NO_VERDICT: Final = "no_verdict"
"""Rule of a gate that could not judge: no export, records that contradict each other, a runtime that is missing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that the gate has to say.

    Attributes:
        rule: Name of the check, or CONVERSION.
        title: `tflite int8-static: size`.
        runtime: The format.
        severity: What it does to the exit code.
        verdict: The check's, `fail` for a conversion.
        shown_as: The verdict's word for a person.
        sentence: What was exceeded, by how much, who set the limit.
        detail: The sentence behind it: sample count, host, reason.
        advice: What to try, "" where nothing needs to change.
        place: Where the limit stands; None where nothing is known of any file.
        model: Where the model is named: edgekit's own profiles, which hold limits too, lie in no checkout.
    """

    rule: str
    title: str
    runtime: str
    severity: Severity
    verdict: str
    shown_as: ShownVerdict
    sentence: str
    detail: str = ""
    advice: str = ""
    place: FileLine | None
    model: FileLine | None = None

    @property
    def text(self) -> str:
        """All of it in one paragraph."""
        detail = "" if self.detail and self.detail.rstrip(".") in self.sentence else self.detail
        return " ".join(part for part in (f"{self.sentence}.", detail, self.advice) if part)


def no_verdict(message: str, config: Path | None) -> Finding:
    """Returns the finding of a gate that ended with an error before it could judge.

    Args:
        message: The error's.
        config: Where the finding is shown: the task file.
    """
    return Finding(
        rule=NO_VERDICT,
        title="gate: verdict",
        runtime="gate",
        severity="error",
        verdict="not_run",
        shown_as="not measured",
        sentence=f"There is no verdict: {message.rstrip().rstrip('.')}",
        place=None if config is None else FileLine(path=config, line=1),
    )


def find(result: GateResult, files: LimitFiles, *, strict: bool) -> tuple[Finding, ...]:
    """Returns one finding for each failure and for each check with a limit or a broken figure, in report order."""
    precisions = {entry["runtime"]: entry["precision"] for entry in result.report["formats"]}
    failures = [
        Finding(
            rule=CONVERSION,
            title=f"{failure.partition(':')[0]}: {CONVERSION}",
            runtime=failure.partition(" ")[0],
            severity="error",
            verdict="fail",
            shown_as="fail",
            sentence=failure.partition(": ")[2].strip().rstrip("."),
            place=files.anywhere,
            model=files.model,
        )
        for failure in result.failures
    ]
    judged = [check for check in result.checks if check.limit is not None or check.verdict == "fail"]
    found = [
        Finding(
            rule=check.name,
            title=f"{check.runtime} {precisions.get(check.runtime, '')}".rstrip() + f": {check.name}",
            runtime=check.runtime,
            severity=severity(check, strict=strict),
            verdict=check.verdict,
            shown_as=check.shown_as,
            sentence=check_sentence(check),
            detail="" if check.verdict == "not_run" else check.detail,  # the sentence and the advice hold it
            advice=_advice(check, result, precisions, files),
            place=files.place_of(check),
            model=files.model,
        )
        for check in judged
    ]
    return (*failures, *found)


def _advice(check: Check, result: GateResult, precisions: Mapping[str, str], files: LimitFiles) -> str:
    if check.verdict == "pass":
        return ""
    return advise(check, precisions.get(check.runtime, ""), place_of(result, check.runtime, files.profile))


def place_of(result: GateResult, runtime: str, profile: DeviceProfile) -> Place:
    """Returns the device and the artifact of one format."""
    entries = [entry for entry in result.report["formats"] if entry["runtime"] == runtime and entry["artifact"]]
    artifact = result.folder / entries[0]["artifact"]["path"] if entries else result.folder
    return Place(
        device=result.device,
        kind=profile.kind,
        runtimes=profile.runtimes,
        runtime=runtime,
        artifact=artifact,
        target=artifact if result.report["command"] == "validate" else result.folder,
        model=model_to_name(result.report["model"]),
        baseline=_named(result.baseline),
    )


def _named(baseline: Baseline | None) -> str:
    """Returns the path of a baseline that is not the one that is found where none is named."""
    return "" if baseline is None or baseline.path == Path(BASELINE_NAME) else str(baseline.path)


def severity(check: Check, *, strict: bool) -> Severity:
    """Returns what a check does to the exit code."""
    if check.verdict == "pass":
        return "none"
    return "error" if check.fails_gate or (strict and check.limit is not None) else "warning"
