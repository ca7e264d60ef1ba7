"""Fits the latency models of the shipped profiles on published latencies, and judges them on models left out.

    python benchmarks/latency_fidelity/fit.py              prints the table of errors
    python benchmarks/latency_fidelity/fit.py --single     also with one model at a time left out (slow)
    python benchmarks/latency_fidelity/fit.py --write      and rewrites [latency_model.*] of device_profiles/*.toml,
                                                           results.md and results.png

The published rows are read from ${EDGEKIT_SHARED:-../shared}/latency/published_latency.csv; the work of each model from
model_features.json, which analyze_zoo.py wrote. Needs NumPy and SciPy; results.png needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from crossvalidate import BAND_QUANTILE, HeldOut, leave_out, leave_out_pairs, own_spread, spread_scale
from fitting import PRIOR, TERMS, Fit, Rates, doubt_from
from machines import is_used
from prior import Array
from published import Group, Timing, read_timings, table_path
from results import write_plot, write_results
from targets import Target, build_for, targets, timed

FOLDER: Final = Path(__file__).parent
PROFILES: Final = FOLDER.parents[1] / "device_profiles"

ENOUGH_ROWS: Final = 20
"""From so many rows on a group's own errors tell its spread; below, the fit's uncertainty does."""

SCALING_SPREAD: Final = 0.3
"""What scaling by clock and cores adds to the logarithm's standard deviation."""

FEW_MODELS: Final = 5
"""A machine with fewer fitted models in an engine is judged as one without: they tell its speed and little more."""

LEAST_COMMON_DOUBT: Final = 0.1
"""A user's board has another clock, cooling and version than the published rows' one."""

LEAST_SHARE: Final = 0.02
"""A kind of work that takes less of every fitted model than this is untested."""

_REFERENCE: Final = (
    "mobilenet_v1_1_224", "mobilenet_v2_1_224", "tf_mobilenetv3_large_100", "tf_efficientnet_lite0", "resnet50",
)  # fmt: skip
"""Models over which the uncertainty of a group without rows is taken."""


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="rewrite the profiles and the results")
    parser.add_argument("--single", action="store_true", help="judge with one model at a time left out, too")
    arguments = parser.parse_args()
    sides, work = read_features()
    timings = usable_timings(sides)
    full = Fit(timings, work)
    found = tuple(leave_out(timings, work))
    single = tuple(leave_out(timings, work, key=str)) if arguments.single else ()
    pairs = tuple(leave_out_pairs(timings, work))
    sigmas: defaultdict[Group, list[float]] = defaultdict(list)
    for item in pairs:
        sigmas[replace(item.group, build="")].append(item.sigma)
    without = {group: own_spread(max(several)) for group, several in sigmas.items()}
    scales = Scales(seen=spread_scale(found), unseen=spread_scale(pairs), without=without)
    tables = {target: table(target, full, timings, found, work, scales) for target in targets()}
    text = write_results(timings, found, single, tables, FOLDER / "results.md" if arguments.write else None)
    sys.stdout.write(text)
    if arguments.write:
        for profile in sorted({target.profile for target in tables}):
            mine = {target: values for target, values in tables.items() if target.profile == profile}
            rewrite(PROFILES / f"{profile}.toml", mine)
        write_plot(found, FOLDER / "results.png")


def read_features() -> tuple[dict[str, int], dict[str, Array]]:
    """Returns the side of each model's image, and its amounts in the order of TERMS."""
    rows: dict[str, dict[str, float]] = json.loads((FOLDER / "model_features.json").read_text())
    sides = {name: int(row["side"]) for name, row in rows.items()}
    return sides, {name: np.array([row.get(term, 0.0) for term in TERMS]) for name, row in rows.items()}


def usable_timings(sides: Mapping[str, int]) -> tuple[Timing, ...]:
    """Returns the published timings that the fit uses."""
    return tuple(timing for timing in read_timings(table_path(), sides) if is_used(timing.group))


def table(
    target: Target,
    full: Fit,
    timings: Sequence[Timing],
    found: Sequence[HeldOut],
    work: Mapping[str, Array],
    scales: Scales,
) -> dict[str, Any]:
    """Returns the content of one `[latency_model.<runtime>.<precision>]`."""
    bare, source = target.group, target.source
    group = replace(bare, build=build_for(bare, timings))
    rates = full.rates(group)
    held = [item for item in found if replace(item.group, build="") == bare]
    mine = [timing for timing in timings if replace(timing.group, build="") == bare]
    models = len({timing.model for timing in mine})
    is_own = not source.words
    rows = sum(len(timing.values_ms) for timing in mine) if is_own else 0
    width = spread(rates, bare, models, held, work, scales, scaled=not is_own)
    scale = scales.seen if models else scales.unseen
    return {
        "unit": target.unit,
        **({"threads": target.threads} if target.threads else {}),
        "timed": timed(group),
        "rows": rows,
        "models": models if is_own else 0,
        **({"error": round(median_error(held), 3)} if is_own and rows >= ENOUGH_ROWS else {}),
        "spread": round(width, 3),
        "doubt": doubt(rates, scale, 0.0 if is_own else SCALING_SPREAD, width, work),
        "untested": untested(group, full, timings, work),
        **({"scaled_from": source.words} if source.words else {}),
        "sources": sources(group, timings),
        "ns": {term: float(np.exp(rate) * source.factor) for term, rate in zip(TERMS, rates.log_ns, strict=True)},
    }


