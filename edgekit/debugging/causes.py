"""Why a layer departs: explanations are tried one by one, and the one that the artifact's values fit best is reported.

An explanation predicts what a layer with one certain fault would make of the artifact's own inputs. Its worth is the
share of the layer's own error that disappears when this prediction takes the place of the sound float layer:
1 - |A - X|^2 / |A - H|^2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, final

import numpy as np

from edgekit.debugging.float_graph import ACTIVATIONS
from edgekit.debugging.inspector import StoredGrid
from edgekit.debugging.layer_replay import LayerReplay, on_grid, rounded_weight

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]

Cause = Literal[
    "swapped_channels",
    "lost_activation",
    "zero_point",
    "range_clips",
    "scale",
    "per_tensor_weights",
    "range_too_wide",
    "outlier_channel",
    "channels_off",
    "rounding",
    "unknown",
]
"""What can be wrong:

swapped_channels    channels are in another order than in the float model (RGB and BGR)
lost_activation     the artifact lacks an activation function
zero_point          values are shifted: the zero point is wrong
range_clips         the grid does not reach the values: they saturate
scale               values are multiplied by a factor
per_tensor_weights  all output channels share one weight scale, and an outlier decides it
range_too_wide      the grid covers far more than the values need: few steps are left
outlier_channel     few channels are so large that the others share few steps
channels_off        some channels have a wrong weight scale or bias
rounding            no fault: what sound rounding leaves in this layer
unknown             none of these explains it
"""

_STORED: Final[frozenset[Cause]] = frozenset({"swapped_channels", "lost_activation", "per_tensor_weights"})
"""Faults before the layer's grid: what they make is rounded and clipped like the layer's own values."""
_ENOUGH: Final = 0.5
"""Share of the error that an explanation must take away."""
_CLEAR: Final = 0.05
"""Explanations that come this close to the best are distinguished by their order: the more special first."""
_SHIFTED: Final = 0.5
"""Room on one side of a grid, relative to what lacks on the other, from which its place is wrong and not its width."""
_FEW_STEPS: Final = 16
"""Levels of 256: a channel that has fewer is badly resolved."""
_MOST_INPUT_CHANNELS: Final = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A possible cause.

    Attributes:
        cause: See `Cause`.
        sentence: What is wrong, for people.
        share: Share of the layer's own error that it explains, at most 1.
    """

    cause: Cause
    sentence: str
    share: float


def explain(replay: LayerReplay, name: str, *, is_fault: bool) -> Explanation:
    """Returns the best explanation of a layer's own error.

    Args:
        replay: The layers.
        name: Name of the layer's node.
        is_fault: Its error is beyond what sound quantization leaves.
    """
    sound, own = replay.run(name), replay.own(name)
    if not np.isfinite(own).all():
        broken = 1 - float(np.isfinite(own).mean())
        return Explanation(cause="unknown", sentence=f"{broken:.1%} of the values are NaN or infinite", share=0.0)
    base = _power(own - sound)
    grid = replay.grid(name)
    if not is_fault:
        kept = replay.kept_grid(name)
        outlier = _outlier(sound, grid) if grid is not None and kept is None else None
        sentence = "ordinary: what sound rounding leaves in this layer"
        if kept is not None:
            sentence += f"; it keeps its input's grid, {kept.low:.3g} to {kept.high:.3g}, as this kernel must"
        return outlier or Explanation(cause="rounding", sentence=sentence, share=1.0)
    tried: list[Explanation] = []
    for cause, sentence, exact in _predictions(replay, name, sound, own, grid):
        predicted = on_grid(exact, grid) if grid is not None and cause in _STORED else exact
        share = 1 - _power(own - predicted) / base if base else 0.0
        tried.append(Explanation(cause=cause, sentence=sentence, share=share))
    best = max((item.share for item in tried), default=0.0)
    if best < _ENOUGH:
        return Explanation(cause="unknown", sentence="none of the known faults explains it", share=max(0.0, best))
    # Rounding remains after every right explanation, so the best share is not 1 and differences are compared to that.
    margin = _CLEAR * max(1e-9, best)
    return next(item for item in tried if item.share >= best - margin)


