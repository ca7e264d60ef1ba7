"""Where an artifact is measured: the contract of a place, and how `--on` names one."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from edgekit.artifact import Artifact
from edgekit.errors import MachineError, UsageError
from edgekit.measurements.latency_figures import LatencyFigures, figures_of
from edgekit.measurements.measurement import MemoryFigures
from edgekit.samples import Samples
from edgekit.validators.base import Evidence
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.worker import Progress

_SSH = re.compile(r"ssh://(?:(?P<user>[^@/\s]+)@)?(?P<host>\[[0-9A-Za-z:.%_-]+\]|[^@/:\s\[\]]+)(?::(?P<port>\d+))?/?")
_ADB = re.compile(r"adb(?::(?P<serial>\S+))?")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SshAddress:
    """A host as `ssh://user@host:port` names it; what is missing comes from the user's SSH configuration.

    Attributes:
        host: Name, address or an alias of `~/.ssh/config`.
        user: None for the configuration's.
        port: None for the configuration's.
    """

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{user}{host}{'' if self.port is None else f':{self.port}'}"

    @property
    def ssh_arguments(self) -> str:
        """What to write behind `ssh` to get there by hand."""
        port = "" if self.port is None else f"-p {self.port} "
        return f"{port}{self.user}@{self.host}" if self.user else f"{port}{self.host}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AdbAddress:
    """An Android device, by its serial number; None where one only is connected."""

    serial: str | None = None

    def __str__(self) -> str:
        return f"adb:{self.serial}" if self.serial else "adb"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a target must measure.

    Attributes:
        artifact: The file.
        samples: Inputs whose outputs are brought back; None for made-up inputs and no outputs.
        folder: An empty folder on this machine, for what comes back.
        settings: Threads, counts and limits.
        accept: Callback that gets the instruction set (as in `uname -m`) before anything is run; raises where it is not
            that of the device that the place is said to be.
    """

    artifact: Artifact
    samples: Samples | None = None
    folder: Path
    settings: RunSettings
    accept: Callable[[str], None] = lambda _machine: None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFigures:
    """What a place measured.

    Attributes:
        artifact: Artifact, with what its runtime reported about it.
        host: The machine in its own words.
        engine: What ran it, with its version.
        source: Who timed: `edgekit bench` or `TFLite benchmark_model`.
        units: What computed.
        latency: Latency of one inference.
        load_ms: None where it was not measured.
        memory: None where it was not measured.
        outputs: On the samples; None without samples.
        notes: Reasons for what is missing.
    """

    artifact: Artifact
    host: str
    engine: str
    source: str
    units: tuple[str, ...] = ("CPU",)
    latency: LatencyFigures
    load_ms: float | None = None
    memory: MemoryFigures | None = None
    outputs: Samples | None = None
    notes: tuple[str, ...] = ()


class Target(ABC):
    """A machine that can run artifacts."""

    @property
    @abstractmethod
    def words(self) -> str:
        """How it is reached: `this machine`, `ssh://pi@raspberrypi`, `adb:SERIAL`."""

    @abstractmethod
    def measure(self, order: Order, progress: Progress) -> TargetFigures:
        """Runs an artifact there and returns what was measured.

        Args:
            order: What to run, and how.
            progress: Callback that gets what is going on.

        Raises:
            EdgekitError: it cannot be run there.
        """


def measured_of(evidence: Evidence, source: str) -> TargetFigures:
    """Returns the runner's evidence in the form of a measurement.

    Raises:
        MachineError: there are no timings.
    """
    if not evidence.latencies_ms:
        raise MachineError(f"{evidence.artifact.path.name} was not timed: {evidence.why_missing('latency')}")
    peak, empty = evidence.peak_memory_bytes, evidence.empty_memory_bytes
    memory = None
    notes: tuple[str, ...] = ()
    if peak is None or empty is None:
        notes = (f"Memory was not measured: {evidence.why_missing('memory')}",)
    else:
        memory = MemoryFigures(
            above_empty_bytes=max(0, peak - empty),
            peak_bytes=peak,
            method="peak of the process above the empty runtime's",
        )
    return TargetFigures(
        artifact=evidence.artifact,
        host=evidence.host,
        engine=evidence.runtime,
        source=source,
        latency=figures_of(evidence.latencies_ms),
        load_ms=evidence.load_ms,
        memory=memory,
        outputs=evidence.outputs,
        notes=notes,
    )


def parse_address(text: str) -> SshAddress | AdbAddress:
    """Returns the place that `--on` names: `ssh://user@host:port`, `adb` or `adb:SERIAL`.

    Raises:
        UsageError: another form, a password, a path.
    """
    if match := _ADB.fullmatch(text):
        return AdbAddress(serial=match["serial"])
    match = _SSH.fullmatch(text)
    if match is None:
        raise UsageError(
            f'--on "{text}" is no place: expected ssh://HOST, ssh://USER@HOST:PORT, adb or adb:SERIAL. '
            "Without --on, edgekit measures on this machine."
        )
    user, port = match["user"], match["port"]
    if user and ":" in user:
        raise UsageError(
            f"--on ssh://{user.partition(':')[0]}:...@{match['host']}: a password in the command line can be read by "
            "everybody on this machine. Use a key (ssh-copy-id) or ssh-agent."
        )
    if port and not 0 < int(port) < 65536:
        raise UsageError(f'--on "{text}" has the port {port}; expected 1 to 65535.')
    return SshAddress(host=match["host"].strip("[]"), user=user, port=int(port) if port else None)
