"""Ranges of what activations read: values that become the same one behind it need no integers of their own.

Where no kernel fuses an activation into the layer before it, the tensor between the two has a grid. A SiLU makes nearly
0 of all that lies below -5, a sigmoid nearly 1 of all above 5, yet layers give values far beyond: a grid that covers
them spends half of its steps or more on what nobody can tell apart afterwards. So a range ends where the activation
would change its result by a quarter of a step of that result's own grid at most: half a step would leave what lies
beyond just between two integers, and rounding could make a whole step of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from edgekit.analysis.activation_inputs import Activation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STEPS: Final = 255
_POINTS: Final = 8193
"""Places of a range at which its activation is looked at: a step of 256 is 32 of them."""

_SHARE_OF_A_STEP: Final = 0.25

_WORTH_IT: Final = 0.02
"""Share of a range that its flat end must take: a sloped end could give a part of a step away too, to no use."""


def distinct_range(low: float, high: float, activation: Activation) -> tuple[float, float]:
    """Returns the part of a range, low <= 0 <= high, whose values an activation's result tells apart; 0 lies in it.

    With f the activation and d = (max f - min f) / 255 over the range, 0 included, the new lower end is the largest
    t <= 0 for which |f(x) - f(t)| <= d / 4 for all x from the old end to t; the upper end likewise. An end whose flat
    part is short stays.
    """
    import numpy as np

    if low == high:
        return low, high
    places = np.linspace(low, high, _POINTS)
    values = _FUNCTIONS[activation](places)
    most = (max(float(values.max()), 0.0) - min(float(values.min()), 0.0)) / _STEPS * _SHARE_OF_A_STEP
    first = places[_length_of_flat_end(values, most)]
    last = places[::-1][_length_of_flat_end(values[::-1], most)]
    return min(float(first), 0.0), max(float(last), 0.0)


def seen_through(values: NDArray[np.float32], low: float, high: float, activation: Activation) -> NDArray[np.float32]:
    """Returns the values clipped to a grid's range, or as they are where the activation would tell the difference.

    Args:
        values: Of a tensor, as the float model has them.
        low: Lower end of the grid on which an artifact has them.
        high: Upper end.
        activation: The activation that alone reads them.
    """
    clipped = values.clip(low, high)
    exact, found = (_FUNCTIONS[activation](item.astype("float64")) for item in (values, clipped))
    # A few samples reach less far than those that the grid was made from: their steps are finer.
    step = (max(float(exact.max()), 0.0) - min(float(exact.min()), 0.0)) / _STEPS
    return clipped if float(abs(found - exact).max()) <= step else values


def _length_of_flat_end(values: NDArray[np.float64], most: float) -> int:
    """Returns how many steps from the first value on all before are within `most`; 0 where they are too few."""
    import numpy as np

    apart = np.maximum(np.maximum.accumulate(values) - values, values - np.minimum.accumulate(values)) > most
    length = int(apart.argmax()) - 1 if apart.any() else len(values) - 1
    return length if length >= _WORTH_IT * len(values) else 0


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    result: NDArray[np.float64] = 0.5 * (1 + np.tanh(x / 2))  # no exponential overflows
    return result


def _gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    # Its approximation by a hyperbolic tangent, within 5e-4: Hendrycks & Gimpel 2016.
    result: NDArray[np.float64] = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return result


def _hardswish(x: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return x * np.clip(x + 3, 0, 6) / 6


def _mish(x: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return x * np.tanh(np.logaddexp(0, x))


def _silu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * _sigmoid(x)


def _tanh(x: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return np.tanh(x)


_FUNCTIONS: Final[Mapping[Activation, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
    "gelu": _gelu,
    "hardswish": _hardswish,
    "mish": _mish,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "tanh": _tanh,
}
