"""Soundness of the outputs: every one, every channel, whatever the task's metric looks at.

    parity_floor      SQNR of the worst output, member or channel against the float model that was converted (after its
        techniques); the floor depends on the precision
    integer_outputs   share of equal values of the worst output that the float model gives as integers
    outputs_alive     share of outputs and channels that answer to the input as the float model's do

A channel counts where the data can show what it is: where the float model moves it by more than its own 8-bit grid, and
where it is large beside the error that its neighbours have. So the 900 dead classes of a sound softmax raise no alarm.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.units import format_value
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.floors import is_float, precisions_named, precisions_of, sound_limit
from edgekit.validators.output_pairing import why_not_comparable
from edgekit.validators.output_statistics import LARGEST_DB, OutputStatistics, Part, compare_output

_FEWEST_VALUES: Final = 8
"""A channel with fewer values says nothing about itself."""

_MARGIN_DB: Final = 10.0
"""How far above the floor a channel must lie at its neighbours' error before it counts by itself."""

_ALIKE: Final = 0.5
"""Correlation below which an output is noise. Sound ones that count lie above 0.9."""

_LOUD: Final = 2.5
"""How many times the usual error a channel must move before it can be called noise: then 0.93 is expected of it."""

_NOTHING: Final = 1e-6
_NAMED: Final = 5


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """How finely a precision shows an output, in steps of the output's own 8-bit grid.

    Attributes:
        rounds: Outputs are rounded to integers, or computed from integers.
        least_steps: By how much the float model must move a channel before it counts.
        most_usual_steps: The largest error that is usual in a sound artifact: without this bound a fault that spoils
            all channels alike would excuse the weak ones among them.
    """

    rounds: bool
    least_steps: float
    most_usual_steps: float

    def usual(self, common: float, step: float) -> float:
        """Returns the error that a channel may have, given the one that is common among its neighbours."""
        return min(max(common, step), self.most_usual_steps * step) if self.rounds else common


_FLOAT: Final = _Grid(rounds=False, least_steps=0.5, most_usual_steps=math.inf)

# Rounding alone makes one value of a channel that moves by less than a step; the layers before it may add another. The
# error of sound artifacts is a step or two, which benchmarks/results/soundness.md measures; 4-bit weights have no such
# bound.
_EIGHT_BITS: Final = _Grid(rounds=True, least_steps=2.0, most_usual_steps=2.0)
_FOUR_BITS: Final = _Grid(rounds=True, least_steps=2.0, most_usual_steps=math.inf)


def _grid_of(used: Sequence[str]) -> _Grid:
    if is_float(used):
        return _FLOAT
    return _FOUR_BITS if not used or "int4_weights" in used else _EIGHT_BITS


