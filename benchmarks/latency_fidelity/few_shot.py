"""A device without any row, predicted from all others, then calibrated on a few of its own models.

    python benchmarks/latency_fidelity/few_shot.py [--write]

Each device is left out with all of its rows. What the fit to the others says about it is its profile; then 0, 1, 3, 5
or 10 of its models are measured, chosen as `edgekit devices calibrate --propose` does or at random, the rates are
refitted as `edgekit devices calibrate` does, and the other models of the same group are judged. `--write` puts the
table into `few_shot.md`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
from fit import read_features, usable_timings
from fitting import TERMS, Fit, Rates, doubt_from
from prior import Array
from published import Group, Timing

from edgekit.predict.latency_design import Candidate, propose
from edgekit.predict.latency_refit import Doubt, Observation, refit

SHOTS: Final = (0, 1, 3, 5, 10)
_FEWEST_JUDGED: Final = 3
_RANDOM_DRAWS: Final = 3
_ACCELERATED: Final = "qnn"
"""Rows of another company's delegate, which no profile uses."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The errors |predicted / published - 1| on one group of a device that was left out.

    Attributes:
        group: Where.
        shots: How many of its models were measured.
        chosen: "proposed" or "random".
        errors: One for each model that was not measured.
    """

    group: Group
    shots: int
    chosen: str
    errors: tuple[float, ...]


def judge_devices(timings: Sequence[Timing], work: Mapping[str, Array]) -> Iterator[Judged]:
    """Yields the errors of every group of every device, the device left out of the fit."""
    random = np.random.default_rng(0)
    for device in sorted({timing.group.device for timing in timings}):
        mine = [timing for timing in timings if timing.group.device == device]
        groups = {group for group in (timing.group for timing in mine) if _count(mine, group) > _FEWEST_JUDGED}
        if not groups:
            continue
        fit = Fit([timing for timing in timings if timing.group.device != device], work)
        for group in sorted(groups, key=str):
            yield from _judge_group(group, [t for t in mine if t.group == group], fit, work, random)


def _count(timings: Sequence[Timing], group: Group) -> int:
    return sum(timing.group == group for timing in timings)


def _judge_group(
    group: Group, timings: Sequence[Timing], fit: Fit, work: Mapping[str, Array], random: np.random.Generator
) -> Iterator[Judged]:
    rates = fit.rates(group)
    doubt = doubt_from(rates.spread)
    observations = {
        timing.model: Observation(
            name=timing.model,
            parts_ms=_parts_ms(rates, work[timing.model]),
            measured_ms=timing.median_ms,
        )
        for timing in timings
    }
    candidates = [Candidate(name=one.name, parts_ms=one.parts_ms) for one in observations.values()]
    order = [one.name for one in propose(candidates, doubt, max(SHOTS))]
    for shots in SHOTS:
        if len(timings) < shots + _FEWEST_JUDGED:
            continue
        draws = [list(random.permutation(list(observations))[:shots]) for _ in range(_RANDOM_DRAWS)] if shots else []
        for chosen, picks in (("proposed", [order[:shots]]), ("random", draws)):
            errors = [error for pick in picks for error in _errors(observations, pick, doubt)]
            if errors:
                yield Judged(group=group, shots=shots, chosen=chosen, errors=tuple(errors))


def _parts_ms(rates: Rates, amounts: Array) -> dict[str, float]:
    parts = zip(TERMS, np.exp(rates.log_ns) * amounts / 1e6, strict=True)
    return {term: float(part) for term, part in parts if part > 0}


def _errors(observations: Mapping[str, Observation], measured: Sequence[str], doubt: Doubt) -> Iterator[float]:
    """Yields the errors on the models that were not measured."""
    found = refit([observations[name] for name in measured], doubt.common, doubt) if measured else None
    for name, one in observations.items():
        if name not in measured:
            known = dict.fromkeys(one.parts_ms, found.common) | dict(found.factors) if found else {}
            yield abs(one.predicted_ms(known) / one.measured_ms - 1)


def table(found: Sequence[Judged]) -> Iterator[str]:
    """Yields the lines of the results."""
    yield "| engine | measured models | devices | models judged | proposed: median | within 10 % | random: median |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    cells: defaultdict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    devices: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for one in found:
        for engine in (one.group.engine, "all"):
            cells[engine, one.shots][one.chosen] += one.errors
            devices[engine, one.shots].add(one.group.device)
    for (engine, shots), errors in sorted(cells.items(), key=lambda cell: (cell[0][0] == "all", cell[0])):
        proposed, random = np.array(errors["proposed"]), errors["random"]
        other = f"{np.median(random):.1%}" if random else ""
        yield (
            f"| {engine} | {shots} | {len(devices[engine, shots])} | {len(proposed)} | {np.median(proposed):.1%} | "
            f"{np.mean(proposed <= 0.1):.0%} | {other} |"
        )


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write few_shot.md")
    options = parser.parse_args()
    sides, work = read_features()
    timings = [timing for timing in usable_timings(sides) if timing.group.engine != _ACCELERATED]
    lines = list(table(list(judge_devices(timings, work))))
    print("\n".join(lines))
    if options.write:
        title = "# New devices: a few measured models"
        how = "Written by `python benchmarks/latency_fidelity/few_shot.py --write`; its head says what is judged."
        (Path(__file__).parent / "few_shot.md").write_text("\n".join([title, "", how, "", *lines]) + "\n")


if __name__ == "__main__":
    main()
