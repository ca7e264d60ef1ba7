"""Budgets: what an artifact may cost, who said so, and how a missed one is treated.

A budget is a set of limits. Every limit knows its source, because a person who meets "size exceeds 6 MB" must see
which file or flag to edit. Precedence: flag, environment, task file, profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, final

from edgekit import units
from edgekit.errors import InputError

Level = Literal["error", "warn"]
"""`error`: a limit that is not kept fails the gate. `warn`: it is shown and does not fail."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One thing that a budget limits.

    Attributes:
        name: The check's name in reports and JSON, and the key in a task file or profile.
        unit: The unit of values and limits: bytes, ms, pp, dB or %.
        parse: Reads a limit such as "6 MB"; raises InputError.
        at_most: True where a smaller value is better and the limit is a maximum; False for a minimum.
        title: The words for a table.
    """

    name: str
    unit: str
    parse: Callable[[str, str], float]
    at_most: bool
    title: str


COSTS: Final[Mapping[str, Cost]] = {
    cost.name: cost
    for cost in (
        Cost(name="size", unit="bytes", parse=units.parse_bytes, at_most=True, title="size"),
        Cost(name="download", unit="bytes", parse=units.parse_bytes, at_most=True, title="download"),
        Cost(name="memory", unit="bytes", parse=units.parse_bytes, at_most=True, title="peak memory"),
        Cost(name="latency", unit="ms", parse=units.parse_milliseconds, at_most=True, title="latency"),
        Cost(name="latency_p95", unit="ms", parse=units.parse_milliseconds, at_most=True, title="latency p95"),
        Cost(name="accuracy", unit="%", parse=units.parse_share, at_most=False, title="accuracy"),
        Cost(name="accuracy_drop", unit="pp", parse=units.parse_points, at_most=True, title="accuracy drop"),
        Cost(name="slice_drop", unit="pp", parse=units.parse_points, at_most=True, title="worst slice's drop"),
        Cost(name="parity", unit="dB", parse=units.parse_decibels, at_most=False, title="parity with float"),
        Cost(name="parity_floor", unit="dB", parse=units.parse_decibels, at_most=False, title="parity floor"),
        Cost(name="integer_outputs", unit="%", parse=units.parse_share, at_most=False, title="integer outputs equal"),
        Cost(name="outputs_alive", unit="%", parse=units.parse_share, at_most=False, title="outputs alive"),
        Cost(name="integer_coverage", unit="%", parse=units.parse_share, at_most=False, title="integer coverage"),
        Cost(name="delegate_coverage", unit="%", parse=units.parse_share, at_most=False, title="delegate coverage"),
        Cost(name="accelerator_coverage", unit="%", parse=units.parse_share, at_most=False, title="accelerator share"),
    )
}
"""Everything that a budget can limit, by the name used in files, flags, reports and JSON."""

RECIPE_SOURCE: Final = "recipe"
"""Source of limits that follow from the recipe and not from a budget: a gate with other budgets keeps them."""

QUALITY: Final = (
    "accuracy",
    "accuracy_drop",
    "slice_drop",
    "parity",
    "parity_floor",
    "integer_outputs",
    "outputs_alive",
)
"""Costs that an artifact has wherever it runs."""

PATHS: Final = ("delegate_coverage", "accelerator_coverage")
"""Costs about paths that not every format has, and that only an artifact tells about."""

SOUNDNESS_SOURCE: Final = "soundness"
"""Source of limits that hold for every artifact, because without them no other figure means anything."""

_UNLIMITED: Final = (
    Cost(name="ignored_settings", unit="", parse=units.parse_share, at_most=True, title="ignored settings"),
    Cost(name="evidence", unit="", parse=units.parse_share, at_most=True, title="flaws of the evidence"),
    Cost(name="model_digest", unit="", parse=units.parse_share, at_most=True, title="made from another model"),
)
"""Checks that no budget limits: something is there or it is not."""

EVERY_CHECK: Final = (*COSTS, *(cost.name for cost in _UNLIMITED))
"""Checks that every artifact of an export has, with a figure or with the reason why there is none."""

SOUNDNESS: Final = ("parity_floor", "integer_outputs", "outputs_alive", "evidence", "model_digest")
"""Checks that guard the meaning of all others. They have limits where no budget names any."""

WAIVABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "accuracy": ("accuracy", "accuracy_drop", "slice_drop"),
    "parity_floor": ("parity_floor",),
    "integer_outputs": ("integer_outputs",),
    "outputs_alive": ("outputs_alive",),
    "evidence": ("evidence",),
    "model_digest": ("model_digest",),
}
"""What a user may waive by name, with the checks that are then shown and not judged."""

CHANGE_SUFFIX: Final = "_change"


def _change(figure: str, unit: str, worse: Literal["+", "-"], title: str) -> Cost:
    return Cost(
        name=f"{figure}{CHANGE_SUFFIX}",
        unit=unit,
        parse=partial(_parse_change, unit, worse),
        at_most=worse == "+",
        title=f"{title} change",
    )


def _parse_change(unit: str, worse: Literal["+", "-"], text: str, what: str) -> float:
    return units.parse_change(text, unit, worse, what)


CHANGES: Final[Mapping[str, Cost]] = {
    "size": _change("size", "%", "+", "size"),
    "download": _change("download", "%", "+", "download"),
    "memory": _change("memory", "%", "+", "peak memory"),
    "latency": _change("latency", "%", "+", "latency"),
    "latency_p95": _change("latency_p95", "%", "+", "latency p95"),
    "accuracy": _change("accuracy", "pp", "-", "accuracy"),
    "slice_drop": _change("slice_drop", "pp", "+", "worst slice's drop"),
    "parity": _change("parity", "dB", "-", "parity"),
}
"""What a limit on regression can be about: figure to the cost of its change against the baseline.

