"""Measures on this machine."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import final

from edgekit.benchmarking.target import Order, Target, TargetFigures, measured_of
from edgekit.measurements.measurement import OWN_SOURCE
from edgekit.validators.execution import collect_evidence
from edgekit.workers.worker import Progress


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ThisMachine(Target):
    """This machine: its times are those of a device only where it is one."""

    @property
    def words(self) -> str:
        """`this machine`."""
        return "this machine"

    def measure(self, order: Order, progress: Progress) -> TargetFigures:
        """Runs the artifact in fresh processes here (see `Target.measure`)."""
        order.accept(platform.machine())
        evidence = collect_evidence(
            order.artifact,
            folder=order.folder,
            evaluation=order.samples,
            settings=order.settings,
            progress=progress,
        )
        return measured_of(evidence, OWN_SOURCE)
