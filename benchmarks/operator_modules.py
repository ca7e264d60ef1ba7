"""Small modules, one operator or one idiom each, for `operators.py`: what mobile models are made of.

`build(name)` returns a module and `example(name)` its inputs, both with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as fn


class Call(nn.Module):
    """A module whose forward is one function; layers that it calls are its submodules."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.names = tuple(layers)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*(getattr(self, name) for name in self.names), *inputs)


def image(channels: int = 8, size: int = 12) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(1, channels, size, size),)


def sequence(channels: int = 8, length: int = 24) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(1, channels, length),)


def rows(*sizes: int, count: int = 1) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: tuple(torch.randn(1, *sizes) for _ in range(count))


def slice_assignment(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:5] = x[:, 2:6] * 2
    y[:, :, 0] = 0.5
    return y


def mask_assignment(x: Tensor) -> Tensor:
    y = x * 2
    y[y < 0] = -1.0
    return y


def index_assignment(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, torch.tensor([1, 3, 6])] = x[:, :3] + 1
    return y


def strided_assignment(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, 0::2] = x[:, 1::2]
    y[:, 1::2] = -x[:, 0::2]
    return y


def spectrum(x: Tensor) -> Tensor:
    window = torch.hann_window(64)
    return torch.stft(x, 64, 16, window=window, return_complex=True).abs()


def power_spectrum(x: Tensor) -> Tensor:
    frames = torch.stft(x, 64, 16, window=torch.hann_window(64), center=False, return_complex=True)
    return torch.log(frames.real.square() + frames.imag.square() + 1e-5)


def mel(x: Tensor) -> Tensor:
    frames = torch.stft(x, 64, 16, window=torch.hann_window(64), return_complex=True)
    power = frames.abs().pow(2)
    return torch.log(torch.einsum("mf,bft->bmt", torch.linspace(0, 1, 10 * 33).view(10, 33), power) + 1e-5)


