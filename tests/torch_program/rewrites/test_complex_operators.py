"""Complex numbers inside a model become pairs of real ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

WAVE = torch.randn(1, 400)


def rotary(x):
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    turn = torch.polar(torch.ones(4, 3), torch.outer(torch.arange(4.0), torch.arange(3) * 0.1))
    return torch.view_as_real(pairs * turn).flatten(2)


def mask_spectrum(x):
    spectrum = torch.stft(x, 64, 16, window=torch.hann_window(64), return_complex=True)
    return torch.istft(spectrum * torch.sigmoid(spectrum.abs()), 64, 16, window=torch.hann_window(64), length=400)


def products(x):
    z = torch.complex(x, x * x - 1)
    w = (z * z.conj() + z / (z + (2 + 1j)) - 3 * z) / 2
    return torch.cat([w.real, w.imag, w.abs(), w.angle(), torch.exp(z * 0.1).real], 1)


def global_filter(x):
    spectrum = torch.fft.rfft2(x, norm="ortho")
    return torch.fft.irfft2(spectrum * torch.sigmoid(spectrum.real), s=(8, 6), norm="ortho")


def round_trip(x):
    spectrum = torch.fft.rfft(x, n=24, norm="forward")
    return torch.fft.irfft(spectrum, n=24, norm="forward")[..., :20] * torch.fft.ifft(torch.fft.fft(x)).real


CASES = [
    pytest.param(rotary, torch.randn(1, 4, 6), id="rotary"),
    pytest.param(mask_spectrum, WAVE, id="stft and istft"),
    pytest.param(
        lambda x: torch.stft(x, 60, 20, 50, center=False, normalized=True, return_complex=True).abs(), WAVE, id="window"
    ),
    pytest.param(products, torch.randn(1, 7), id="arithmetic"),
    pytest.param(global_filter, torch.randn(1, 3, 8, 6), id="2d"),
    pytest.param(round_trip, torch.randn(1, 3, 20), id="1d"),
    pytest.param(lambda x: torch.fft.rfft(x).abs(), torch.randn(1, 7), id="odd length"),
]


@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize(("function", "x"), CASES)
def test_no_complex_operator_is_left(rewritten, function, x):
    found = rewritten(function, x)
    assert not [name for name in found if "fft" in name or "complex" in name or name in ("polar", "real", "angle")]


def test_an_unknown_complex_operator_leaves_the_graph_as_it_was(rewritten):
    found = rewritten(lambda x: torch.complex(x, x).tanh().real, torch.randn(1, 3))
    assert "complex" in found


class Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(3, 5, dtype=torch.complex64))

    def forward(self, x):
        return torch.view_as_real(torch.fft.rfft(x) * self.filter)


def test_a_complex_weight_is_split(rewritten):
    assert "mul" in rewritten(Weight(), torch.randn(1, 3, 8))
