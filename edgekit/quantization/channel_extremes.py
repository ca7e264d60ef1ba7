"""The smallest and the largest value of each channel of a tensor on calibration data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class ChannelExtremes:
    """Extremes of each channel, collected array by array.

    Args:
        axis: Axis of the channels.
    """

    __slots__ = ("_axis", "_high", "_low")

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._low: NDArray[np.float64] | float = 0.0
        self._high: NDArray[np.float64] | float = 0.0

    def update(self, values: NDArray[Any]) -> None:
        """Adds an array whose axis `axis` has the same length each time."""
        import numpy as np

        axis = self._axis % values.ndim
        others = tuple(i for i in range(values.ndim) if i != axis)
        self._low = np.minimum(self._low, values.min(axis=others).astype(np.float64))
        self._high = np.maximum(self._high, values.max(axis=others).astype(np.float64))

    def ranges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns the ends of each channel's range, low <= 0 <= high, (channels,) each; one of 0 before an update."""
        import numpy as np

        return np.atleast_1d(np.asarray(self._low)), np.atleast_1d(np.asarray(self._high))