`%` is of the baseline's figure; `pp` and `dB` are differences. `accuracy` is the artifact's own value of the metric.
"""

_COSTS_BY_CHECK: Final[Mapping[str, Cost]] = {
    cost.name: cost for cost in (*COSTS.values(), *_UNLIMITED, *CHANGES.values())
}


def cost_of(check: str) -> Cost:
    """Returns the cost that a check of this name is about: one of COSTS, what a recipe asks for, or a change."""
    return _COSTS_BY_CHECK[check]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit of a budget, or on the change of a figure against a baseline.

    Attributes:
        name: A key of COSTS, or the name of a cost in CHANGES.
        value: The limit in the cost's unit.
        source: Who set it, for people: `--max-size`, `EDGEKIT_MAX_SIZE`, `edgekit.toml [budget]`, `profile`.
        level: What a missed limit does to the gate.
    """

    name: str
    value: float
    source: str
    level: Level = "error"

    def keeps(self, value: float) -> bool:
        """Returns True if `value` keeps this limit. NaN keeps no limit."""
        return value <= self.value if cost_of(self.name).at_most else value >= self.value

    def excess(self, value: float) -> float:
        """Returns by how much `value` misses the limit, in the cost's unit; negative where it keeps it."""
        return value - self.value if cost_of(self.name).at_most else self.value - value


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A set of limits, at most one for each cost, in the order of COSTS.

    Attributes:
        limits: The limits.
        waived: (check, who waived it): checks that are shown and not judged, whatever else says so.
        runtimes: Formats that the device runs; empty where no device is meant.
    """

    limits: tuple[Limit, ...] = ()
    waived: tuple[tuple[str, str], ...] = ()
    runtimes: tuple[str, ...] = ()

    def for_format(self, runtime: str) -> Budget:
        """Returns the limits for an artifact of one format.

        What the device does not run costs nothing there: the profile's limits on costs only warn then. Its accuracy and
        its soundness are its own.
        """
        if not self.runtimes or runtime in self.runtimes:
            return self
        warned = [x if x.source != "profile" or x.name in QUALITY else replace(x, level="warn") for x in self.limits]
        return replace(self, limits=tuple(warned))

    def get(self, name: str) -> Limit | None:
        """Returns the limit on the cost `name`, or None where it is free."""
        return next((limit for limit in self.limits if limit.name == name), None)

    def get_or(self, default: Limit) -> Limit | None:
        """Returns this budget's limit on the cost of `default`, else `default`; None where the check was waived."""
        return None if self.waiver(default.name) else self.get(default.name) or default

    def waiver(self, name: str) -> str:
        """Returns who waived the check `name`, "" where nobody did."""
        return dict(self.waived).get(name, "")

    def overridden_by(self, limits: Iterable[Limit]) -> Budget:
        """Returns a budget in which each of `limits` takes the place of the one on the same cost."""
        by_name = {limit.name: limit for limit in self.limits} | {limit.name: limit for limit in limits}
        kept = (by_name[name] for name in COSTS if name in by_name and not self.waiver(name))
        return replace(self, limits=tuple(kept))

    def without(self, names: Iterable[str], source: str) -> Budget:
        """Returns a budget in which the checks behind `names` are shown and not judged.

        Args:
            names: Keys of WAIVABLE, each alone or several with commas between them.
            source: Who waives them, for people.

        Raises:
            InputError: a name that cannot be waived.
        """
        names = tuple(part.strip() for name in names for part in name.split(","))
        if unknown := [name for name in names if name not in WAIVABLE]:
            raise InputError(f'{source} "{unknown[0]}" cannot be waived: accepted are {", ".join(WAIVABLE)}.')
        waived = {check: f"{source} {name}" for name in names for check in WAIVABLE[name]} | dict(self.waived)
        kept = tuple(limit for limit in self.limits if limit.name not in waived)
        return replace(self, limits=kept, waived=tuple(waived.items()))

    def without_profile_paths(self) -> Budget:
        """Returns a budget without the profile's limits on PATHS: they are about formats that have such a path."""
        kept = tuple(x for x in self.limits if x.source != "profile" or x.name not in PATHS)
        return replace(self, limits=kept)

    def with_level(self, name: str, level: Level) -> Budget:
        """Returns a budget in which the limit on `name`, if there is one, has `level`."""
        return replace(self, limits=tuple(replace(x, level=level) if x.name == name else x for x in self.limits))


