"""4-bit weights in groups of columns that share a scale: the one rounding of every format and of simulation.

    w ~ s q,  q = clamp(round(w / s), -7, 7),  s = f max |w| / 7

The factor f of a group is the one of a few at which its squared error is least: with 15 steps, clipping the largest
weight a little rounds all others better (as `techniques.gptq.best_shrink` has it). Scales have the 8 significant bits
of bfloat16, which every format stores as they are, in 16 bits or in 32. So all formats hold the same numbers, a
quantizer that takes its scale from the largest weight finds them again, and weights that lie on such a grid already
stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HIGH: Final = 7

_SHRINKS: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
_WEIGHTS_AT_ONCE: Final = 1 << 20
"""A table is rounded in parts: its float copies would otherwise take several times its own memory."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedWeights:
    """Weights on grids of 15 values.

    Attributes:
        integers: (N, K) int8, -7 to 7.
        scales: (N, K / group) float32, all above 0.
    """

    integers: NDArray[np.int8]
    scales: NDArray[np.float32]

    def values(self) -> NDArray[np.float32]:
        """Returns the weights that the integers stand for, (N, K)."""
        import numpy as np

        groups = self.integers.reshape(*self.scales.shape, -1).astype(np.float32)
        made: NDArray[np.float32] = (groups * self.scales[..., None]).reshape(self.integers.shape)
        return made

    def packed(self, *, even_high: bool) -> NDArray[np.uint8]:
        """Returns two integers a byte with 8 added to each, (N, K / 2).

        Args:
            even_high: Even columns lie in the high half of a byte, else in the low half.
        """
        import numpy as np

        shifted = (self.integers + 8).astype(np.uint8)
        even, odd = shifted[:, 0::2], shifted[:, 1::2]
        return ((even << 4) | odd if even_high else even | (odd << 4)).astype(np.uint8)


def round_groups(rows: NDArray[np.float32], group: int) -> GroupedWeights:
    """Returns weights rounded to 4 bits.

    Args:
        rows: (N, K) float32.
        group: Columns that share a scale; K is a multiple of it.
    """
    import numpy as np

    integers = np.empty(rows.shape, dtype=np.int8)
    scales = np.empty((rows.shape[0], rows.shape[1] // group), dtype=np.float32)
    step = max(1, _WEIGHTS_AT_ONCE // max(1, rows.shape[1]))
    for start in range(0, rows.shape[0], step):
        part = slice(start, start + step)
        groups = rows[part].reshape(-1, group)
        found = _least_error_scales(groups)
        integers[part] = _integers(groups, found).reshape(-1, rows.shape[1])
        scales[part] = found.reshape(-1, scales.shape[1])
    return GroupedWeights(integers=integers, scales=scales)


def _least_error_scales(groups: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the scale of each group (M, group) with the least squared error, (M,)."""
    import numpy as np

    largest = np.abs(groups).max(axis=1)
    whole: NDArray[np.float32] = (np.where(largest > 0, largest, np.float32(1)) / HIGH).astype(np.float32)
    best: NDArray[np.float32] = whole
    least: NDArray[np.float32] = np.full(whole.shape, np.inf, dtype=np.float32)
    for factor in _SHRINKS:
        scale = _bfloat16(whole * np.float32(factor))
        difference = _integers(groups, scale) * scale[:, None] - groups
        error = np.einsum("ij,ij->i", difference, difference)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def _integers(groups: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    rounded: NDArray[np.float32] = np.clip(np.rint(groups / scale[:, None]), -HIGH, HIGH)
    return rounded


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns finite numbers above 0 rounded to the nearest that bfloat16 holds, as float32."""
    import numpy as np

    bits = np.maximum(values, np.finfo(np.float32).tiny).view(np.uint32)
    nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32)
