"""Fourier transforms of fixed length with matrices of cosines and sines, and of windows as convolutions with them.

For X_k = sum over n of x_n exp(-2 pi i k n / N) the matrices are cos(2 pi k n / N) and -sin(2 pi k n / N), computed in
float64 and stored in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edgekit.torch_program.rewrites.pair import Compute, Operator, Pair

if TYPE_CHECKING:
    from torch import Tensor

_BY_SQUARE_ROOT, _BY_LENGTH = 1, 2
"""Values of an operator's `normalization`; 0 divides by nothing."""


def _matrices(length: int, bins: int, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Returns cos and -sin (length, bins), times a scale."""
    import torch

    # The product is reduced first: sines of large angles would lose digits.
    turns = torch.outer(torch.arange(length), torch.arange(bins)) % length
    angles = turns.double() * (2 * math.pi / length)
    return (angles.cos() * scale).float(), (-angles.sin() * scale).float()


def _scale(length: int, normalization: int) -> float:
    return {_BY_SQUARE_ROOT: 1.0 / math.sqrt(length), _BY_LENGTH: 1.0 / length}.get(normalization, 1.0)


def _rfft(operator: Operator, x: Tensor, axes: list[int], normalization: int, onesided: bool) -> Pair:  # noqa: FBT001  torch's
    del operator
    made = Pair(real=x, imaginary=None)
    for i, axis in enumerate(reversed(axes)):
        bins = x.shape[axis] // 2 + 1 if onesided and i == 0 else None
        made = _along(made, axis, normalization, bins=bins)
    return made


def _c2c(operator: Operator, x: Pair, axes: list[int], normalization: int, forward: bool) -> Pair:  # noqa: FBT001  torch's
    del operator
    for axis in axes:
        x = _along(x, axis, normalization, forward=forward)
    return x


def _along(x: Pair, axis: int, normalization: int, *, bins: int | None = None, forward: bool = True) -> Pair:
    """Returns the transform along one axis; the imaginary part of `x` is None where it is real."""
    length = x.real.shape[axis]
    cosines, sines = _matrices(length, bins or length, scale=_scale(length, normalization))
    sines = sines if forward else -sines
    real = x.real.movedim(axis, -1)
    if x.imaginary is None:
        made = (real @ cosines, real @ sines)
    else:
        imaginary = x.imaginary.movedim(axis, -1)
        made = (real @ cosines - imaginary @ sines, real @ sines + imaginary @ cosines)
    return Pair(real=made[0].movedim(-1, axis), imaginary=made[1].movedim(-1, axis))


def _irfft(operator: Operator, x: Pair, axes: list[int], normalization: int, last: int) -> Tensor:
    del operator
    for axis in axes[:-1]:
        x = _along(x, axis, normalization, forward=False)
    axis = axes[-1]
    cosines, sines = _inverse(last, scale=_scale(last, normalization))
    made = x.real.movedim(axis, -1) @ cosines + x.imaginary.movedim(axis, -1) @ sines
    return made.movedim(-1, axis)


def _inverse(length: int, *, scale: float) -> tuple[Tensor, Tensor]:
    """Returns the matrices (bins, length) that make a real signal of the lower half of its spectrum.

    Bins between the first and the middle one stand for two of the whole spectrum.
    """
    import torch

    bins = length // 2 + 1
    cosines, sines = _matrices(length, bins, scale=scale)
    place = torch.arange(bins)
    twice = (2 - (place == 0).float() - (2 * place == length).float()).unsqueeze(1)
    return cosines.T * twice, sines.T * twice


def _named_rfft(operator: Operator, x: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Pair:
    return _rfft(operator, _sized(x, n, dim), [dim], _normalization(norm, forward=True), onesided=True)


def _named_fft(
    operator: Operator, x: Pair | Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Pair:
    del operator
    parts = x if isinstance(x, Pair) else Pair(real=x, imaginary=None)
    sized = Pair(
        real=_sized(parts.real, n, dim), imaginary=None if parts.imaginary is None else _sized(parts.imaginary, n, dim)
    )
    return _along(sized, dim, _normalization(norm, forward=True))


def _named_ifft(operator: Operator, x: Pair, n: int | None = None, dim: int = -1, norm: str | None = None) -> Pair:
    del operator
    sized = Pair(real=_sized(x.real, n, dim), imaginary=_sized(x.imaginary, n, dim))
    return _along(sized, dim, _normalization(norm, forward=False), forward=False)


def _named_irfft(operator: Operator, x: Pair, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    last = n or 2 * (x.real.shape[dim] - 1)
    bins = last // 2 + 1
    sized = Pair(real=_sized(x.real, bins, dim), imaginary=_sized(x.imaginary, bins, dim))
    return _irfft(operator, sized, [dim], _normalization(norm, forward=False), last)


def _named_rfft2(
    operator: Operator, x: Tensor, s: list[int] | None = None, dim: tuple[int, ...] = (-2, -1), norm: str | None = None
) -> Pair:
    for size, axis in zip(s or (), dim, strict=False):
        x = _sized(x, size, axis)
    return _rfft(operator, x, list(dim), _normalization(norm, forward=True), onesided=True)


def _named_irfft2(
    operator: Operator, x: Pair, s: list[int] | None = None, dim: tuple[int, ...] = (-2, -1), norm: str | None = None
) -> Tensor:
    last = s[-1] if s else 2 * (x.real.shape[dim[-1]] - 1)
    return _irfft(operator, x, list(dim), _normalization(norm, forward=False), last)


def _normalization(norm: str | None, *, forward: bool) -> int:
    if norm == "ortho":
        return _BY_SQUARE_ROOT
    return _BY_LENGTH if forward == (norm == "forward") else 0


def _sized(x: Tensor, size: int | None, axis: int) -> Tensor:
    """Returns a tensor cut or filled with zeros to a size along an axis."""
    import torch

    if size is None or x.shape[axis] == size:
        return x
    if x.shape[axis] > size:
        return x.narrow(axis, 0, size)
    rank, axis = x.ndim, axis % x.ndim
    widths = [0] * (2 * rank)
    widths[2 * (rank - 1 - axis) + 1] = size - x.shape[axis]
    return torch.nn.functional.pad(x, widths)


def _stft(
    operator: Operator,
    x: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    normalized: bool = False,  # noqa: FBT001, FBT002  torch's order
    onesided: bool | None = True,  # noqa: FBT001, FBT002
    return_complex: bool | None = None,  # noqa: FBT001
    align_to_window: bool | None = None,  # noqa: FBT001
) -> Pair | Tensor:
    """Returns (batch, bins, frames): a convolution whose kernels are the windowed cosines and sines."""
    import torch

    del operator, align_to_window
    bins = n_fft if onesided is False else n_fft // 2 + 1
    parts = _matrices(n_fft, bins, scale=n_fft**-0.5 if normalized else 1.0)
    shape = _windowed(window, win_length or n_fft, n_fft)
    kernels = torch.cat([part.T * shape for part in parts]).unsqueeze(1)
    made = torch.conv1d(x.reshape(-1, 1, x.shape[-1]), kernels, stride=hop_length or n_fft // 4)
    made = made.reshape(*x.shape[:-1], *made.shape[1:])
    pair = Pair(real=made.narrow(-2, 0, bins), imaginary=made.narrow(-2, bins, bins))
    return pair if return_complex else torch.stack([pair.real, pair.imaginary], -1)


def _istft(
    operator: Operator,
    x: Pair,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,  # noqa: FBT001, FBT002  torch's order
    normalized: bool = False,  # noqa: FBT001, FBT002
    onesided: bool | None = None,  # noqa: FBT001
    length: int | None = None,
    return_complex: bool = False,  # noqa: FBT001, FBT002
) -> Tensor:
    """Returns (batch, samples): a transposed convolution, divided by the sum of the squared windows."""
    import torch

    del operator, onesided, return_complex
    hop, frames = hop_length or n_fft // 4, x.real.shape[-1]
    shape = _windowed(window, win_length or n_fft, n_fft)
    scale = (n_fft**0.5 if normalized else 1.0) / n_fft
    kernels = torch.cat([part * shape for part in _inverse(n_fft, scale=scale)]).unsqueeze(1)
    lead = x.real.shape[:-2]
    spectrum = torch.cat([x.real, x.imaginary], -2).reshape(-1, kernels.shape[0], frames)
    made = torch.conv_transpose1d(spectrum, kernels, stride=hop)
    weights = torch.conv_transpose1d(torch.ones(1, 1, frames), (shape * shape).reshape(1, 1, -1), stride=hop)
    start = n_fft // 2 if center else 0
    stop = start + length if length is not None else made.shape[-1] - start
    reach = min(stop, made.shape[-1])
    signal = made.narrow(-1, start, reach - start) / weights.narrow(-1, start, reach - start)
    return _sized(signal, stop - start, -1).reshape(*lead, stop - start)


def _windowed(window: Tensor | None, width: int, n_fft: int) -> Tensor:
    """Returns the window (n_fft) with zeros on both sides where it is shorter."""
    import torch

    left = (n_fft - width) // 2
    shape = torch.ones(width) if window is None else window
    return torch.nn.functional.pad(shape, (left, n_fft - width - left)) if width < n_fft else shape


OPERATORS: Final[Mapping[str, Compute]] = {
    "stft": _stft,
    "istft": _istft,
    "fft_rfft": _named_rfft,
    "fft_fft": _named_fft,
    "fft_ifft": _named_ifft,
    "fft_irfft": _named_irfft,
    "fft_rfft2": _named_rfft2,
    "fft_irfft2": _named_irfft2,
    "_fft_r2c": _rfft,
    "_fft_c2c": _c2c,
    "_fft_c2r": _irfft,
}
"""By operator."""
