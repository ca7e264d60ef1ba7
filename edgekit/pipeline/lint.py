"""What looks wrong with calibration data, reported before its ranges decide over an INT8 model.

`checks.py` refuses what cannot be right (no rows, NaN, all zeros). Here are the suspicions: data that a person should
look at, because an accuracy that was lost to it looks like the fault of the quantizer. Calibration is compared with
the evaluation data, which stands for what the device will see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.model import TensorSpec
from edgekit.samples import Samples, is_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

USUAL: Final = 100
"""Samples from which ranges are usually steady; the ecosystems' guides name 100 to 500."""

SCALE: Final = 2.0
"""Standard deviations further apart than this factor are no chance: a forgotten scaling is a factor of 4 to 255."""

SHIFT: Final = 1.0
"""Means further apart than this many standard deviations of the evaluation data are no chance either."""

CLIPPED: Final = 0.01
"""Share of the evaluation's values outside the calibration's range from which clipping is worth a word."""

EXPECTED: Final = 5.0
"""A class of which this many samples were to be expected is missing by chance with e^-5 = 0.7 %."""

_ROWS_AT_ONCE: Final = 32
_NAMED: Final = 10


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One suspicion.

    Attributes:
        rule: few_samples, range, clipping, channel_order, constant_channel, duplicates, leakage or missing_classes.
        message: One or two sentences for a person.
    """

    rule: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Returns the JSON form."""
        return {"rule": self.rule, "message": self.message}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the values of one input are spread.

    Attributes:
        low: Smallest value.
        high: Largest value.
        means: Mean of each channel (channels,); one entry where the channels are not known.
        deviations: Standard deviation of each channel.
        lows: Smallest value of each channel.
        highs: Largest value of each channel.
    """

    low: float
    high: float
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Over all values; channels have equally many."""
        return float(self.means.mean())

    @property
    def deviation(self) -> float:
        """Over all values: the variance within channels plus that of their means."""
        return math.sqrt(float((self.deviations**2).mean() + self.means.var()))