def _predictions(
    replay: LayerReplay, name: str, sound: Array, own: Array, grid: StoredGrid | None
) -> Iterator[tuple[Cause, str, Array]]:
    """Yields (cause, sentence, what the layer would make with this fault), the first that fits being the right one.

    The grid comes first: what it does alone, it also does to every other fault's prediction.
    """
    if grid is not None:
        yield _clipped(sound, grid)
        yield _too_wide(sound, grid)
    yield from _swapped_inputs(replay, name)
    yield from _swapped_outputs(sound, own)
    yield from _lost_activations(replay, name)
    offset = float(np.median(own - sound))
    steps = f", {offset / grid.scale:+.0f} steps" if grid is not None else ""
    yield "zero_point", f"all values are shifted by {offset:+.4g}{steps}: a wrong zero point or bias", sound + offset
    factor = float((own.reshape(-1) @ sound.reshape(-1)) / max(_power(sound), 1e-30))
    yield "scale", f"all values are multiplied by {factor:.3g}: a wrong scale", sound * np.float32(factor)
    if any(replay.graph.by_name[item].weight for item in replay.segment(name)):
        single = replay.run(name, weights=lambda w, op: rounded_weight(w, op, 8, per_channel=False))
        yield "per_tensor_weights", _single_scale_sentence(replay, name), single
    yield _channel_lines(sound, own)


def _swapped_inputs(replay: LayerReplay, name: str) -> Iterator[tuple[Cause, str, Array]]:
    for source in replay.sources(name):
        shape = replay.graph.by_name[source].shape
        if source not in replay.graph.inputs or len(shape) < 3:
            continue
        for axis in (1, len(shape) - 1):
            if not 2 <= shape[axis] <= _MOST_INPUT_CHANNELS:
                continue
            for order in itertools.permutations(range(shape[axis])):
                if list(order) == sorted(order):
                    continue
                changed = replay.run(name, inputs={source: _permuted(axis, order)})
                yield (
                    "swapped_channels",
                    (
                        f'the channels of input "{source}" are read in the order {", ".join(map(str, order))}'
                        f"{' (RGB and BGR swapped)' if order == (2, 1, 0) else ''}"
                    ),
                    changed,
                )


