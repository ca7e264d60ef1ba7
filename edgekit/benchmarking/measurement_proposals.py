"""Which models to measure on a device before its latency model is calibrated, the most informative first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgekit.benchmarking.known_models import KNOWN_MODELS
from edgekit.benchmarking.latency_calibration import CalibratedGroup, analyze_source, work_ms
from edgekit.errors import UsageError
from edgekit.pipeline.settings import Settings
from edgekit.predict.latency_design import Candidate, Proposal, propose
from edgekit.predict.latency_refit import doubt_of
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import precision_named

DEFAULT_COUNT: Final = 3


def find_group(profile: DeviceProfile, runtime: str = "", precision: str = "") -> CalibratedGroup:
    """Returns whose rates are meant: the profile's preferred ones where nothing was requested.

    Raises:
        UsageError: the profile has no such rates.
    """
    known: list[CalibratedGroup] = [
        (name, one)
        for name in profile.runtimes
        for one in map(precision_named, profile.latency_model.get(name, {}))
        if one is not None
    ]
    wanted = precision_named(precision) or precision
    for group in known:
        if runtime in ("", group[0]) and wanted in ("", group[1]):
            return group
    requested = " ".join(part for part in (runtime, precision) if part)
    rates = ", ".join(f"{name} {one.replace('_', '-')}" for name, one in known) or "none"
    raise UsageError(
        f"{profile.name} has no latency model{f' for {requested}' if requested else ''}; it has {rates}. "
        "Name one of these with --format and --precision, or a device with the same processor."
    )


def propose_measurements(
    profile: DeviceProfile,
    group: CalibratedGroup,
    models: Sequence[str],
    settings: Settings,
    cwd: Path,
    *,
    count: int = DEFAULT_COUNT,
) -> tuple[Proposal, ...]:
    """Returns which of some models to measure, in order.

    Args:
        profile: Whose rates.
        group: The runtime and the precision.
        models: Artifacts or models to choose from; empty for well-known architectures.
        settings: How to run.
        cwd: Where relative paths start.
        count: How many to propose.

    Raises:
        UsageError: a model has no work that these rates speak of.
    """
    table: Mapping[str, Any] = profile.latency_model[group[0]][group[1]]
    candidates = [_candidate(name, group, profile, settings, cwd) for name in models] or [
        Candidate(name=name, parts_ms={term: table["ns"][term] * amount / 1e6 for term, amount in work.items()})
        for name, work in KNOWN_MODELS.items()
    ]
    return propose(candidates, doubt_of(table), count)


def _candidate(name: str, group: CalibratedGroup, profile: DeviceProfile, settings: Settings, cwd: Path) -> Candidate:
    runtime, precision = group
    found = work_ms(analyze_source(name, settings, cwd), precision, profile, runtime)
    if isinstance(found, str):
        raise UsageError(f"--model {name}: {found} Leave it out.")
    return Candidate(name=name, parts_ms=found[0])