def rotary(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    angle = torch.outer(torch.arange(x.shape[1]).float(), torch.arange(x.shape[2] // 2) * 0.1)
    return torch.cat((first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()), -1)


def complex_rotary(x: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    angle = torch.outer(torch.arange(x.shape[1]).float(), torch.arange(x.shape[2] // 2) * 0.1)
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(2)


def warp(x: Tensor, **settings: Any) -> Tensor:
    grid = fn.affine_grid(torch.tensor([[[0.9, 0.2, 0.1], [-0.1, 0.8, 0.05]]]), list(x.shape), align_corners=False)
    return fn.grid_sample(x, grid, align_corners=False, **settings)


def relative_bias(x: Tensor) -> Tensor:
    """Attention scores with a causal mask, as language models spell it."""
    scores = x @ x.transpose(1, 2)
    mask = torch.full(scores.shape[1:], float("-inf")).triu(1)
    return torch.softmax(scores + mask, -1) @ x


def doubles(x: Tensor) -> Tensor:
    return (x.double() * torch.tensor(0.1, dtype=torch.float64) + torch.linspace(0, 1, 12, dtype=torch.float64)).float()


def gated_scan(x: Tensor) -> Tensor:
    return torch.cumsum(torch.sigmoid(x), 1) / torch.arange(1, x.shape[1] + 1).view(1, -1, 1)


Entry = tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]


def function(call: Callable[..., Any], example: Callable[[], tuple[Tensor, ...]]) -> Entry:
    return lambda: Call(call), example


def layer(make: Callable[[], nn.Module], example: Callable[[], tuple[Tensor, ...]]) -> Entry:
    return make, example


MODULES: dict[str, Entry] = {
    # Convolutions
    "conv1d_same": layer(lambda: nn.Conv1d(8, 6, 4, padding="same", dilation=2), sequence()),
    "conv2d_same_even": layer(lambda: nn.Conv2d(8, 6, 4, padding="same"), image()),
    "conv1d_causal": function(lambda x: fn.conv1d(fn.pad(x, (4, 0)), torch.ones(8, 1, 5) / 5, groups=8), sequence()),
    "conv3d": layer(lambda: nn.Conv3d(3, 4, 3, padding=1), rows(3, 4, 6, 6)),
    "conv_circular": layer(lambda: nn.Conv2d(8, 6, 3, padding=1, padding_mode="circular"), image()),
    "conv_reflect": layer(lambda: nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"), image()),
    "conv_transposed_groups": layer(
        lambda: nn.ConvTranspose2d(8, 8, 3, 2, padding=1, output_padding=1, groups=4), image()
    ),
    "conv_transposed_depthwise": layer(lambda: nn.ConvTranspose2d(8, 8, 4, 2, padding=1, groups=8), image()),
    "conv_transposed_dilated": layer(lambda: nn.ConvTranspose2d(8, 6, 3, 2, dilation=2), image()),
    "conv_transposed_1d": layer(lambda: nn.ConvTranspose1d(8, 6, 4, 2, padding=1, output_padding=1), sequence()),
    "weight_norm": layer(lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 6, 3)), sequence()),
    # Padding
    "pad_reflect_2d": function(lambda x: fn.pad(x, (2, 3, 1, 4), mode="reflect"), image()),
    "pad_reflect_1d": function(lambda x: fn.pad(x, (5, 7), mode="reflect"), sequence()),
    "pad_replicate": function(lambda x: fn.pad(x, (2, 3, 1, 4), mode="replicate"), image()),
    "pad_circular": function(lambda x: fn.pad(x, (2, 3, 1, 4), mode="circular"), image()),
    "pad_negative": function(lambda x: fn.pad(x, (-2, 3, 1, -1), value=0.5), image()),
    # Resizing and sampling
    "bicubic": function(lambda x: fn.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False), image()),
    "bicubic_odd": function(lambda x: fn.interpolate(x, (17, 9), mode="bicubic", align_corners=True), image()),
    "bilinear": function(lambda x: fn.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), image()),
    "bilinear_corners": function(lambda x: fn.interpolate(x, (17, 9), mode="bilinear", align_corners=True), image()),
    "bilinear_antialias": function(lambda x: fn.interpolate(x, (7, 5), mode="bilinear", antialias=True), image()),
    "nearest_odd": function(lambda x: fn.interpolate(x, (17, 9), mode="nearest"), image()),
    "nearest_exact": function(lambda x: fn.interpolate(x, (17, 9), mode="nearest-exact"), image()),
    "linear_1d": function(lambda x: fn.interpolate(x, 37, mode="linear"), sequence()),
    "grid_sample": function(warp, image()),
    "grid_sample_border": function(lambda x: warp(x, mode="nearest", padding_mode="border"), image()),
    "pixel_shuffle": function(lambda x: fn.pixel_shuffle(x, 2), image()),
    "pixel_unshuffle": function(lambda x: fn.pixel_unshuffle(x, 2), image()),
    "channel_shuffle": function(lambda x: fn.channel_shuffle(x, 2), image()),
    # Pooling
    "adaptive_avg_odd": function(lambda x: fn.adaptive_avg_pool2d(x, (5, 7)), image()),
    "adaptive_max_odd": function(lambda x: fn.adaptive_max_pool2d(x, (5, 7)), image()),
    "adaptive_avg_1d": function(lambda x: fn.adaptive_avg_pool1d(x, 7), sequence()),
    "max_pool_ceil": function(lambda x: fn.max_pool2d(x, 3, 2, padding=1, ceil_mode=True), image(size=11)),
    "avg_pool_exclusive": function(
        lambda x: fn.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True, count_include_pad=False), image(size=11)
    ),
    "lp_pool": function(lambda x: fn.lp_pool2d(x.abs(), 2, 2), image()),
    "pool_without_stride": function(lambda x: fn.avg_pool2d(fn.max_pool2d(x, 2), 3), image()),
    "max_unpool": function(lambda x: fn.max_unpool2d(*fn.max_pool2d(x, 2, return_indices=True), 2), image()),
    # Norms
    "rms_norm": layer(lambda: nn.RMSNorm(16), rows(6, 16)),
    "local_response_norm": layer(lambda: nn.LocalResponseNorm(5, alpha=0.1), image()),
    "group_norm": layer(lambda: nn.GroupNorm(4, 8), image()),
    "instance_norm": layer(lambda: nn.InstanceNorm2d(8, affine=True), image()),
    "instance_norm_1d": layer(lambda: nn.InstanceNorm1d(8), sequence()),
    "layer_norm_plain": layer(lambda: nn.LayerNorm((8, 12, 12), elementwise_affine=False), image()),
    "normalize": function(lambda x: fn.normalize(x, dim=1), image()),
    "std": function(lambda x: (x.std(1), x.var((2, 3), unbiased=False)), image()),
    # Assignment, masks, indices
    "slice_assignment": function(slice_assignment, image()),
    "strided_assignment": function(strided_assignment, image()),
    "mask_assignment": function(mask_assignment, image()),
    "index_assignment": function(index_assignment, image()),
    "masked_fill": function(lambda x: x.masked_fill(x > 0.3, float("-inf")).softmax(-1), rows(6, 16)),
    "select_scatter": function(lambda x: torch.select_scatter(x, x[:, 0] * 2, 1, 3), image()),
    "scatter": function(lambda x: x.scatter(1, x.argmax(1, keepdim=True), 7.0), rows(6, 16)),
    "scatter_add": function(lambda x: torch.zeros(1, 4, 5).scatter_add(1, x[..., :5].argsort(1) % 4, x), rows(6, 5)),
    "index_add": function(
        lambda x: torch.zeros(1, 4, 16).index_add(1, torch.tensor([0, 1, 1, 3, 2, 0]), x), rows(6, 16)
    ),
    "gather": function(lambda x: x.gather(2, x.argsort(2)[:, :, :4]), rows(6, 16)),
    "index_select": function(lambda x: x[:, torch.tensor([3, 0, 5])], rows(6, 16)),
    "one_hot": function(lambda x: fn.one_hot(x.argmax(-1), 16).float(), rows(6, 16)),
    "triu": function(relative_bias, rows(6, 16)),
    "roll": function(lambda x: torch.roll(x, (-2, 3), (2, 3)), image()),
    "flip": function(lambda x: x.flip((1, 3)), image()),
    "repeat_interleave": function(lambda x: x.repeat_interleave(3, 1), rows(6, 16)),
    "repeat": function(lambda x: x.repeat(1, 2, 3), rows(6, 16)),
    "unfold": function(lambda x: fn.unfold(x, 3, padding=1, stride=2), image()),
    "fold": function(
        lambda x: fn.fold(fn.unfold(x, 3, stride=2, padding=1), (12, 12), 3, stride=2, padding=1),
        image(),
    ),
    "frames": function(lambda x: x.unfold(2, 6, 3).mean(-1), sequence()),
    # Ordering
    "topk": function(lambda x: x.topk(5, -1), rows(6, 16)),
    "topk_smallest": function(lambda x: x.topk(3, 1, largest=False)[0], rows(6, 16)),
    "sort": function(lambda x: x.sort(-1, descending=True), rows(6, 16)),
    "argmax": function(lambda x: (x.argmax(-1), x.max(1)[0]), rows(6, 16)),
    "bucketize": function(lambda x: torch.bucketize(x, torch.linspace(-2, 2, 9)), rows(6, 16)),
    # Reductions and products
    "einsum": function(lambda a, b: torch.einsum("bhqd,bhkd->bhqk", a, b), rows(2, 6, 8, count=2)),
    "einsum_outer": function(lambda a, b: torch.einsum("bi,bj,bk->bijk", a, b, a), rows(5, count=2)),
    "place_by_count": function(lambda x: x.gather(-1, (x > 0).sum(-1, keepdim=True).clamp(max=15)), rows(6, 16)),
    "split_into_one": function(lambda x: torch.cat([x.chunk(1, 0)[0] + 1], 1), rows(6, 16)),
    "cumsum": function(gated_scan, rows(6, 16)),
    "cumprod": function(lambda x: torch.sigmoid(x).cumprod(-1), rows(6, 16)),
    "logsumexp": function(lambda x: x.logsumexp((1, 2)), rows(6, 16)),
    "prod": function(lambda x: x.prod(1), rows(4, 16)),
    "cdist": function(torch.cdist, rows(6, 8, count=2)),
    "norm": function(lambda x: x.norm(dim=-1) + x.norm(p=1, dim=-1), rows(6, 16)),
    "any_all": function(lambda x: ((x > 1).any(-1), (x > -3).all(1)), rows(6, 16)),
    "attention_causal": function(
        lambda q, k, v: fn.scaled_dot_product_attention(q, k, v, is_causal=True), rows(2, 6, 8, count=3)
    ),
    "multihead_attention": layer(
        lambda: Call(lambda a, x: a(x, x, x)[0], attention=nn.MultiheadAttention(16, 2, batch_first=True)), rows(6, 16)
    ),
    # Signals and other numbers
    "stft": function(spectrum, rows(400)),
    "stft_power": function(power_spectrum, rows(400)),
    "mel": function(mel, rows(400)),
    "rfft": function(lambda x: torch.fft.rfft(x).abs(), rows(6, 16)),
    "rotary": function(rotary, rows(6, 16)),
    "complex_rotary": function(complex_rotary, rows(6, 16)),
    "float64_constant": function(doubles, image()),
    "bfloat16_model": layer(lambda: nn.Sequential(nn.Conv2d(8, 6, 3), nn.SiLU()).bfloat16(), image()),
    "bfloat16_cast": function(lambda x: torch.relu(x.to(torch.bfloat16)).to(torch.float32) * 2, image()),
    # Elementwise
    "mish": layer(lambda: nn.Sequential(nn.Conv2d(8, 6, 3), nn.Mish()), image()),
    "gelu_tanh": function(lambda x: fn.gelu(x, approximate="tanh"), image()),
    "softplus": function(lambda x: fn.softplus(x, beta=2.0, threshold=5.0), image()),
    "selu_celu": function(lambda x: fn.selu(x) + fn.celu(x, 0.7) + fn.elu(x, 0.5), image()),
    "glu": function(lambda x: fn.glu(x, 1), image()),
    "hardswish": function(lambda x: fn.hardswish(x) + fn.hardsigmoid(x) + fn.hardtanh(x), image()),
    "prelu": layer(lambda: nn.PReLU(8), image()),
    "shrink": function(
        lambda x: fn.hardshrink(x, 0.3) + fn.softshrink(x, 0.2) + fn.tanhshrink(x) + fn.softsign(x),
        image(),
    ),
    "log_softmax": function(lambda x: fn.log_softmax(x, 1) + fn.logsigmoid(x), rows(6, 16)),
    "remainder": function(lambda x: torch.remainder(x, 0.7) + torch.fmod(x, 0.6) + x // 0.5, image()),
    "rounding": function(lambda x: torch.round(x) + torch.trunc(x * 2) + torch.frac(x) + x.sign(), image()),
    "atan2": function(torch.atan2, rows(6, 16, count=2)),
    "transcendental": function(
        lambda x: torch.erf(x) + torch.log1p(x.abs()) + torch.expm1(x) + torch.asinh(x), image()
    ),
    "clamp_tensor": function(lambda x: x.clamp(x.mean(1, keepdim=True) - 0.5, x.mean(1, keepdim=True) + 0.5), image()),
    "nan_to_num": function(lambda x: torch.nan_to_num(torch.sqrt(x), nan=0.25), image()),
    "lerp_addcmul": function(
        lambda a, b: torch.lerp(a, b, 0.3) + torch.addcmul(a, a, b, value=0.5), rows(6, 16, count=2)
    ),
    # Recurrent
    "lstm_bidirectional": layer(
        lambda: Call(lambda r, x: r(x)[0], recurrent=nn.LSTM(8, 6, batch_first=True, bidirectional=True)), rows(5, 8)
    ),
    "gru_bidirectional": layer(
        lambda: Call(lambda r, x: r(x)[0], recurrent=nn.GRU(8, 6, batch_first=True, bidirectional=True)), rows(5, 8)
    ),
    "rnn": layer(lambda: Call(lambda r, x: r(x)[0], recurrent=nn.RNN(8, 6, batch_first=True)), rows(5, 8)),
    "embedding_bag": function(
        lambda x: fn.embedding_bag(x.argsort(-1).view(1, 16), torch.linspace(-1, 1, 64).view(16, 4)), rows(16)
    ),
}


REFERENCES: dict[str, Callable[..., Any]] = {"bfloat16_cast": lambda x: torch.relu(x) * 2}
"""What a module computes in float32, where it computes in bfloat16: artifacts are held against that."""


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODULES[name][0]().eval()


def example(name: str) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    return MODULES[name][1]()
