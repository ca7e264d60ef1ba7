"""How each output, and each channel of it, of an artifact compares with the float model's.

One figure over all values hides what is small beside the rest: scores beside boxes in pixels, one class of a thousand,
the second output. So sums are kept for every index along every axis that may be the channel's (NCHW, (N, T, C) and
(N, anchors, 4 + classes) alike), and what is judged is what the data can show.

Everything is summed in float64 over blocks of rows; memory does not grow with the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.samples import is_whole, row_shape
from edgekit.validators.output_layout import OutputLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_DB: Final = 200.0
"""Equal outputs have an infinite ratio, which JSON cannot hold. 32-bit floats end near 150 dB, so 200 means equal."""

_VALUES_AT_ONCE: Final = 1 << 21
_ROWS_AT_ONCE: Final = 256
_MOST_CHANNELS: Final = 4096
"""An axis that is longer holds places (anchors, pixels), not channels."""

_SUMS: Final = ("signal", "error", "moved", "artifact_moved", "product", "not_finite")
_EXTREMES: Final = ("largest_move", "largest_artifact_move", "highest", "negative_lowest")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Sums over an output, over a member of it, or over one channel.

    Attributes:
        name: For people: `scores`, `scores[:, 3]`.
        axis: Axis of the channel; None for an output or a member.
        values: How many values were compared.
        signal: Sum of the float model's squared values.
        error: Sum of the squared differences.
        moved: Sum of the squared differences between the float model's rows and its first row.
        artifact_moved: The same for the artifact.
        product: Sum of the products of the two.
        not_finite: Values that are NaN or infinite in the artifact and finite in the float model.
        largest_move: Largest difference between one of the float model's rows and its first row.
        largest_artifact_move: The same for the artifact.
        step: Step of the 8-bit grid that this part would have for itself.
    """

    name: str
    axis: int | None = None
    values: int
    signal: float
    error: float
    moved: float
    artifact_moved: float
    product: float
    not_finite: int
    largest_move: float
    largest_artifact_move: float
    step: float

    @property
    def sqnr_db(self) -> float:
        """10 log10(signal / error), within +-LARGEST_DB; NaN where a value is not finite."""
        if self.not_finite:
            return math.nan
        if self.error == 0:
            return LARGEST_DB
        if self.signal == 0:
            return -LARGEST_DB
        return max(-LARGEST_DB, min(LARGEST_DB, 10 * math.log10(self.signal / self.error)))

    @property
    def signal_rms(self) -> float:
        """Root mean square of the float model's values."""
        return math.sqrt(self.signal / self.values)

    @property
    def moved_rms(self) -> float:
        """Root mean square of the float model's moves from its first row."""
        return math.sqrt(self.moved / self.values)

    @property
    def error_rms(self) -> float:
        """Root mean square of the differences."""
        return math.sqrt(self.error / self.values)

    @property
    def correlation(self) -> float:
        """How alike the two move from row to row: 1 the same, 0 not at all."""
        both = math.sqrt(self.moved) * math.sqrt(self.artifact_moved)
        return self.product / both if both > 0 else 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStatistics:
    """One output of an artifact beside the float model's.

    Attributes:
        name: As the artifact calls it.
        rows: How many rows were compared.
        equal_share: Share of equal values, 0 to 1, where the float model gives integers; None where it gives floats.
        whole: Sums over all values; None for integers.
        members: Sums over each tensor that was joined to this output; empty where nothing was joined.
        channels: Sums over each index along each axis that may be the channel's.
    """

    name: str
    rows: int
    equal_share: float | None = None
    whole: Part | None = None
    members: tuple[Part, ...] = ()
    channels: tuple[Part, ...] = ()


def sqnr_db(reference: NDArray[Any], outputs: NDArray[Any]) -> float:
    """Returns 10 log10(sum(reference^2) / sum((reference - outputs)^2)) over all rows, within +-LARGEST_DB.

    Args:
        reference: (rows, ...), any numeric dtype; read in pieces, so a memory map stays on disk.
        outputs: The same number of values a row.

    Returns:
        NaN where a value of either is not finite.
    """
    import numpy as np

    signal = noise = 0.0
    for start in range(0, len(reference), _ROWS_AT_ONCE):
        piece = slice(start, start + _ROWS_AT_ONCE)
        expected = np.asarray(reference[piece], np.float64).ravel()
        difference = expected - np.asarray(outputs[piece], np.float64).ravel()
        signal += float(np.sum(expected * expected))
        noise += float(np.sum(difference * difference))
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return math.nan
    if noise == 0:
        return LARGEST_DB
    if signal == 0:
        return -LARGEST_DB
    return max(-LARGEST_DB, min(LARGEST_DB, 10 * math.log10(signal / noise)))


def compare_output(
    name: str, reference: NDArray[Any], outputs: NDArray[Any], layout: OutputLayout | None = None
) -> OutputStatistics:
    """Returns how an output compares.

    Args:
        name: Name of the output.
        reference: The float model's, (rows, ...); read in blocks, so a memory map stays on disk.
        outputs: The artifact's, the same number of values a row.
        layout: How the output is made up, where somebody knows.
    """
    if reference.dtype.kind in "iub":
        return OutputStatistics(name=name, rows=len(reference), equal_share=_equal_share(reference, outputs))
    sums = _Sums(reference.shape[1:])
    for expected, found in _blocks(reference, outputs):
        sums.add(expected, found)
    known = layout if layout is not None and row_shape(layout.shape) == reference.shape[1:] else None
    return sums.statistics(name, len(reference), known)