def lint(
    calibration: Samples,
    evaluation: Samples | None,
    inputs: Sequence[TensorSpec],
    classes: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> tuple[Finding, ...]:
    """Returns what looks wrong, the gravest rules first.

    Args:
        calibration: Its rows fit `inputs`.
        evaluation: None without: then only the calibration data itself is looked at.
        inputs: Inputs of the captured model.
        classes: The float model's class for each row of calibration and of evaluation; None where it is no classifier.
    """
    findings: list[Finding] = []
    marks = list(calibration.marks())
    if evaluation is not None:
        findings += _leakage(marks, set(evaluation.marks()))
        for i, spec in enumerate(inputs):
            if calibration.arrays()[i].dtype.kind == "f":
                findings += _against(spec, calibration.arrays()[i], evaluation.kept.arrays()[i])
    findings += [
        finding
        for i, spec in enumerate(inputs)
        if calibration.arrays()[i].dtype.kind == "f"
        for finding in _constant_channels(spec, calibration.arrays()[i])
    ]
    if classes is not None:
        findings += _missing_classes(*classes)
    if copies := len(marks) - len(set(marks)):
        findings.append(
            Finding(
                rule="duplicates",
                message=f"{copies} of {len(marks)} calibration samples are copies of others: they add nothing to the "
                "ranges. Give different samples.",
            )
        )
    if calibration.count < USUAL:
        findings.append(
            Finding(
                rule="few_samples",
                message=f"The calibration data has {calibration.count} "
                f"sample{'' if calibration.count == 1 else 's'}; {USUAL} to 500 are usual. Ranges from few samples "
                "miss what the device will see.",
            )
        )
    return tuple(findings)


def spread(array: NDArray[Any], axis: int | None) -> Spread:
    """Returns the spread of an input's rows.

    Args:
        array: (rows, ...), read in pieces: it may be a memory map larger than memory.
        axis: Axis of the channels; None treats all values as one channel.
    """
    import numpy as np

    count = 0
    pieces = []
    for start in range(0, len(array), _ROWS_AT_ONCE):
        piece = _by_channel(np.asarray(array[start : start + _ROWS_AT_ONCE], np.float64), axis)
        count += piece.shape[1]
        pieces.append((piece.sum(1), (piece**2).sum(1), piece.min(1), piece.max(1)))
    sums, squares, lows, highs = (np.stack(parts) for parts in zip(*pieces, strict=True))
    means = sums.sum(0) / count
    deviations = np.sqrt(np.maximum(squares.sum(0) / count - means**2, 0))
    lows, highs = lows.min(0), highs.max(0)
    return Spread(
        low=float(lows.min()), high=float(highs.max()), means=means, deviations=deviations, lows=lows, highs=highs
    )


def channel_axis(spec: TensorSpec) -> int | None:
    """Returns the axis of an input's channels, None where its layout is not known."""
    if spec.layout is None or "C" not in spec.layout or len(spec.layout) != len(spec.shape) or is_whole(spec.shape):
        return None
    return spec.layout.index("C")


def _by_channel(piece: NDArray[np.float64], axis: int | None) -> NDArray[np.float64]:
    """Returns values (channels, ...) of rows (rows, ...), all in one channel where the axis is not known."""
    import numpy as np

    if axis is None:
        return piece.reshape(1, -1)
    return np.moveaxis(piece, axis, 0).reshape(piece.shape[axis], -1)


def _leakage(calibration: Sequence[int], evaluation: set[int]) -> Iterator[Finding]:
    shared = sum(item in evaluation for item in calibration)
    if shared:
        yield Finding(
            rule="leakage",
            message=f"{shared} of {len(calibration)} calibration samples are in the evaluation data too: the measured "
            "accuracy is flattered. Take them out of one of the two.",
        )


def _against(spec: TensorSpec, calibration: NDArray[Any], evaluation: NDArray[Any]) -> Iterator[Finding]:
    """Compares the values of one input with the evaluation's."""
    axis = channel_axis(spec)
    ours, theirs = spread(calibration, axis), spread(evaluation, axis)
    if theirs.deviation == 0 or ours.deviation == 0:
        return
    factor = ours.deviation / theirs.deviation
    shift = abs(ours.mean - theirs.mean) / theirs.deviation
    if not 1 / SCALE <= factor <= SCALE or shift > SHIFT:
        yield Finding(
            rule="range",
            message=f"Input \"{spec.name}\": the calibration's values are {_words(ours)}, the evaluation's "
            f"{_words(theirs)}. One of the two was not scaled or normalized as the other: check the preprocessing.",
        )
        return
    if swapped := _swapped(spec, ours, theirs):
        yield swapped
    outside = _share_outside(evaluation, ours.low, ours.high)
    if outside > CLIPPED:
        yield Finding(
            rule="clipping",
            message=f'Input "{spec.name}": {100 * outside:.1f} % of the evaluation\'s values lie outside the '
            f"calibration's range {ours.low:.4g} to {ours.high:.4g} and would be clipped. Give samples that reach "
            "as far as what the device will see.",
        )


def _words(values: Spread) -> str:
    return f"{values.low:.4g} to {values.high:.4g} (mean {values.mean:.4g}, deviation {values.deviation:.3g})"


def _swapped(spec: TensorSpec, ours: Spread, theirs: Spread) -> Finding | None:
    """Returns a finding where three channels fit the evaluation's in reverse order and not in their own."""
    import numpy as np

    if len(ours.means) != 3:
        return None
    scale = theirs.deviation
    direct = float(np.abs(ours.means - theirs.means).max()) / scale
    reverse = float(np.abs(ours.means[::-1] - theirs.means).max()) / scale
    # A tenth of a deviation: means of 100 images wander by about a twentieth.
    if direct < 0.1 or reverse > direct / 3:
        return None
    shown = [", ".join(f"{mean:.3g}" for mean in means) for means in (ours.means, theirs.means)]
    return Finding(
        rule="channel_order",
        message=f"Input \"{spec.name}\": the means of the calibration's channels are {shown[0]}, the evaluation's "
        f"{shown[1]}: one looks like the other in reverse. Check for RGB against BGR.",
    )


def _share_outside(array: NDArray[Any], low: float, high: float) -> float:
    outside = 0
    for start in range(0, len(array), _ROWS_AT_ONCE):
        piece = array[start : start + _ROWS_AT_ONCE]
        outside += int(((piece < low) | (piece > high)).sum())
    return outside / array.size


def _constant_channels(spec: TensorSpec, array: NDArray[Any]) -> Iterator[Finding]:
    import numpy as np

    axis = channel_axis(spec)
    if axis is None:
        return
    values = spread(array, axis)
    constant = np.flatnonzero(values.lows == values.highs)
    if len(constant):
        yield Finding(
            rule="constant_channel",
            message=f'Input "{spec.name}": {_enumerate("channel", constant)} hold{"s" if len(constant) == 1 else ""} '
            f"one value only in all {len(array)} calibration samples: nothing is learnt about "
            f"{'its' if len(constant) == 1 else 'their'} range.",
        )


def _missing_classes(calibration: NDArray[np.int64], evaluation: NDArray[np.int64]) -> Iterator[Finding]:
    """Finds classes that the float model sees often in the evaluation and never in the calibration."""
    import numpy as np

    labels, counts = np.unique(evaluation, return_counts=True)
    expected = counts / len(evaluation) * len(calibration)
    missing = labels[(expected >= EXPECTED) & ~np.isin(labels, calibration)]
    if len(missing):
        yield Finding(
            rule="missing_classes",
            message=f"The float model sees {_enumerate('class', missing)} often in the evaluation data and nowhere "
            f"in the calibration data, where {EXPECTED:.0f} samples or more of each were to be expected. "
            "Calibrate on samples of all classes.",
        )


def _enumerate(word: str, numbers: NDArray[np.int64]) -> str:
    shown = ", ".join(str(n) for n in numbers[:_NAMED])
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    plural = word if len(numbers) == 1 else f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{plural} {shown}{more}"


def describe_inputs(
    calibration: Samples, evaluation: Samples | None, inputs: Sequence[TensorSpec]
) -> list[Mapping[str, Any]]:
    """Returns range, mean and deviation of each float input, of both sets, for reports."""

    def facts(samples: Samples | None, i: int) -> dict[str, float] | None:
        if samples is None:
            return None
        values = spread(samples.kept.arrays()[i], None)
        return {"low": values.low, "high": values.high, "mean": values.mean, "deviation": values.deviation}

    return [
        {"name": spec.name, "calibration": facts(calibration, i), "evaluation": facts(evaluation, i)}
        for i, spec in enumerate(inputs)
        if calibration.arrays()[i].dtype.kind == "f"
    ]
