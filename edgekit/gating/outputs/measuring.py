"""How an artifact is measured on the device that it is judged for: the commands, with their paths filled in."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

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
    """

    device: str
    kind: str
    runtimes: tuple[str, ...]
    runtime: str
    artifact: Path
    target: Path

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
    def measured(self) -> str:
        """Name of a measurement file."""
        return f"bench-{self.device}-{self.runtime}.json"


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