def read_limit(name: str, value: object, source: str) -> Limit:
    """Returns the limit that a file, a flag or the environment spells out.

    Args:
        name: A key of COSTS.
        value: `"6 MB"`, or `{"limit": "6 MB", "level": "warn"}`.
        source: Who set it (see `Limit.source`).

    Raises:
        InputError: an unknown cost, a value that is neither form, a bad quantity, or a bad level.
    """
    cost = COSTS.get(name)
    if cost is None:
        raise InputError(f'{source}: "{name}" is not a budget: accepted are {", ".join(COSTS)}.')
    return _read(cost, name, value, source, "6 MB")


def read_change_limit(figure: str, value: object, source: str) -> Limit:
    """Returns a limit on regression that a file, a flag or the environment spells out.

    Args:
        figure: A key of CHANGES.
        value: `"+5 %"`, or `{"limit": "+5 %", "level": "warn"}`.
        source: Who set it (see `Limit.source`).

    Raises:
        InputError: an unknown figure, a value that is neither form, a bad quantity or sign, or a bad level.
    """
    cost = CHANGES.get(figure)
    if cost is None:
        raise InputError(
            f'{source}: "{figure}" has no limit on regression: accepted are {", ".join(CHANGES)}, '
            'such as "size +5 %" or "accuracy -0.5 pp".'
        )
    return _read(cost, figure, value, source, f"{'+' if cost.at_most else '-'}1 {cost.unit}")


def read_change_limits(text: str, source: str) -> tuple[Limit, ...]:
    """Returns the limits in a text such as `size +5 %, accuracy -0.5 pp`.

    Raises:
        InputError: a part that is not a figure followed by a signed quantity.
    """
    parts = [part.split(maxsplit=1) for part in text.split(",") if part.strip()]
    wrong = next((part for part in parts if len(part) != 2), None)
    if wrong or not parts:
        raise InputError(
            f'{source}: "{" ".join(wrong or ())}" is not a figure and how far it may move: '
            'write it as "size +5 %" or "latency +10 %, accuracy -0.5 pp".'
        )
    return tuple(read_change_limit(figure, quantity, source) for figure, quantity in parts)


def _read(cost: Cost, name: str, value: object, source: str, example: str) -> Limit:
    """Returns the limit on `cost` that `value` spells out; `name` is what the file calls it."""
    level: object = "error"
    text = value
    if isinstance(value, Mapping):
        unknown = [str(key) for key in value if key not in ("limit", "level")]
        if unknown or "limit" not in value:
            raise InputError(
                f'{source}: "{name}" must be a quantity, or a table with "limit" and, if you like, "level"; '
                f"it has {', '.join(map(str, value)) or 'nothing'}."
            )
        text, level = value["limit"], value.get("level", "error")
    if not isinstance(text, str):
        raise InputError(f'{source}: "{name}" must be text with a unit, such as "{example}"; it is {text!r}.')
    if level not in ("error", "warn"):
        raise InputError(f'{source}: the level of "{name}" must be "error" or "warn"; it is {level!r}.')
    return Limit(name=cost.name, value=cost.parse(text, f"{source}: {name}"), source=source, level=level)