def _permuted(axis: int, order: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    def change(value: Tensor) -> Tensor:
        import torch

        return value.index_select(axis, torch.tensor(order))

    return change


def _swapped_outputs(sound: Array, own: Array) -> Iterator[tuple[Cause, str, Array]]:
    """Yields the order of channels in which the values fit best, where that is another one."""
    if sound.ndim < 3 or not 2 <= sound.shape[2] <= 2048:
        return
    left, right = _by_channel(sound), _by_channel(own)
    distance = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    order = distance.argmin(axis=0)
    moved = int((order != np.arange(order.size)).sum())
    if moved >= 2 and np.unique(order).size == order.size:
        yield "swapped_channels", f"{moved} channels of this layer are in another order", sound[:, :, order]


def _lost_activations(replay: LayerReplay, name: str) -> Iterator[tuple[Cause, str, Array]]:
    for item in replay.segment(name):
        node = replay.graph.by_name[item]
        if node.operator in ACTIVATIONS and len(node.sources) == 1:
            where = f" of {node.module}" if node.module else ""
            yield (
                "lost_activation",
                f'the activation {node.operator} "{item}"{where} is missing',
                replay.run(name, without=item),
            )


def _clipped(sound: Array, grid: StoredGrid) -> tuple[Cause, str, Array]:
    low, high = min(0.0, float(sound.min())), max(0.0, float(sound.max()))
    share = float(((sound < grid.low - grid.scale / 2) | (sound > grid.high + grid.scale / 2)).mean())
    clipped = np.clip(sound, grid.low, grid.high)
    missing, spare = grid.low - low, high - grid.high
    # Shifted: what the grid lacks on one side it has too much on the other.
    if min(missing, -spare) > 0 or min(-missing, spare) > 0:
        lacks, has = max(missing, spare), -min(missing, spare)
        if has >= _SHIFTED * lacks:
            return (
                "zero_point",
                (
                    f"the grid has the right width and the wrong place: zero point {grid.zero_point}, and "
                    f"{round(grid.least - low / grid.scale)} would cover {low:.3g} to {high:.3g}; {share:.1%} saturate"
                ),
                clipped,
            )
    return (
        "range_clips",
        (
            f"{share:.1%} of the values saturate: the grid covers {grid.low:.3g} to {grid.high:.3g}, "
            f"the values {low:.3g} to {high:.3g}"
        ),
        clipped,
    )


def _too_wide(sound: Array, grid: StoredGrid) -> tuple[Cause, str, Array]:
    outlier = _outlier(sound, grid)
    used = float(sound.max() - sound.min()) / max(grid.high - grid.low, 1e-30)
    if outlier is not None and used > 0.5:
        return outlier.cause, outlier.sentence, on_grid(sound, grid)
    sentence = f"the grid covers {grid.low:.3g} to {grid.high:.3g} and the values need {used:.1%} of it"
    return "range_too_wide", sentence, on_grid(sound, grid)


def _single_scale_sentence(replay: LayerReplay, name: str) -> str:
    weights = [replay.graph.by_name[item].weight for item in replay.segment(name)]
    weight = replay.graph.weight(next(item for item in weights if item)).detach()
    peaks = weight.abs().flatten(1).amax(1)
    ratio = float(peaks.max() / peaks.median().clamp_min(1e-12))
    return (
        f"its weights have one scale for all channels; channel {int(peaks.argmax())} is {ratio:.0f} times as large "
        "as the median one, so the others are rounded away"
    )


def _outlier(sound: Array, grid: StoredGrid) -> Explanation | None:
    """Returns the explanation that few channels stretch the grid, None where channels are alike."""
    if sound.ndim < 3 or sound.shape[2] < 4:
        return None
    channels = _by_channel(sound)
    widths = channels.max(1) - channels.min(1)
    steps = float(np.median(widths)) / grid.scale
    if steps >= _FEW_STEPS:
        return None
    return Explanation(
        cause="outlier_channel",
        sentence=f"channel {int(widths.argmax())} stretches the grid: the median channel has {steps:.0f} of 256 steps",
        share=1.0,
    )


def _channel_lines(sound: Array, own: Array) -> tuple[Cause, str, Array]:
    """Fits a factor and an offset to each channel."""
    if sound.ndim < 3:
        return "channels_off", "single channels have a wrong scale or bias", sound
    x, y = _by_channel(sound).astype(np.float64), _by_channel(own).astype(np.float64)
    mean_x, mean_y = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    factor = ((x - mean_x) * (y - mean_y)).sum(1) / np.maximum(((x - mean_x) ** 2).sum(1), 1e-30)
    offset = mean_y[:, 0] - factor * mean_x[:, 0]
    error = ((x - y) ** 2).sum(1)
    worst = np.argsort(-error)[:5]
    shape = [1, 1, -1, *[1] * (sound.ndim - 3)]
    fitted = sound * factor.reshape(shape).astype(np.float32) + offset.reshape(shape).astype(np.float32)
    names = ", ".join(str(int(i)) for i in worst)
    return "channels_off", f"single channels have a wrong weight scale or bias, most of all channels {names}", fitted


def _by_channel(values: Array) -> Array:
    """Returns (samples, 1, channels, ...) as (channels, rest)."""
    found: Array = np.moveaxis(values, 2, 0).reshape(values.shape[2], -1)
    return found


def _power(array: NDArray[Any]) -> float:
    flat = array.reshape(-1)
    return float(np.dot(flat, flat))
