"""Two artifacts timed in turn on this machine: is the new one slower, and how sure is that?

A single timing is noise: another tenant, a cold cache, where the process happened to lie in memory. So both artifacts
run in turn (A B, B A, ...) in one process, which cancels what changes slowly; that is repeated in fresh processes
(rounds), which cancels what a process is born with; and each round says one number, the median ratio of its pairs.

The interval of the ratio lies between order statistics of the rounds. It assumes no distribution: with the true ratio
as the rounds' median, each round is above it with a probability of 1/2, so all of n rounds lie above it with 2^-n. At
the default of 8 rounds that is 0.4 %: the rate of false alarms where the true change is exactly the limit. Below the
limit it is smaller still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from edgekit.artifact import Artifact, measure_files
from edgekit.intervals import median_interval
from edgekit.validators.execution import collect_evidence
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.process_folder import temporary_folder
from edgekit.workers.worker import Progress, silent

CONFIDENCE: Final = 0.99
"""Confidence of the intervals that a regression is judged by: half of what is left is the rate of false alarms."""

ROUNDS: Final = 8
"""The fewest for which order statistics reach the confidence: 2 * 2^-8 < 1 % < 2 * 2^-7."""

_PAIRS: Final = 60
_WARMUP: Final = 5
_ROUND_SECONDS: Final = 3.0

Pairs = Sequence[tuple[float, float]]
"""Timings of one round in ms, (new, old) each time."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RatioEstimate:
    """How long the new artifact takes, as a multiple of the old one's time.

    Attributes:
        ratio: Median over rounds.
        low: Lower end of the interval.
        high: Upper end.
        rounds: Fresh processes.
        pairs: Timed pairs in all of them.
    """

    ratio: float
    low: float
    high: float
    rounds: int
    pairs: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRounds:
    """What timing in turn gave.

    Attributes:
        rounds: One sequence of pairs a round.
        host: What measured it.
        missing: Why there is nothing, "" where there is.
    """

    rounds: tuple[Pairs, ...] = ()
    host: str = ""
    missing: str = ""


def estimate_ratio(rounds: Sequence[Pairs]) -> RatioEstimate:
    """Returns the ratio of times over all rounds; with fewer than ROUNDS of them its interval is without ends."""
    import numpy as np

    ratios = np.asarray([np.median([new / old for new, old in pairs]) for pairs in rounds])
    interval = median_interval(ratios, CONFIDENCE)
    return RatioEstimate(
        ratio=float(np.median(ratios)),
        low=interval.low,
        high=interval.high,
        rounds=len(rounds),
        pairs=sum(map(len, rounds)),
    )


def time_in_turn(
    new: Path, old: Path, runtime: str, *, rounds: int = ROUNDS, timeout_s: float, progress: Progress = silent
) -> TimedRounds:
    """Times two artifacts of one runtime in turn, each round in a fresh process.

    Args:
        new: The artifact to judge.
        old: The one to compare with.
        runtime: Which loads both.
        rounds: Number of processes.
        timeout_s: Limit of each process.
        progress: Callback that gets what is going on.

    Raises:
        EdgekitError: an artifact cannot be loaded, or the runtime is not installed.
    """
    size, download, digest = measure_files(new)
    artifact = Artifact(
        path=new, runtime=runtime, precision="unknown", size_bytes=size, download_bytes=download, sha256=digest
    )
    settings = RunSettings(timeout_s=timeout_s, runs=_PAIRS, warmup=_WARMUP, timing_s=_ROUND_SECONDS)
    made: list[Pairs] = []
    host = ""
    for number in range(rounds):
        progress(f"timing against the baseline, round {number + 1} of {rounds}", (number + 1) / rounds)
        with temporary_folder("timing") as folder:
            evidence = collect_evidence(artifact, folder=folder, baseline=old, pieces=("latency",), settings=settings)
        if not evidence.float_latencies_ms:
            return TimedRounds(missing=evidence.why_missing("latency"))
        host = evidence.host
        made.append(tuple(zip(evidence.latencies_ms, evidence.float_latencies_ms, strict=True)))
    return TimedRounds(rounds=tuple(made), host=host)
