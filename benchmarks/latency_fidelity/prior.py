"""What is believed about the rates of a machine before any of its rows is read.

A rate's logarithm is a sum of parts around what the machine's peak rate lets expect: what is typical for the term, for
the engine, its build and precision, for the core, the device, the machine (the device with so many threads), a slope
for each published figure (clock, threads, bandwidth, in-order or not), and what is special to one combination. Every
part is pulled toward 0 with its own strength, a normal prior, so that a machine without rows gets what its engine, its
kind of core and its published figures say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, final

import numpy as np
from builds import kernels_of, uses_dot_products
from machines import core_of, has_dot_products, peak_gmacs, published_figures
from numpy.typing import NDArray
from published import Group

from edgekit.predict.latency_features import TERMS, Term

Array = NDArray[np.float64]

TYPICAL_NS: Final[Mapping[Term, float]] = {
    "dense_macs": 0.1, "dense_3x3_macs": 0.1, "shallow_macs": 0.2, "grouped_macs": 0.3, "pointwise_macs": 0.1,
    "depthwise_macs": 0.4, "linear_macs": 0.15, "attention_macs": 0.15, "recurrent_macs": 0.3, "first_macs": 0.1,
    "layer_elements": 0.3,
    "weights": 0.3, "linear_weights": 0.3, "positions": 5.0,
    "cheap_elements": 0.5, "costly_elements": 3.0, "pooled_elements": 0.4, "moved_elements": 0.5,
    "operators": 1e4,
}  # fmt: skip
"""Nanoseconds for one unit on a core of some 10 GMAC/s: only their ratios matter, and only where no row says better."""

_TYPICAL_GMACS: Final = 10.0
_TYPICAL_ACCELERATOR_GMACS: Final = 1500.0
"""What an accelerator can compute at best where it runs at these rates: much of its time it waits."""

ACCELERATORS: Final = ("tensorrt", "coreml", "qnn")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How much one part of a rate varies: standard deviations of logarithms.

    Attributes:
        rate: Rate of each term by itself.
        speed: Speed of all terms together.
    """

    rate: float
    speed: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed before any row is read: standard deviations of natural logarithms.

    Attributes:
        spreads: How much each part of a rate varies, by part: see `memberships`.
        noise: Of one row around its model: versions, clocks, cooling.
        family: What the terms do not tell about a family of models in one engine: all of its rows are off by as much.
        model: What they do not tell about one model in one engine, beyond its family.
        family_here: What they do not tell about a family in one engine on one machine.
        model_here: The same of one model: what its rows by several builds share.
        widths: By kind of term (compute, memory, start): what the parts' rates are multiplied by.
        alike: Share of a rate's variance that it has in common with the other terms of its kind.
    """

    spreads: Mapping[str, Spread]
    noise: float
    family: float
    model: float
    family_here: float
    model_here: float
    widths: tuple[float, float, float]
    alike: float

    def terms(self) -> Array:
        """Returns what the rates of two terms share, (terms, terms), for a spread of 1."""
        width = np.array([self.widths[_KINDS[term]] for term in TERMS])
        kinds = np.array([_KINDS[term] for term in TERMS])
        same = kinds[:, None] == kinds[None, :]
        return np.outer(width, width) * ((1 - self.alike) * np.eye(len(TERMS)) + self.alike * same)

    @classmethod
    def of(cls, figures: Mapping[str, float]) -> Prior:
        """Returns the prior with these figures, named as `figures` names them."""
        parts = dict.fromkeys(name.removesuffix(".rate") for name in figures if name.endswith(".rate"))
        return cls(
            spreads={part: Spread(rate=figures[f"{part}.rate"], speed=figures[f"{part}.speed"]) for part in parts},
            widths=(figures["widths.0"], figures["widths.1"], figures["widths.2"]),
            **{name: figures[name] for name in _PLAIN},
        )

    def figures(self) -> dict[str, float]:
        """Returns all figures by name."""
        spreads = {f"{part}.{kind}": getattr(s, kind) for part, s in self.spreads.items() for kind in ("rate", "speed")}
        widths = {f"widths.{i}": width for i, width in enumerate(self.widths)}
        return spreads | widths | {name: getattr(self, name) for name in _PLAIN}


_PLAIN: Final = ("noise", "family", "model", "family_here", "model_here", "alike")

_COMPUTE, _MEMORY, _START = 0, 1, 2
_KINDS: Final[Mapping[Term, int]] = {
    term: _COMPUTE if term.endswith("_macs") else _START if term == "operators" else _MEMORY for term in TERMS
}
"""Term to what it waits for: multipliers, memory, or threads that meet."""


def unit_of(group: Group) -> str:
    """Returns "cpu", or the engine that stands for an accelerator."""
    return group.engine if group.engine in ACCELERATORS else "cpu"


@cache
def memberships(group: Group) -> Mapping[str, tuple[str, float]]:
    """Returns part to the level that a group belongs to, and how strongly: groups of one level share that part."""
    unit, engine = unit_of(group), f"{group.engine} {group.precision}"
    core, machine = f"{unit} {core_of(group.device)}", f"{unit} {group.machine}"
    multiplies = group.precision == "int8" and has_dot_products(group.device) and uses_dot_products(group.build)
    levels = {
        "everything": "",
        "unit": unit,
        "precision": f"{unit} {group.precision}",
        "engine": engine,
        "engine_cores": f"{engine} {multiplies} {group.threads > 1}",
        "build": f"{engine} {kernels_of(group.build)}",
        "version": f"{engine} {group.build} {multiplies}",
        "core": core,
        "core_threads": f"{core} {group.threads}",
        "device": f"{unit} {group.device}",
        "machine": machine,
        "machine_precision": f"{machine} {group.precision}",
        "combination": f"{machine} {engine} {multiplies}",
        "build_here": f"{machine} {engine} {group.build}",
    }
    return {part: (level, 1.0) for part, level in levels.items()} | {
        name: ("", value) for name, value in published_figures(group).items()
    }


def covariances(left: Sequence[Group], right: Sequence[Group], prior: Prior) -> tuple[Array, Array]:
    """Returns what pairs of groups share: variance of each rate by itself, and of the speed, (left, right) each."""
    rate, speed = np.zeros((len(left), len(right))), np.zeros((len(left), len(right)))
    mine, others = [memberships(group) for group in left], [memberships(group) for group in right]
    for part, spread in prior.spreads.items():
        # A group without the part shares nothing: its strength is 0.
        here, there = [m.get(part, ("", 0.0)) for m in mine], [o.get(part, ("", 0.0)) for o in others]
        same = np.array([level for level, _ in here])[:, None] == np.array([level for level, _ in there])[None, :]
        shared = same * np.outer([value for _, value in here], [value for _, value in there])
        rate += spread.rate**2 * shared
        speed += spread.speed**2 * shared
    return rate, speed


def expected_log_rates(group: Group) -> Array:
    """Returns the logarithms of the rates that a group is expected to have: typical ones at its machine's peak."""
    reference = _TYPICAL_GMACS if group.engine not in ACCELERATORS else _TYPICAL_ACCELERATOR_GMACS
    peak = peak_gmacs(group) or reference
    return np.log([TYPICAL_NS[term] for term in TERMS]) - np.log(peak / reference)