def _blocks(reference: NDArray[Any], outputs: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yields both in blocks of rows as float64, the artifact's in the shape of the float model's."""
    import numpy as np

    at_once = max(1, _VALUES_AT_ONCE // max(1, reference[0].size))
    for start in range(0, len(reference), at_once):
        expected = np.asarray(reference[start : start + at_once], np.float64)
        yield expected, np.asarray(outputs[start : start + at_once], np.float64).reshape(expected.shape)


def _equal_share(reference: NDArray[Any], outputs: NDArray[Any]) -> float:
    equal = sum(int((expected == found).sum()) for expected, found in _blocks(reference, outputs))
    return equal / max(1, reference.size)


@final
class _Sums:
    """Sums over the rows for every index along every axis that may be the channel's, and over everything.

    Args:
        shape: Shape of one row, without the batch.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        import numpy as np

        self._shape = shape
        self._axes = [i for i, size in enumerate(shape) if 1 < size <= _MOST_CHANNELS]
        sizes = {axis: shape[axis] for axis in self._axes} | {-1: 1}
        self._sums = {axis: np.zeros((len(_SUMS), size)) for axis, size in sizes.items()}
        self._extremes = {axis: np.full((len(_EXTREMES), size), -math.inf) for axis, size in sizes.items()}
        self._first: tuple[Any, Any] | None = None
        self._rows = 0

    def add(self, expected: NDArray[Any], found: NDArray[Any]) -> None:
        """Adds a block of rows (rows, *shape) of both, float64."""
        import numpy as np

        known = np.isfinite(expected)
        broken = known & ~np.isfinite(found)
        if not known.all() or broken.any():
            expected = np.where(known, expected, 0.0)
            found = np.where(known & ~broken, found, 0.0)
        if self._first is None:
            self._first = expected[0].copy(), found[0].copy()
        self._rows += len(expected)
        move, own_move = expected - self._first[0], found - self._first[1]
        error = expected - found
        pairs = (expected, expected), (error, error), (move, move), (own_move, own_move), (move, own_move)
        # Over the rows first: what is left is as large as one row, and goes to every axis.
        totals = [np.einsum("i...,i...->...", *pair) for pair in pairs] + [broken.sum(0, dtype=np.float64)]
        extremes = [np.abs(move).max(0), np.abs(own_move).max(0), expected.max(0), (-expected).max(0)]
        for axis, sums in self._sums.items():
            others = tuple(i for i in range(len(self._shape)) if i != axis)
            for i, total in enumerate(totals):
                sums[i] += total.sum(others)
            for i, extreme in enumerate(extremes):
                held = self._extremes[axis]
                held[i] = np.maximum(held[i], extreme.max(others, initial=-math.inf))

    def statistics(self, name: str, rows: int, layout: OutputLayout | None) -> OutputStatistics:
        """Returns what was summed, once all rows were added."""
        whole = self._part(name, -1, slice(0, 1), self._step(-1, slice(0, 1), layout.bounded[0] if layout else False))
        members: list[Part] = []
        steps: dict[int, list[float]] = {axis: [whole.step] * self._shape[axis] for axis in self._axes}
        joined = None
        if layout is not None and layout.axis is not None:
            joined = layout.axis - (0 if is_whole(layout.shape) else 1)
        if layout is not None and joined in self._axes:
            start = 0
            for size, bounded in zip(layout.sizes, layout.bounded, strict=True):
                piece = slice(start, start + size)
                step = self._step(joined, piece, bounded)
                members.append(self._part(f"{name}{_index(joined, f'{start}:{start + size}')}", joined, piece, step))
                steps[joined][piece] = [step] * size
                start += size
        channels = tuple(
            self._part(f"{name}{_index(axis, str(i))}", axis, slice(i, i + 1), steps[axis][i], channel=True)
            for axis in self._axes
            for i in range(self._shape[axis])
        )
        return OutputStatistics(name=name, rows=rows, whole=whole, members=tuple(members), channels=channels)

    def _step(self, axis: int, piece: slice, bounded: bool) -> float:  # noqa: FBT001  says what the values are
        if bounded:
            return 1 / 256
        _, _, highest, negative_lowest = self._extremes[axis][:, piece].max(1)
        # A grid of zero points holds zero.
        return float(max(highest, 0.0) + max(negative_lowest, 0.0)) / 255

    def _part(self, name: str, axis: int, piece: slice, step: float, *, channel: bool = False) -> Part:
        import numpy as np

        signal, error, moved, own, product, broken = (float(x) for x in self._sums[axis][:, piece].sum(1))
        largest, largest_own, _, _ = (float(x) for x in self._extremes[axis][:, piece].max(1))
        each = int(np.prod(self._shape)) // (self._shape[axis] if axis >= 0 else 1)
        return Part(
            name=name,
            axis=axis + 1 if channel else None,
            values=max(1, self._rows * each * (piece.stop - piece.start)),
            signal=signal,
            error=error,
            moved=moved,
            artifact_moved=own,
            product=product,
            not_finite=int(broken),
            largest_move=largest,
            largest_artifact_move=largest_own,
            step=step,
        )


def _index(axis: int, text: str) -> str:
    """Returns how NumPy addresses one place along an axis of a row: `[:, :, 3]`, batch included."""
    return f"[{':, ' * (axis + 1)}{text}]"
