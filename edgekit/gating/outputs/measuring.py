"""How an artifact is measured on the device that it is judged for: the commands, with their paths filled in."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from edgekit.task.task import find_config

_SSH_KINDS: Final = ("raspberry_pi", "jetson", "other")
"""Kinds of devices that have a shell to log in to."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The device and the file that a finding is about.

    Attributes:
        device: Name of the profile.
        kind: As the profile says: phone, watch, raspberry_pi and so on.
        runtimes: Formats that the device runs.
        runtime: The artifact's format.
        artifact: Its path.
        target: What was gated: the folder or the artifact.
        model: The float model that debug must be given, "" where it finds it: in a task file or in the artifact.
        baseline: The baseline's file, "" for the one that is found where none is named.
    """

    device: str
    kind: str
    runtimes: tuple[str, ...]
    runtime: str
    artifact: Path
    target: Path
    model: str = ""
    baseline: str = ""

    @property
    def of_folder(self) -> bool:
        """True if an export's folder was gated, False if an artifact that was run for it."""
        return self.target != self.artifact

    @property
    def shown_artifact(self) -> str:
        """The artifact's path for a command line."""
        return _path(self.artifact)

    @property
    def shown_target(self) -> str:
        """The path of what was gated, for a command line."""
        return _path(self.target)

    @property
    def gate(self) -> str:
        """The gate's command."""
        return f"edgekit gate {self.shown_target} -d {self.device}"

    @property
    def debug(self) -> str:
        """The command that looks into the artifact, and what must be given besides."""
        command = f"edgekit debug {self.shown_artifact}"
        if not self.model:
            return command
        return (
            f"{command} --model {shlex.quote(self.model)}, with --example-inputs and --calibration as for the export."
        )

    @property
    def set_baseline(self) -> str:
        """The command that makes this export the baseline; only a folder has the figures for one."""
        folder = self.shown_target if self.of_folder else "DIR"
        named = f" -o {shlex.quote(self.baseline)}" if self.baseline else ""
        return f"edgekit baseline set {folder}{named}"

    @property
    def measured(self) -> str:
        """Name of a measurement file."""
        return f"bench-{self.device}-{self.runtime}.json"


def model_to_name(model: Mapping[str, Any] | None) -> str:
    """Returns the float model of a report that commands must be given, "" where they find it by themselves."""
    if model is None or model["embedded_default"] or find_config(Path.cwd()) is not None:
        return ""
    return str(model["source"])


def how_to_measure(place: Place) -> str:
    """Returns how to measure an artifact on its device, by the way that this device has; commands last."""
    if place.runtimes and place.runtime not in place.runtimes:
        return f"{place.device} does not run {place.runtime}: judge it for a device that does, or make another format."
    bench = f"edgekit bench {place.shown_artifact}"
    end = f"-d {place.device} -o {place.measured}"
    judge = f"Then judge it: {place.gate} --measurements {place.measured}"
    if place.kind in _SSH_KINDS:
        return f"Measure it there, USER and HOST being your own: {bench} --on ssh://USER@HOST {end}. {judge}"
    if place.kind == "microcontroller" or (place.kind == "watch" and "coreml" in place.runtimes):
        return (
            f"Nothing reaches a {place.kind} from here: its maker's tools show the latency (Xcode, for a .mlpackage)."
        )
    if place.runtime == "tflite" and "coreml" not in place.runtimes:
        return (
            "Measure it there with TFLite's benchmark_model, built for its processor: "
            f"{bench} --on adb --benchmark-model benchmark_model {end}. {judge}"
        )
    return (
        "Nothing runs this format there from here. Profile it with Qualcomm AI Hub, and import what that saves: "
        f"{bench} --from profile.json {end}. {judge}"
    )


def _path(path: Path) -> str:
    """Returns a path for a command line, seen from the working folder where it lies in it."""
    try:
        shown = path.absolute().relative_to(Path.cwd())
    except ValueError:
        shown = path
    return shlex.quote(str(shown))
