"""Like channels in tensors that have one grid: by how much each channel is divided, and what the weights gain or lose.

Channels that differ by decades share one step, so small ones keep few of their 8 bits. Divided by a factor each they
come out alike, and the layers around take the factors up in their weights. The layer that writes them has a scale for
each output channel, which costs nothing. So has a depthwise convolution that reads them. A layer that mixes channels
has one scale for all that an output reads: evened out to the end, outliers move into its weights, and these lose bits.
How far to go is a balance, as in Xiao et al., "SmoothQuant", 2023, eq. 4, with the exponent chosen for each tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.quantization.channel_extremes import ChannelExtremes
from edgekit.quantization.ranges import Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HALF_A_BIT: Final = 2**0.5
TWO_BITS: Final = 4.0
"""Times by which the grid for all is wider than the middle channel's values, by what that costs of 8 bits: evening out
is worth it from the first on where the activation between the layers computes in float anyway, and from the second on
where it leaves its integer kernels for that."""

_STEPS: Final = 255
_WEIGHT_STEPS: Final = 127

_DEAD: Final = 1e-6
"""Share of the grid for all below which a channel is always 0, and counts for nothing."""

_NARROWEST: Final = 1 / 1024
"""Share of the grid for all that a channel's is at least: on finer steps its bias would leave 32 bits."""

_DEVIATIONS: Final = 3.0
"""Standard deviations that a channel's largest value lies from 0. Its measured mean square is no better: most values of
a channel may lie on the zero of the grid, which has no rounding error."""

_EXPONENTS: Final = (0.25, 0.5, 0.75, 1.0)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The weights of a layer that reads the channels.

    Attributes:
        weights: Shape (outputs, inputs / groups, ...).
        groups: Groups of a grouped convolution; a depthwise one has as many as channels.
    """

    weights: NDArray[np.floating]
    groups: int = 1

    def scaled(self, factors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the weights, each multiplied by the factor of the channel that it reads.

        Args:
            factors: One a channel, (channels,).
        """
        import numpy as np

        outputs, inputs, *rest = self.weights.shape
        grouped = self.weights.reshape(self.groups, outputs // self.groups, inputs, -1).astype(np.float64)
        scaled = grouped * factors.reshape(self.groups, 1, inputs, 1)
        return scaled.reshape(outputs, inputs, *rest)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvenChannels:
    """How channels are evened out.

    Attributes:
        factors: By what each channel is divided, (channels,) float64; the largest is 1.
        range: Range of the results.
    """

    factors: NDArray[np.float64]
    range: Range


def times_apart(extremes: ChannelExtremes, whole: Range) -> float:
    """Returns how many times wider the grid for all is than the middle channel's values; 1 without any."""
    import numpy as np

    low, high = extremes.ranges()
    width = whole.high - whole.low
    alive = (high - low)[high - low > _DEAD * width]
    return width / float(np.median(alive)) if alive.size else 1.0


def even_channels(extremes: ChannelExtremes, whole: Range) -> EvenChannels:
    """Returns the factors after which each channel fills the grid: for layers with a scale for each channel.

    The results share a zero point z, for a convolution pads with it, so a channel from l to h needs steps of
    max(h / (255 - z), -l / z); z is the one with the least geometric mean of these.
    """
    import numpy as np

    low, high = _inside(extremes, whole)
    zeros = np.arange(1, _STEPS)[:, None] if float(low.min()) < 0 else np.zeros((1, 1))
    below = np.divide(-low, zeros, out=np.zeros(np.broadcast_shapes(low.shape, zeros.shape)), where=zeros > 0)
    least = _NARROWEST * (whole.high - whole.low) / _STEPS
    steps = np.maximum(np.maximum(high / (_STEPS - zeros), below), least)
    best = int(np.log(steps).sum(axis=1).argmin())
    step, zero = float(steps[best].max()), float(zeros[best, 0])
    return EvenChannels(factors=steps[best] / step, range=Range(low=-zero * step, high=(_STEPS - zero) * step))


def balanced_channels(extremes: ChannelExtremes, whole: Range, readers: Sequence[Kernel]) -> EvenChannels | None:
    """Returns the factors with which all layers that read a tensor lose least; None where they lose least without any.

    With f of `even_channels` and s = f^a, an output o gets the noise (rounding errors are uniform in a step)

        n[o] = sum over j of (w[o, j] s[j])^2 * d^2 / 12
             + max over j of (w[o, j] s[j] / 127)^2 / 12 * sum over j of (x[j] / s[j])^2

    of x / s on a grid of step d, and of weights on theirs. The exponent a is the one with the least sum of n[o] over
    the output's power, sum over j of w[o, j]^2 x[j]^2.

    Args:
        extremes: Of the tensor's channels.
        whole: Range of the tensor.
        readers: All layers that read it.
    """
    import numpy as np

    even = even_channels(extremes, whole)
    low, high = _inside(extremes, whole)
    squares = np.maximum(np.maximum(high, -low) / _DEVIATIONS, 1e-15) ** 2
    unchanged = EvenChannels(factors=np.ones_like(even.factors), range=whole)
    choices = [unchanged]
    for exponent in _EXPONENTS:
        factors = even.factors**exponent
        ends = Range(low=float((low / factors).min()), high=float((high / factors).max()))
        choices.append(even if exponent == 1 else EvenChannels(factors=factors, range=ends))
    noises = [sum(_noise(choice, squares, kernel) for kernel in readers) for choice in choices]
    best = choices[int(np.argmin(noises))]
    return None if best is unchanged else best


def _noise(choice: EvenChannels, squares: NDArray[np.float64], kernel: Kernel) -> float:
    """Returns the noise that rounding a layer's input and weights gives its outputs, over their power, summed up."""
    import numpy as np

    step = (choice.range.high - choice.range.low) / _STEPS
    power = (kernel.scaled(np.sqrt(squares)) ** 2).reshape(kernel.weights.shape[0], -1).sum(axis=1)
    scaled = kernel.scaled(choice.factors).reshape(kernel.weights.shape[0], -1)
    of_input = (scaled**2).sum(axis=1) * step**2 / 12
    outputs, inputs = kernel.weights.shape[:2]
    read = (squares / choice.factors**2).reshape(kernel.groups, inputs).sum(axis=1) * (scaled.shape[1] // inputs)
    of_weights = (np.abs(scaled).max(axis=1) / _WEIGHT_STEPS) ** 2 / 12 * np.repeat(read, outputs // kernel.groups)
    return float(((of_input + of_weights) / np.maximum(power, 1e-30)).sum())


def _inside(extremes: ChannelExtremes, whole: Range) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the ends of each channel; the range for all leaves out what nobody tells apart."""
    import numpy as np

    low, high = extremes.ranges()
    return np.maximum(low, min(whole.low, 0.0)), np.minimum(high, max(whole.high, 0.0))
