"""Finds how strongly each part of a rate is held, and judges that search on families that it did not see.

    python benchmarks/latency_fidelity/tuning.py --seconds 600 [--nested]

A coordinate search over the logarithms of `fitting.PRIOR`: each figure is multiplied and divided by a step, and a step
that helps nowhere shrinks. What is minimised is the mean of |e| / (|e| + 0.1) over timings of families left out, e the
logarithm of published / predicted, plus half the mean |e| over devices left out. `--nested` searches without each
quarter of the families in turn and judges on that quarter. Prints the figures; copy them to `fitting.PRIOR`.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from fit import read_features, usable_timings
from fitting import PRIOR, Array, Fit, Prior, Spread
from published import Timing, family

_FAMILY_FOLDS: Final = 8
_DEVICE_FOLDS: Final = 6
_OUTER_FOLDS: Final = 4
_ROUNDS: Final = 3
_LARGEST_ERROR: Final = 2.0
_LENDERS: Final = ("ncnn", "qnn")
"""Engines of no profile, left out of the search: they only tell how fast machines are beside each other."""

Figures = dict[str, float]
Key = Callable[[Timing], str]


def figures_of(prior: Prior) -> Figures:
    """Returns a prior's figures by name."""
    spreads = {f"{part}.{kind}": getattr(s, kind) for part, s in prior.spreads.items() for kind in ("rate", "speed")}
    widths = {f"widths.{i}": width for i, width in enumerate(prior.widths)}
    return {
        **spreads,
        **widths,
        "noise": prior.noise,
        "family": prior.family,
        "model": prior.model,
        "alike": prior.alike,
    }


def prior_of(figures: Mapping[str, float]) -> Prior:
    """Returns the prior with these figures."""
    spreads = {part: Spread(rate=figures[f"{part}.rate"], speed=figures[f"{part}.speed"]) for part in PRIOR.spreads}
    rest = {name: figures[name] for name in ("noise", "family", "model", "alike")}
    widths = (figures["widths.0"], figures["widths.1"], figures["widths.2"])
    return replace(PRIOR, spreads=spreads, widths=widths, **rest)


def folds(names: Sequence[str], count: int) -> list[frozenset[str]]:
    """Returns the names in `count` groups, always the same."""
    shuffled = sorted(set(names))
    random.Random(1).shuffle(shuffled)
    return [frozenset(shuffled[i::count]) for i in range(count)]


def errors(
    timings: Sequence[Timing], work: Mapping[str, Array], prior: Prior, start: Fit, key: Key, count: int
) -> Iterator[float]:
    """Yields log(published / predicted) of each timing, from a fit without its fold."""
    for fold in folds([key(timing) for timing in timings], count):
        held = [timing for timing in timings if key(timing) in fold]
        rest = [timing for timing in timings if key(timing) not in fold]
        fit = Fit(rest, work, start=start, prior=prior, rounds=_ROUNDS)
        rates = {group: np.exp(fit.log_rates(group)) for group in {timing.group for timing in held}}
        for timing in held:
            yield float(np.log(timing.median_ms / (rates[timing.group] @ work[timing.model] / 1e6)))


def loss(timings: Sequence[Timing], work: Mapping[str, Array], prior: Prior, start: Fit) -> float:
    """Returns what the search minimises."""
    by_family = np.abs(list(errors(timings, work, prior, start, _family, _FAMILY_FOLDS)))
    by_device = np.abs(list(errors(timings, work, prior, start, _device, _DEVICE_FOLDS)))
    return float(np.mean(by_family / (by_family + 0.1)) + np.mean(np.minimum(by_device, _LARGEST_ERROR)) / 2)


def search(timings: Sequence[Timing], work: Mapping[str, Array], seconds: float) -> Prior:
    """Returns the best prior that was found in the time."""
    start = Fit(timings, work)
    best = figures_of(PRIOR)
    least = loss(timings, work, PRIOR, start)
    steps = dict.fromkeys(best, 1.6)
    end = time.monotonic() + seconds
    while time.monotonic() < end and max(steps.values()) > 1.02:
        for name in best:
            for step in (steps[name], 1 / steps[name]):
                tried = best | {name: min(best[name] * step, 0.95 if name == "alike" else 3.0)}
                found = loss(timings, work, prior_of(tried), start)
                if found < least:
                    best, least = tried, found
                    break
            else:
                steps[name] = steps[name] ** 0.6
            if time.monotonic() > end:
                break
    return prior_of(best)


def _family(timing: Timing) -> str:
    return family(timing.model)


def _device(timing: Timing) -> str:
    return timing.group.device


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of each search")
    parser.add_argument("--nested", action="store_true", help="judge the search on families that it did not see")
    options = parser.parse_args()
    sides, work = read_features()
    timings = [timing for timing in usable_timings(sides) if timing.group.engine not in _LENDERS]
    if not options.nested:
        for name, value in figures_of(search(timings, work, options.seconds)).items():
            print(f"{name} = {value:.2g}")
        return
    found: list[float] = []
    for fold in folds([_family(timing) for timing in timings], _OUTER_FOLDS):
        rest = [timing for timing in timings if _family(timing) not in fold]
        fit = Fit(rest, work, prior=search(rest, work, options.seconds))
        held = [timing for timing in timings if _family(timing) in fold]
        found += [fit.rates(t.group).predict_ms(work[t.model]) / t.median_ms - 1 for t in held]
    sizes = np.abs(found)
    print(f"{len(sizes)} timings: median error {np.median(sizes):.1%}, within 10 % {np.mean(sizes <= 0.1):.0%}")


if __name__ == "__main__":
    main()
