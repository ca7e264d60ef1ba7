"""Self-written networks on sound, after their papers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from zoo import Entry, rows, smooth


class KeywordNet(nn.Module):
    """DS-CNN (Zhang et al., 2017): separable convolutions on MFCCs (1, 1, 49, 10)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, (10, 4), (2, 2), (5, 1)), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(*(self._block(width) for _ in range(3)))
        self.head = nn.Linear(width, 12)

    @staticmethod
    def _block(width: int) -> nn.Sequential:
        depth = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, groups=width), nn.BatchNorm2d(width), nn.ReLU())
        return nn.Sequential(depth, nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return made


class SubspectralNet(nn.Module):
    """BC-ResNet's broadcast residual with sub-spectral normalisation (Kim et al., 2021)."""

    def __init__(self, width: int = 16, bands: int = 4) -> None:
        super().__init__()
        self.bands = bands
        self.stem = nn.Conv2d(1, width, 5, (2, 1), 2)
        self.over_frequency = nn.Conv2d(width, width, (3, 1), padding=(1, 0), groups=width)
        self.norm = nn.BatchNorm2d(width * bands)
        self.over_time = nn.Conv2d(width, width, (1, 3), padding=(0, 2), dilation=(1, 2), groups=width)
        self.point, self.head = nn.Conv2d(width, width, 1), nn.Conv2d(width, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = fn.relu(self.stem(x))
        y = self.over_frequency(x)
        batch, width, height, time = y.shape
        y = self.norm(y.view(batch, width * self.bands, height // self.bands, time)).view(batch, width, height, time)
        z = fn.silu(self.over_time(y.mean(2, keepdim=True)))
        return self.head(fn.relu(x + y + self.point(z))).mean((2, 3))  # type: ignore[no-any-return]


class MaskNet(nn.Module):
    """Conv-TasNet (Luo & Mesgarani, 2019): learned filters, a temporal network, masks, two sources."""

    def __init__(self, filters: int = 48, width: int = 24, kernel: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, filters, kernel, kernel // 2, bias=False)
        self.norm, self.inner = nn.GroupNorm(1, filters), nn.Conv1d(filters, width, 1)
        self.blocks = nn.ModuleList(self._block(width, 2**i) for i in range(4))
        self.mask = nn.Conv1d(width, 2 * filters, 1)
        self.decoder = nn.ConvTranspose1d(filters, 1, kernel, kernel // 2, bias=False)

    @staticmethod
    def _block(width: int, dilation: int) -> nn.Module:
        wide = 2 * width
        depth = nn.Conv1d(wide, wide, 3, padding=dilation, dilation=dilation, groups=wide)
        head = (nn.Conv1d(width, wide, 1), nn.PReLU(), nn.GroupNorm(1, wide))
        return nn.Sequential(*head, depth, nn.PReLU(), nn.GroupNorm(1, wide), nn.Conv1d(wide, width, 1))

    def forward(self, sound: Tensor) -> Tensor:
        coded = fn.relu(self.encoder(sound))
        x = self.inner(self.norm(coded))
        for block in self.blocks:
            x = x + block(x)
        masks = torch.sigmoid(self.mask(x)).view(x.shape[0], 2, -1, x.shape[-1])
        parts = (coded.unsqueeze(1) * masks).flatten(0, 1)
        return self.decoder(parts).view(x.shape[0], 2, -1)  # type: ignore[no-any-return]


class Vocoder(nn.Module):
    """HiFi-GAN's generator (Kong et al., 2020): transposed convolutions with weight norm, dilated residuals."""

    def __init__(self, mels: int = 20, width: int = 32) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.first = norm(nn.Conv1d(mels, width, 7, padding=3))
        self.ups = nn.ModuleList(norm(nn.ConvTranspose1d(width >> i, width >> (i + 1), 8, 4, 2)) for i in range(2))
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                norm(nn.Conv1d(width >> (i + 1), width >> (i + 1), 3, padding=d, dilation=d)) for d in (1, 3, 5)
            )
            for i in range(2)
        )
        self.last = norm(nn.Conv1d(width >> 2, 1, 7, padding=3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for up, block in zip(self.ups, self.blocks, strict=True):
            x = up(fn.leaky_relu(x, 0.1))
            for conv in block:  # type: ignore[attr-defined]
                x = x + conv(fn.leaky_relu(x, 0.1))
        return torch.tanh(self.last(fn.leaky_relu(x)))


class WaveNet(nn.Module):
    """Gated causal convolutions with skips (van den Oord et al., 2016)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(5))
        self.outs = nn.ModuleList(nn.Conv1d(width, 2 * width, 1) for _ in range(5))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(width, 32, 1), nn.ReLU(), nn.Conv1d(32, 64, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        total = torch.zeros_like(x)
        for i, (gate, out) in enumerate(zip(self.gates, self.outs, strict=True)):
            value, opening = gate(fn.pad(x, (2**i, 0))).chunk(2, 1)
            rest, skip = out(torch.tanh(value) * torch.sigmoid(opening)).chunk(2, 1)
            x, total = x + rest, total + skip
        made: Tensor = self.head(total)
        return made


class SpectrogramNet(nn.Module):
    """A classifier from raw sound: STFT, mel filters, logarithm, convolutions."""

    def __init__(self, size: int = 256, mels: int = 32) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size))
        self.register_buffer("filters", torch.rand(mels, size // 2 + 1))
        self.net = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1))
        self.head = nn.Linear(16, 10)

    def forward(self, sound: Tensor) -> Tensor:
        found = torch.stft(sound, self.size, self.size // 2, window=self.window, return_complex=True)
        mel = torch.log(self.filters @ found.abs() ** 2 + 1e-5)
        made: Tensor = self.head(self.net(mel.unsqueeze(1)).mean((2, 3)))
        return made


class PitchNet(nn.Module):
    """CREPE (Kim et al., 2018), narrow: convolutions over 1024 samples of sound."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((1, 16, 512, 4), (16, 16, 64, 1), (16, 32, 64, 1))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, (k, 1), (s, 1)), nn.ReLU(), nn.BatchNorm2d(o), nn.MaxPool2d((2, 1)))
            for i, o, k, s in sizes
        )
        self.head = nn.Linear(32 * 32, 36)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None, :, None]
        for layer, padding in zip(self.layers, ((254, 254), (31, 32), (31, 32)), strict=True):
            x = layer(fn.pad(x, (0, 0, *padding)))
        return torch.sigmoid(self.head(x.permute(0, 2, 1, 3).flatten(1)))


class SpeakerNet(nn.Module):
    """ECAPA-TDNN's parts (Desplanques et al., 2020): squeeze and excitation, attentive statistics, cosine embedding."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(40, width, 5, padding=2), nn.ReLU(), nn.BatchNorm1d(width))
        self.parts = nn.ModuleList(nn.Conv1d(width // 4, width // 4, 3, padding=2, dilation=2) for _ in range(3))
        self.squeeze, self.excite = nn.Conv1d(width, 8, 1), nn.Conv1d(8, width, 1)
        self.attention = nn.Sequential(nn.Conv1d(3 * width, 16, 1), nn.Tanh(), nn.Conv1d(16, width, 1))
        self.head = nn.Linear(2 * width, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        chunks = list(torch.chunk(x, 4, 1))
        for i, part in enumerate(self.parts):
            chunks[i + 1] = part(chunks[i + 1] + chunks[i])
        x = x + torch.cat(chunks, 1)
        x = x * torch.sigmoid(self.excite(fn.relu(self.squeeze(x.mean(2, keepdim=True)))))
        mean, std = x.mean(2, keepdim=True), torch.sqrt(x.var(2, keepdim=True).clamp(1e-9))
        weights = torch.softmax(self.attention(torch.cat((x, mean.expand_as(x), std.expand_as(x)), 1)), 2)
        mean = (x * weights).sum(2)
        std = torch.sqrt(((x**2 * weights).sum(2) - mean**2).clamp(1e-9))
        return fn.normalize(self.head(torch.cat((mean, std), 1)), dim=1)


def _conformer() -> nn.Module:
    from conformer import Conformer

    made: nn.Module = Conformer(
        dim=64, depth=2, dim_head=16, heads=4, ff_mult=2, conv_expansion_factor=2, conv_kernel_size=15
    )
    return made


TABLE = {
    "ds_cnn": Entry(build=KeywordNet, draw=smooth(1, 1, 49, 10)),
    "bc_resnet": Entry(build=SubspectralNet, draw=smooth(1, 1, 40, 50)),
    "conv_tasnet": Entry(build=MaskNet, draw=smooth(1, 1, 1600)),
    "hifigan": Entry(build=Vocoder, draw=smooth(1, 20, 24)),
    "wavenet": Entry(build=WaveNet, draw=smooth(1, 1, 400)),
    "mel_cnn": Entry(build=SpectrogramNet, draw=smooth(1, 4000)),
    "crepe": Entry(build=PitchNet, draw=rows((1, 1024))),
    "ecapa": Entry(build=SpeakerNet, draw=smooth(1, 40, 64)),
    "conformer": Entry(build=_conformer, draw=rows((1, 32, 64)), settled=True),
}