def doubt(rates: Rates, scale: float, added: float, spread: float, work: Mapping[str, Array]) -> dict[str, float]:
    """Returns how far a table's rates may be off: what a calibration on a user's measurements starts from.

    Args:
        rates: The fit's.
        scale: By what the fit's own spread is multiplied.
        added: What scaling from another device adds to the common factor.
        spread: The table's.
        work: Amounts of each model.
    """
    found = doubt_from(rates.spread)
    common = float(np.hypot(scale * found.common, added))
    return bounded(
        {"common": common, **{term: scale * value for term, value in found.terms.items()}}, rates.log_ns, spread, work
    )


def bounded(doubt: Mapping[str, float], log_ns: Array, spread: float, work: Mapping[str, Array]) -> dict[str, float]:
    """Returns a doubt that leaves well-known models as uncertain as the table's spread says, and no more.

    Rates of a table with rows are known together better than each by itself; the doubts of single rates do not tell.
    """
    own = np.array([doubt[term] for term in TERMS])
    implied: list[float] = []
    for name in _REFERENCE:
        parts = np.exp(log_ns) * work[name]
        implied.append(float(np.hypot(doubt["common"], np.linalg.norm(own * parts / parts.sum()))))
    factor = min(1.0, spread / float(np.median(implied)))
    least = {"common": LEAST_COMMON_DOUBT}
    return {name: max(least.get(name, 0.01), round(value * factor, 2)) for name, value in doubt.items()}


def median_error(held: Sequence[HeldOut]) -> float:
    """Returns the median of |predicted / published - 1| over rows."""
    return float(np.median(np.abs(np.concatenate([item.errors() for item in held]))))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """By what the fit's own spread is multiplied, so that 90 % of held-out rows lie in the band.

    Attributes:
        seen: For a machine with rows in this engine, from families left out.
        unseen: For one without, from every machine's rows in an engine left out.
        without: What the fit knows of its own error on a group where the machine's rows in that engine are left out.
    """

    seen: float
    unseen: float
    without: Mapping[Group, float]


def spread(
    rates: Rates,
    group: Group,
    models: int,
    held: Sequence[HeldOut],
    work: Mapping[str, Array],
    scales: Scales,
    *,
    scaled: bool = False,
) -> float:
    """Returns the standard deviation of log(published / predicted) on models that were not fitted.

    With enough rows, such that 90 % of the held-out ones lie inside the band; else what the fit knows of itself.

    Args:
        rates: The group's.
        group: Device, threads, engine and precision.
        models: How many of its models were fitted.
        held: Predictions of them.
        work: Amounts of each model.
        scales: By what the fit's own spread is multiplied.
        scaled: True where the rates are scaled from another device.
    """
    errors = np.abs(np.concatenate([item.log_errors() for item in held])) if held else np.zeros(0)
    if len(errors) >= ENOUGH_ROWS and not scaled:
        return max(PRIOR.noise, float(np.quantile(errors, 0.9)) / BAND_QUANTILE)
    own = own_spread(float(np.median([rates.log_sigma(work[name]) for name in _REFERENCE])))
    own *= scales.seen if models else scales.unseen
    if 0 < models < FEW_MODELS:
        own = scales.unseen * scales.without[group]
    return float(np.hypot(own, SCALING_SPREAD)) if scaled else own


def untested(group: Group, full: Fit, timings: Sequence[Timing], work: Mapping[str, Array]) -> list[str]:
    """Returns the kinds of work that no fitted model of this engine and precision spends time on."""
    same = [t for t in timings if (t.group.engine, t.group.precision) == (group.engine, group.precision)]
    if not same:
        same = [t for t in timings if t.group.engine == group.engine]
    rates = {g: np.exp(full.log_rates(g)) for g in {t.group for t in same}}
    shares = [rates[t.group] * work[t.model] / (rates[t.group] @ work[t.model]) for t in same]
    largest = np.max(shares, axis=0)
    return [term for term, share in zip(TERMS, largest, strict=True) if share < LEAST_SHARE]


def sources(group: Group, timings: Sequence[Timing]) -> list[str]:
    """Returns where the rows come from: this group's, else those of the machine."""
    mine = [t for t in timings if replace(t.group, build=group.build) == group]
    mine = mine or [t for t in timings if t.group.device == group.device]
    counts: dict[str, int] = {}
    for timing in mine:
        for source in timing.sources:
            counts[source] = counts.get(source, 0) + 1
    return sorted(counts, key=lambda source: -counts[source])[:4]


def rewrite(path: Path, tables: Mapping[Target, Mapping[str, Any]]) -> None:
    """Puts the tables in the place of all `[latency_model.*]` of a profile; nothing else changes."""
    kept: list[str] = []
    skipping = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            skipping = line.startswith("[latency_model")
        if not skipping:
            kept.append(line)
    at = kept.index("[sources]")
    written = "\n".join(as_toml(target, values) for target, values in tables.items())
    path.write_text("\n".join([*kept[:at], *written.splitlines(), "", *kept[at:]]) + "\n", encoding="utf-8")


def as_toml(target: Target, values: Mapping[str, Any]) -> str:
    """Returns one table as TOML."""
    head = f"latency_model.{target.runtime}.{target.precision}"
    lines = [f"[{head}]"]
    lines += [f"{key} = {_toml_value(value)}" for key, value in values.items() if key != "ns"]
    lines += [f"[{head}.ns]", *(f"{term} = {value:.3g}" for term, value in values["ns"].items())]
    return "\n".join([*lines, ""])


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {part}' for key, part in value.items())} }}"
    return json.dumps(value)


if __name__ == "__main__":
    main()
