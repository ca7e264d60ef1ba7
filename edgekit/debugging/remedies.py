"""What to do about a suspect: one sentence, and a command to copy."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, final

from edgekit.debugging.causes import Cause
from edgekit.debugging.report import DebugReport, Suspect

_NOTHING_TO_DO_DB: Final = 30.0
"""SQNR of the outputs above which rounding costs no accuracy that could be measured."""

_NOTHING_TO_DO_POINTS: Final = 1.0
"""Loss of the task's metric from which something is to be done, however near the outputs are: scores beside boxes."""

_CONCENTRATED: Final = 0.2
"""Share of the final error from which one layer is worth keeping in float."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCall:
    """How the artifact is made again.

    Attributes:
        model: MODEL argument; "" where a task file or the embedded default says it.
        config: --config; "" where it is not needed.
        calibration: --calibration; "" where the task says it.
        device: Name of the profile.
        runtime: --format.
        precision: --precision; "" where the artifact does not report it.
    """

    model: str
    config: str
    calibration: str
    device: str
    runtime: str
    precision: str

    def export(self, *more: str, precision: str | None = None) -> str:
        """Returns the command that makes the artifact again, with further flags."""
        wanted = self.precision if precision is None else precision
        flags = ["--precision", wanted] if wanted else []
        return shlex.join(["edgekit", "export", *self._common(), *flags, *more])

    def mixed(self) -> str:
        """Returns the commands that measure every layer and keep in float those that need it."""
        plan = shlex.join(["edgekit", "plan", *self._common(), "--effort", "default", "-o", "plan.json"])
        return f"{plan} && {shlex.join(['edgekit', 'export', *self._task(), '--plan', 'plan.json'])}"

    def _common(self) -> list[str]:
        return [*self._task(), "--device", self.device, "--format", self.runtime]

    def _task(self) -> list[str]:
        """Returns what says which model and data."""
        config = ["--config", self.config] if self.config else []
        calibration = ["--calibration", self.calibration] if self.calibration else []
        return [*([self.model] if self.model else []), *config, *calibration]


def with_remedies(report: DebugReport, call: ExportCall) -> DebugReport:
    """Returns the report with a remedy for each suspect."""
    return replace(report, suspects=tuple(_with_remedy(suspect, report, call) for suspect in report.suspects))


def _with_remedy(suspect: Suspect, report: DebugReport, call: ExportCall) -> Suspect:
    sentence, command = _RULES[suspect.cause](suspect, report, call)
    return replace(suspect, remedy=sentence, command=command)


def _swapped(suspect: Suspect, report: DebugReport, call: ExportCall) -> tuple[str, str]:
    del suspect, report
    return (
        (
            "Preprocessing: feed the channels in the order that the float model was trained with (RGB or BGR), in the "
            "app and in the code that made this artifact; then export again."
        ),
        call.export(),
    )


def _again(suspect: Suspect, report: DebugReport, call: ExportCall) -> tuple[str, str]:
    del suspect, report
    return (
        "The file differs from what calibration of the float model gives: export it again and compare.",
        call.export(),
    )


def _clips(suspect: Suspect, report: DebugReport, call: ExportCall) -> tuple[str, str]:
    if report.samples_from == "calibration":
        return _again(suspect, report, call)
    return (
        (
            "Calibration never saw such values: calibrate with more samples, like those the app sees; or let ranges be "
            "chosen at run time."
        ),
        call.export(precision="int8-dynamic"),
    )


def _single_scale(suspect: Suspect, report: DebugReport, call: ExportCall) -> tuple[str, str]:
    del suspect, report
    return "Give each channel its own scale, as edgekit's exports have, and level the channels first.", call.export(
        "--technique", "equalize"
    )


def _wide(suspect: Suspect, report: DebugReport, call: ExportCall) -> tuple[str, str]:
    del suspect, report
    return (
        (
            "A single sample decided this range: look for it in the calibration data (the lint in report.json names "
            "odd ones), take it out, and export again."
        ),
        call.export(),
    )


def _outlier(suspect: Suspect, report: DebugReport, call: ExportCall) -> tuple[str, str]:
    if "linear" in report.layer(suspect.node).operator or "norm" in report.layer(suspect.node).operator:
        return "Move the outlier into the weights before quantizing.", call.export("--technique", "smooth_activations")
    return "Level the channels before quantizing.", call.export("--technique", "equalize")


def _rounding(suspect: Suspect, report: DebugReport, call: ExportCall) -> tuple[str, str]:
    del suspect
    if report.final_sqnr_db >= _NOTHING_TO_DO_DB and (report.metric_points or 0.0) < _NOTHING_TO_DO_POINTS:
        return "Nothing to do: the outputs are as near to the float model's as this precision allows.", ""
    if call.precision.startswith("fp"):
        return "16-bit float does not hold this model's values well: use 32 bits.", call.export(precision="fp32")
    largest = max(report.layer(item.node).error_share or 0.0 for item in report.suspects)
    if largest >= _CONCENTRATED:
        return (
            "Keep the worst layers in float: the plan measures every layer and finds the cheapest choice.",
            call.mixed(),
        )
    return (
        "Nothing is broken, the error is spread over many layers: fit the weights' rounding to the data.",
        call.export("--technique", "round_weights:method=gptq"),
    )


def _unknown(suspect: Suspect, report: DebugReport, call: ExportCall) -> tuple[str, str]:
    del suspect, report
    return "Keep this layer in float: the plan measures every layer and finds the cheapest choice.", call.mixed()


_RULES: Final[Mapping[Cause, Callable[[Suspect, DebugReport, ExportCall], tuple[str, str]]]] = {
    "swapped_channels": _swapped,
    "lost_activation": _again,
    "zero_point": _again,
    "range_clips": _clips,
    "scale": _again,
    "per_tensor_weights": _single_scale,
    "range_too_wide": _wide,
    "outlier_channel": _outlier,
    "channels_off": _again,
    "rounding": _rounding,
    "unknown": _unknown,
}
