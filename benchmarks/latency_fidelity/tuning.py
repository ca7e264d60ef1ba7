"""Finds how strongly each part of a rate is held, and judges that search on families that it did not see.

    python benchmarks/latency_fidelity/tuning.py --seconds 600 [--write]
    python benchmarks/latency_fidelity/tuning.py --seconds 300 --nested

A random search over the logarithms of the figures of a `prior.Prior`: a few of them are multiplied by random factors,
and a step that helps is taken again. What is minimised is the mean of |e| / (|e| + 0.1) over timings of families left
out, e the logarithm of published / predicted, plus half the mean |e| over devices left out. `--write` goes on from
`strengths.json` and puts what it found there. `--nested` starts from figures that are all alike, searches without one
half of the families and judges on that half, and the other way round.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from crossvalidate import HeldOut, leave_out
from fit import read_features, usable_timings
from fitting import LENDERS, PRIOR, Fit
from prior import Array, Prior, Spread
from published import Timing, family
from targets import is_judged

STRENGTHS: Final = Path(__file__).parent / "strengths.json"

_FAMILY_FOLDS: Final = 6
_DEVICE_FOLDS: Final = 6
_OUTER_FOLDS: Final = 2
_ROUNDS: Final = 10
_LARGEST_ERROR: Final = 2.0
_MOST_AT_ONCE: Final = 6
_FIRST_STEP: Final = 0.6
_LEAST, _MOST, _MOST_ALIKE = 0.003, 3.0, 0.95

Figures = dict[str, float]
Key = Callable[[Timing], str]


def neutral_prior() -> Prior:
    """Returns a prior that no row has shaped: every part is held alike."""
    parts = dict.fromkeys(PRIOR.spreads, Spread(rate=0.25, speed=0.25)) | {"everything": Spread(rate=0.5, speed=1.0)}
    return Prior(
        spreads=parts, noise=0.08, family=0.03, model=0.03, family_here=0.03, model_here=0.03,
        widths=(1.5, 1.5, 0.5), alike=0.5,
    )  # fmt: skip


def folds(names: Sequence[str], count: int) -> list[frozenset[str]]:
    """Returns the names in `count` groups, always the same."""
    shuffled = sorted(set(names))
    random.Random(1).shuffle(shuffled)
    return [frozenset(shuffled[i::count]) for i in range(count)]


def errors(timings: Sequence[Timing], work: Mapping[str, Array], prior: Prior, key: Key, count: int) -> Iterator[float]:
    """Yields log(published / predicted) of each timing, from a fit without its fold."""
    for fold in folds([key(timing) for timing in timings], count):
        fit = Fit([timing for timing in timings if key(timing) not in fold], work, prior=prior, rounds=_ROUNDS)
        held = [timing for timing in timings if key(timing) in fold]
        rates = {group: np.exp(fit.log_rates(group)) for group in {timing.group for timing in held}}
        for timing in held:
            yield float(np.log(timing.median_ms / (rates[timing.group] @ work[timing.model] / 1e6)))


def loss(timings: Sequence[Timing], work: Mapping[str, Array], prior: Prior) -> float:
    """Returns what the search minimises."""
    by_family = np.abs(list(errors(timings, work, prior, _family, _FAMILY_FOLDS)))
    by_device = np.abs(list(errors(timings, work, prior, _device, _DEVICE_FOLDS)))
    return float(np.mean(by_family / (by_family + 0.1)) + np.mean(np.minimum(by_device, _LARGEST_ERROR)) / 2)


def search(
    timings: Sequence[Timing], work: Mapping[str, Array], start: Prior, seconds: float, report: Callable[[str], None]
) -> Prior:
    """Returns the best prior that was found in the time."""
    draw, end = np.random.default_rng(0), time.monotonic() + seconds
    best, least = start.figures(), loss(timings, work, start)
    report(f"{least:.4f} at first")
    size = _FIRST_STEP
    while time.monotonic() < end:
        names = draw.choice(list(best), size=int(draw.integers(1, _MOST_AT_ONCE + 1)), replace=False)
        factors = {str(name): float(np.exp(draw.normal(0, size))) for name in names}
        helped = False
        while time.monotonic() < end:
            tried = best | {name: _bounded(name, best[name] * factor) for name, factor in factors.items()}
            found = loss(timings, work, Prior.of(tried))
            if found >= least:
                break
            best, least, helped = tried, found, True
            report(f"{least:.4f} {', '.join(f'{name} {best[name]:.3g}' for name in factors)}")
        size = min(0.8, size * 1.3) if helped else max(0.2, size * 0.985)
    return Prior.of(best)


def _bounded(name: str, value: float) -> float:
    return min(value, _MOST_ALIKE) if name == "alike" else min(max(value, _LEAST), _MOST)


def nested(timings: Sequence[Timing], work: Mapping[str, Array], seconds: float) -> Iterator[HeldOut]:
    """Yields a prediction for every timing, the prior found without its half of the families."""
    for fold in folds([_family(timing) for timing in timings], _OUTER_FOLDS):
        rest = [timing for timing in timings if _family(timing) not in fold]
        found = search(rest, work, neutral_prior(), seconds, _say)
        yield from leave_out(timings, work, only=fold, prior=found)


def _family(timing: Timing) -> str:
    return family(timing.model)


def _device(timing: Timing) -> str:
    return timing.group.device


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of each search")
    parser.add_argument("--write", action="store_true", help=f"put the figures into {STRENGTHS.name}")
    parser.add_argument("--nested", action="store_true", help="judge the search on families that it did not see")
    options = parser.parse_args()
    sides, work = read_features()
    timings = [timing for timing in usable_timings(sides) if timing.group.engine not in LENDERS]
    if options.nested:
        found = [item for item in nested(timings, work, options.seconds) if is_judged(item.group)]
        sizes = np.abs(np.concatenate([item.errors() for item in found]))
        print(f"{len(sizes)} rows: median error {np.median(sizes):.1%}, within 10 % {np.mean(sizes <= 0.1):.0%}")
        return
    figures = search(timings, work, PRIOR, options.seconds, _say).figures()
    if options.write:
        STRENGTHS.write_text(json.dumps({k: float(f"{v:.3g}") for k, v in figures.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