@final
class OutputsValidator(Validator):
    """Judges the soundness of all outputs."""

    costs: ClassVar[tuple[str, ...]] = ("parity_floor", "integer_outputs", "outputs_alive")

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the checks `parity_floor`, `integer_outputs` and `outputs_alive`."""
        used = used_precisions(evidence)
        if reason := _why_missing(evidence):
            # Where somebody else's check says that there is nothing to compare with, three more would say it again.
            must = evidence.evaluation is not None and evidence.reference is not None
            limits = [budget.get_or(sound_limit(name, used)) if must else budget.get(name) for name in self.costs]
            return tuple(
                judge(name, None, limit, detail=reason, runtime=evidence.artifact.runtime)
                for name, limit in zip(self.costs, limits, strict=True)
            )
        found = compare_outputs(evidence)
        floor, grid = sound_limit("parity_floor", used).value, _grid_of(used)
        alive = _check("outputs_alive", *_share_alive(found, grid), evidence, budget)
        if (unknown := evidence.missing.get("converted_reference")) is not None:
            # Techniques changed the function: only the metric may compare with the model as it was before them.
            return (*(_not_comparable(name, unknown, evidence, budget) for name in self.costs[:2]), alive)
        parity = _check("parity_floor", *_worst_parity(found, floor, evidence, grid), evidence, budget)
        return parity, _check("integer_outputs", *_least_equal(found), evidence, budget), alive


def used_precisions(evidence: Evidence) -> tuple[str, ...]:
    """Returns the precisions that an artifact uses, as it was requested or as its name says; none where unknown."""
    requested = evidence.requested
    return precisions_of(requested.recipe) if requested is not None else precisions_named(evidence.artifact.precision)


def compare_outputs(evidence: Evidence) -> tuple[OutputStatistics, ...]:
    """Returns how each output compares with that of the model which was converted."""
    reference = evidence.converted_reference or evidence.reference
    if reference is None or evidence.outputs is None:
        return ()
    names, layouts = evidence.outputs.names, evidence.layouts
    return tuple(
        compare_output(names[i], expected, found, layouts[i] if len(layouts) == len(names) else None)
        for i, (expected, found) in enumerate(zip(reference.arrays(), evidence.outputs.arrays(), strict=True))
    )


def _why_missing(evidence: Evidence) -> str:
    if evidence.outputs is None:
        return evidence.why_missing("outputs")
    reference = evidence.converted_reference or evidence.reference
    if reference is None:
        return evidence.why_missing("reference")
    return why_not_comparable(reference, evidence.outputs)


def _not_comparable(name: str, reason: str, evidence: Evidence, budget: Budget) -> Check:
    limit = budget.get_or(sound_limit(name, used_precisions(evidence)))
    warns = replace(limit, level="warn") if limit is not None else None
    return judge(name, None, warns, detail=reason, runtime=evidence.artifact.runtime)


def _check(name: str, value: float | None, detail: str, evidence: Evidence, budget: Budget) -> Check:
    limit = budget.get_or(sound_limit(name, used_precisions(evidence))) if value is not None else None
    waiver = f" Waived by {budget.waiver(name)}." if budget.waiver(name) else ""
    return judge(
        name,
        value,
        limit,
        measured_on=evidence.runtime,
        detail=detail + waiver,
        runtime=evidence.artifact.runtime,
    )


def _worst_parity(
    found: Sequence[OutputStatistics], floor: float, evidence: Evidence, grid: _Grid
) -> tuple[float | None, str]:
    """Returns the worst SQNR and the sentence that names where it is; None without a float output."""
    parts = [part for output in found for part in _counted_for_parity(output, floor, grid)]
    if not parts:
        return None, "No output is float."
    worst = min(parts, key=lambda part: -math.inf if math.isnan(part.sqnr_db) else part.sqnr_db)
    against = "the float model after its techniques" if evidence.converted_reference else "the float model"
    value = worst.sqnr_db
    words = (
        f"{worst.not_finite} values that are not finite"
        if math.isnan(value)
        else "equal"
        if value >= LARGEST_DB
        else format_value(value, "dB")
    )
    return value, f"Worst of {len(parts)} outputs and channels against {against}: {worst.name} with {words}."


def _counted_for_parity(output: OutputStatistics, floor: float, grid: _Grid) -> Iterator[Part]:
    """Yields the output, its members, and the channels that the data can judge."""
    if output.whole is None:
        return
    for part in (output.whole, *output.members):
        # Where the float model is exactly zero there is no signal to compare with.
        if part.signal > 0 or part.not_finite:
            yield part
    yield from _counted_channels(output, floor, grid)


def _counted_channels(output: OutputStatistics, floor: float, grid: _Grid) -> Iterator[Part]:
    """Yields the channels that would keep the floor, and more, if their error were that of their neighbours."""
    ratio = 10 ** ((floor + _MARGIN_DB) / 20)
    for part, usual in _moving_channels(output, grid):
        if part.signal_rms > 0 and part.signal_rms >= ratio * usual:
            yield part


def _moving_channels(output: OutputStatistics, grid: _Grid) -> Iterator[tuple[Part, float]]:
    """Yields the channels that the float model moves, each with the error that is usual among them."""
    for axis in sorted({part.axis for part in output.channels if part.axis is not None}):
        moving = [part for part in output.channels if part.axis == axis and _moves(part, grid)]
        # The lower median: half of the channels may be broken and the others still tell what is usual.
        common = statistics.median_low([part.error_rms for part in moving if not part.not_finite] or [0.0])
        for part in moving:
            if part.values >= _FEWEST_VALUES:
                yield part, grid.usual(common, part.step)


def _moves(part: Part, grid: _Grid) -> bool:
    return part.largest_move > grid.least_steps * part.step


def _least_equal(found: Sequence[OutputStatistics]) -> tuple[float | None, str]:
    shares = {output.name: 100 * output.equal_share for output in found if output.equal_share is not None}
    if not shares:
        return None, "No output is integer."
    worst = min(shares, key=lambda name: shares[name])
    return shares[worst], f"Worst of {len(shares)} integer outputs: {worst}, {shares[worst]:.4g} % of its values equal."


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Dead:
    """An output or channel that does not answer to the input as the float model's does, and in which way."""

    name: str
    how: str


def _share_alive(found: Sequence[OutputStatistics], grid: _Grid) -> tuple[float | None, str]:
    """Returns the percentage of what counts that is alive, and the sentence that names what is not."""
    floats = [output for output in found if output.whole is not None]
    if not floats:
        return None, "No output is float."
    counted = 0
    dead: list[_Dead] = []
    for output in floats:
        loud = {part.name for part, usual in _moving_channels(output, grid) if part.moved_rms >= _LOUD * usual}
        whole = () if output.whole is None else (output.whole,)
        for part in (*whole, *output.members, *output.channels):
            is_channel = part.axis is not None
            if not part.not_finite and not _moves(part, grid):
                continue
            counted += 1
            is_loud = part.name in loud if is_channel else not grid.rounds or part.moved_rms >= _LOUD * part.step
            if how := _how_dead(part, judge_noise=is_loud):
                dead.append(_Dead(name=part.name, how=how))
    if not counted:
        return 100.0, f"The float model gives the same on all {floats[0].rows} rows, so nothing can be compared."
    if not dead:
        return 100.0, f"All of {counted} outputs and channels that the float model moves answer to the input."
    named = ", ".join(f"{item.name} is {item.how}" for item in dead[:_NAMED])
    more = f" and {len(dead) - _NAMED} more" if dead[_NAMED:] else ""
    return 100 * (1 - len(dead) / counted), f"{len(dead)} of {counted} outputs and channels are dead: {named}{more}."


def _how_dead(part: Part, *, judge_noise: bool) -> str:
    if part.not_finite:
        return "NaN or infinite"
    if part.largest_artifact_move <= _NOTHING * part.largest_move:
        return "constant"
    if judge_noise and part.values >= _FEWEST_VALUES and part.correlation < _ALIKE:
        return f"noise (correlation {part.correlation:.2f} with the float model)"
    return ""
