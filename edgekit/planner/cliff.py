"""Which layers are the accuracy cliff of a precision, and the fewest that must keep a higher one to stay above it.

Noise powers of layers add up at the outputs (see `mixed_precision`), so a rung's simulated noise is the sum over its
layers. Keeping a layer at the precision above takes its difference away, and the fewest layers that take away enough
are those with the largest differences: no set of as many layers takes away more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.planner.mixed_search import expected_points, is_integer
from edgekit.planner.plan import LayerLoss
from edgekit.recipe import Precision

_HALVINGS: Final = 60
"""Width of an interval of noise: below the precision of a float."""

WORST_SHARE: Final = 0.8
"""Layers that make this share of the error together are called the worst."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShare:
    """A layer's part of a rung's error.

    Attributes:
        module: Dotted name.
        noise: Noise power at the outputs over their signal power, with this layer alone at the rung's precision.
        share: Share of the sum over all layers, 0 to 1.
    """

    module: str
    noise: float
    share: float


def layer_shares(losses: Sequence[LayerLoss], precision: Precision) -> tuple[LayerShare, ...]:
    """Returns each layer's share of the error in `precision`, the worst first."""
    found = [item for item in losses if item.precision == precision]
    total = sum(item.noise for item in found)
    shares = (
        LayerShare(module=item.module, noise=item.noise, share=item.noise / total if total > 0 else 0.0)
        for item in found
    )
    return tuple(sorted(shares, key=lambda item: -item.noise))


def worst_layers(shares: Sequence[LayerShare]) -> tuple[LayerShare, ...]:
    """Returns the first layers that make WORST_SHARE of the error together; `shares` has the worst first."""
    reached = 0.0
    for count, item in enumerate(shares, 1):
        reached += item.share
        if reached >= WORST_SHARE:
            return tuple(shares[:count])
    return tuple(shares)


def noise_of(losses: Sequence[LayerLoss], precision: Precision, above: Precision, kept: Sequence[str] = ()) -> float:
    """Returns the simulated noise of a rung in `precision` with the layers `kept` at the precision `above`."""
    return sum(_noises(losses, precision, above)[module][module in kept] for module in _modules(losses, precision))


def allowed_noise(noise: float, drop: float, limit: float, margins: Sequence[float] | None) -> float:
    """Returns the noise at which a model is expected to lose `limit`, given that it loses `drop` at `noise`.

    The measured drop sets the scale, `expected_points` the shape. Where the metric is not about the best score, what is
    lost is taken as proportional to the noise's power: cosine and rank correlation are, to a first order.

    Args:
        noise: Simulated, over the signal's power.
        drop: Measured at that noise, in percentage points; more than `limit`.
        limit: In percentage points.
        margins: See `expected_points`.

    Returns:
        At most `noise`; 0 for a limit of 0 or less.
    """
    if limit <= 0:
        return 0.0
    if drop <= limit:
        return noise
    whole = expected_points(noise, margins)
    if not whole:
        return noise * limit / drop
    low, high = 0.0, noise
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if drop * (expected_points(middle, margins) or 0.0) / whole > limit:
            high = middle
        else:
            low = middle
    return low


def fewest_layers(
    losses: Sequence[LayerLoss], precision: Precision, above: Precision, allowed: float, *, least: int = 1
) -> tuple[str, ...]:
    """Returns the fewest layers that bring the noise down to `allowed` when they keep the precision `above`.

    Args:
        losses: Noise of each layer in both precisions; a float one adds none and need not be there.
        precision: Precision of the other layers.
        above: Precision of the layers that are returned.
        allowed: Largest sum of noise powers.
        least: How many to return at least, where there are as many that help.

    Returns:
        The layer that helps most first; all that help where even these do not suffice.
    """
    noises = _noises(losses, precision, above)
    helping = sorted((m for m, (own, kept) in noises.items() if own > kept), key=lambda m: noises[m][1] - noises[m][0])
    total = sum(own for own, _ in noises.values())
    for count, module in enumerate(helping):
        if total <= allowed and count >= least:
            return tuple(helping[:count])
        total += noises[module][1] - noises[module][0]
    return tuple(helping)


def _modules(losses: Sequence[LayerLoss], precision: Precision) -> tuple[str, ...]:
    return tuple(item.module for item in losses if item.precision == precision)


def _noises(losses: Sequence[LayerLoss], precision: Precision, above: Precision) -> dict[str, tuple[float, float]]:
    """Returns for each module its noise in `precision` and, where it is kept, in `above`."""
    known = {(item.module, item.precision): item.noise for item in losses}
    return {
        # A layer without a figure above stays what it is: nobody knows that keeping it would help.
        module: (known[module, precision], known.get((module, above), known[module, precision]))
        if is_integer(above)
        else (known[module, precision], 0.0)
        for module in _modules(losses, precision)
    }
