"""How much of the metric each part of the evaluation data loses: a mean can hide a class that died.

Parts are the slices that the evaluation names; without names, the classes of its labels. Every part is compared item by
item as the whole is. Looking for the worst of many finds bad luck too, so the intervals are simultaneous (Bonferroni:
each at 1 - 0.05/k): together they hold with 95 % confidence, and so does the band of the worst, from the largest lower
end to the largest upper end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

from edgekit import intervals as paired
from edgekit.metrics.drop import Drop
from edgekit.metrics.measure_drop import measure_drop
from edgekit.metrics.table import classifies
from edgekit.model import JoinedOutput
from edgekit.samples import Samples
from edgekit.units import format_points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["slice", "class"]

SMALLEST: Final = 20
"""Items that a part needs to be judged by itself. Below, one item is more than 5 points, and no band says anything."""

_NAMED: Final = 5


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDrop:
    """What one part loses.

    Attributes:
        name: Slice name, class as `class 3`, or `the 4 small slices together`.
        drop: With a simultaneous interval.
    """

    name: str
    drop: Drop


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """All parts of an evaluation.

    Attributes:
        kind: What the parts are.
        judged: Parts with enough items, and the small ones pooled where they are enough together.
        small: Name to items of the parts that were too small to be judged by themselves.
        pooled: True where the small ones were judged together.
    """

    kind: Kind
    judged: tuple[SliceDrop, ...]
    small: Mapping[str, int]
    pooled: bool

    @property
    def worst(self) -> SliceDrop | None:
        """The part that loses most; one whose outputs are not numbers before all others."""
        known = [part for part in self.judged if part.drop.value is not None]
        return max(known, key=lambda part: _badness(part.drop), default=None)

    @property
    def band(self) -> tuple[float | None, float | None]:
        """The band of the largest drop: it lies above every lower end, and below the largest upper end."""
        lows = [part.drop.low for part in self.judged if part.drop.low is not None]
        highs = [part.drop.high for part in self.judged if part.drop.high is not None]
        return (max(lows), max(highs)) if lows and highs else (None, None)

    @property
    def sentence(self) -> str:
        """One sentence for a person: the worst parts, and which were too small."""
        plural = "slices" if self.kind == "slice" else "classes"
        ranked = sorted(self.judged, key=lambda part: -_badness(part.drop))
        worst = ", ".join(f"{part.name} {_points(part.drop)} on {part.drop.count} items" for part in ranked[:3])
        text = f"Worst of {len(self.judged)} {plural}: {worst}" if ranked else f"No {plural} can be judged"
        if ranked and ranked[0].drop.detectable is not None:
            text += f"; the smallest drop that {ranked[0].drop.count} items can show is "
            text += f"{ranked[0].drop.detectable:.2g} pp"
        if self.small:
            names = [f"{name} ({count})" for name, count in self.small.items()]
            more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
            fate = "judged together" if self.pooled else "not judged"
            text += f"; fewer than {SMALLEST} items, {fate}: {', '.join(names[:_NAMED])}{more}"
        return text + "."

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the JSON form: one object a part, those that were too small without a drop."""
        made = [
            {
                "name": part.name,
                "kind": self.kind,
                "count": part.drop.count,
                "drop": _finite(part.drop.value),
                "low": _finite(part.drop.low),
                "high": _finite(part.drop.high),
                "detectable": _finite(part.drop.detectable),
            }
            for part in self.judged
        ]
        nothing = {"drop": None, "low": None, "high": None, "detectable": None}
        return [*made, *({"name": n, "kind": self.kind, "count": count, **nothing} for n, count in self.small.items())]


@lru_cache(maxsize=8)
def measure_slices(
    metric: str,
    outputs: Samples,
    reference: Samples | None,
    evaluation: Samples,
    base: Path = Path(),
    joined: tuple[JoinedOutput, ...] = (),
) -> Slices | None:
    """Returns what each part loses, or None where the data names no slices and has no classes.

    Args:
        metric: As for `measure_drop`.
        outputs: The artifact's outputs.
        reference: The float model's.
        evaluation: With slice names or class labels.
        base: Folder that a relative `file.py:function` starts from.
        joined: Outputs that were split.

    Raises:
        DataError: the outputs or the targets do not fit the metric.
        ConfigError: a `file.py:function` that cannot be loaded.
    """
    import numpy as np

    found = _parts(metric, evaluation)
    if found is None:
        return None
    kind, parts = found
    small = {name: len(items) for name, items in parts.items() if len(items) < SMALLEST}
    judged = {name: items for name, items in parts.items() if name not in small}
    pooled = sum(small.values()) >= SMALLEST
    if pooled:
        plural = "slices" if kind == "slice" else "classes"
        judged[f"the {len(small)} small {plural} together"] = np.sort(np.concatenate([parts[name] for name in small]))
    confidence = 1 - (1 - paired.CONFIDENCE) / max(1, len(judged))
    drops = tuple(
        SliceDrop(
            name=name,
            drop=measure_drop(
                metric, outputs, reference, evaluation, base, chosen=items, confidence=confidence, joined=joined
            ),
        )
        for name, items in judged.items()
    )
    return Slices(kind=kind, judged=drops, small=small, pooled=pooled)


def _parts(metric: str, evaluation: Samples) -> tuple[Kind, dict[str, NDArray[np.int64]]] | None:
    """Returns (what the parts are, name to item indices, ascending), or None where there are none."""
    import numpy as np

    names = evaluation.slices()
    if names is not None:
        array = np.asarray(names)
        return "slice", {name: np.flatnonzero(array == name) for name in sorted(set(names))}
    targets = evaluation.targets()
    if not classifies(metric) or targets is None or targets.size != evaluation.items:
        return None
    flat = targets.reshape(-1)
    if flat.dtype.kind not in "iufb" or not np.array_equal(flat, flat.astype(np.int64)):
        return None
    return "class", {f"class {label}": np.flatnonzero(flat == label) for label in np.unique(flat.astype(np.int64))}


def _badness(drop: Drop) -> float:
    return -math.inf if drop.value is None else math.inf if math.isnan(drop.value) else drop.value


def _points(drop: Drop) -> str:
    return "not known" if drop.value is None or math.isnan(drop.value) else format_points(drop.value)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
