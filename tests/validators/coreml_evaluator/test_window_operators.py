"""Convolutions, pooling and normalizations of the Core ML evaluator against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

RNG = np.random.default_rng(3)


def normal(*shape):
    return RNG.normal(0, 1, shape).astype(np.float32)


LINE, IMAGE, VOLUME = normal(1, 4, 11), normal(2, 4, 9, 10), normal(1, 2, 5, 6, 7)
W1, W2, W3 = normal(6, 4, 3), normal(6, 2, 3, 4), normal(3, 2, 2, 3, 2)
BIAS = normal(6)
QUANTIZED = RNG.integers(0, 255, (6, 4, 3, 3)).astype(np.uint8)
T1, T2, T3 = normal(4, 5, 3), normal(4, 3, 3, 4), normal(2, 3, 2, 2, 3)
CHANNELS = {name: normal(4) for name in ("gamma", "beta", "mean")}
PLANE = normal(9, 10)
VARIANCE = np.abs(normal(4)) + 0.1


def t(array):
    return torch.from_numpy(np.asarray(array))


def same_padding(x, kernel, stride, *, lower):
    """TensorFlow's SAME padding, written out: ceil(size / stride) outputs."""
    pairs = []
    for size, width, step in zip(x.shape[2:], kernel, stride, strict=True):
        total = max(0, (-(-size // step) - 1) * step + width - size)
        pairs.append((total - total // 2, total // 2) if lower else (total // 2, total - total // 2))
    return functional.pad(t(x), [amount for pair in reversed(pairs) for amount in pair])


def strided(x, lower):
    return functional.conv2d(same_padding(x, (3, 4), (2, 3), lower=lower), t(W2), stride=(2, 3), groups=2).numpy()


def lrn(x):
    return functional.local_response_norm(t(x), 3, 0.1, 0.6, 1.5).numpy()


def normalized_over_channels(x):
    centred = x - x.mean(1, keepdims=True)
    scale = CHANNELS["gamma"][None, :, None, None]
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-3) * scale


def transposed_same(x):
    full = functional.conv_transpose2d(t(x), t(T2), stride=2)
    total = [full.shape[2] - 18, full.shape[3] - 20]
    return full[:, :, total[0] // 2 :, total[1] // 2 :][:, :, :18, :20].numpy()


CASES = {
    "conv-1d-custom": (
        "iOS15",
        {"x": LINE},
        lambda mb, x: mb.conv(x=x, weight=W1, bias=BIAS, pad_type="custom", pad=[2, 1], dilations=[2]),
        lambda x: functional.conv1d(functional.pad(t(x), (2, 1)), t(W1), t(BIAS), dilation=2).numpy(),
    ),
    "conv-2d-same": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.conv(x=x, weight=W2, strides=[2, 3], groups=2, pad_type="same"),
        lambda x: strided(x, lower=False),
    ),
    "conv-2d-same_lower": (
        "iOS16",
        {"x": IMAGE},
        lambda mb, x: mb.conv(x=x, weight=W2, strides=[2, 3], groups=2, pad_type="same_lower"),
        lambda x: strided(x, lower=True),
    ),
    "conv-3d-valid": (
        "iOS15",
        {"x": VOLUME},
        lambda mb, x: mb.conv(x=x, weight=W3, pad_type="valid"),
        lambda x: functional.conv3d(t(x), t(W3)).numpy(),
    ),
    "conv-weights-computed": (
        "iOS17",
        {"x": LINE, "w": W1},
        lambda mb, x, w: mb.conv(x=x, weight=w, pad_type="valid"),
        lambda x, w: functional.conv1d(t(x), t(w)).numpy(),
    ),
    "conv_quantized": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.conv_quantized(
            x=x, weight=QUANTIZED, quantization_type="linear", quant_scale=0.01, quant_bias=-1.2, pad_type="valid"
        ),
        lambda x: functional.conv2d(t(x), t(QUANTIZED.astype(np.float32) * np.float32(0.01) - np.float32(1.2))).numpy(),
    ),
    "conv_transpose-1d": (
        "iOS15",
        {"x": LINE},
        lambda mb, x: mb.conv_transpose(
            x=x, weight=T1, strides=[2], bias=BIAS[:5], pad_type="custom", pad=[1, 1], dilations=[2]
        ),
        lambda x: functional.conv_transpose1d(t(x), t(T1), t(BIAS[:5]), 2, 1, dilation=2).numpy(),
    ),
    "conv_transpose-same": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.conv_transpose(x=x, weight=T2, strides=[2, 2], pad_type="same"),
        transposed_same,
    ),
    "conv_transpose-output-shape": (
        "iOS15",
        {"x": LINE},
        lambda mb, x: mb.conv_transpose(
            x=x, weight=T1, bias=BIAS[:5], strides=[3], pad_type="custom", pad=[1, 0], output_shape=[1, 5, 33]
        ),
        lambda x: functional.conv_transpose1d(t(x), t(T1), t(BIAS[:5]), 3, 1, output_padding=2).numpy(),
    ),
    "conv_transpose-3d": (
        "iOS15",
        {"x": VOLUME},
        lambda mb, x: mb.conv_transpose(x=x, weight=T3, pad_type="valid"),
        lambda x: functional.conv_transpose3d(t(x), t(T3)).numpy(),
    ),
    "avg_pool": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: [
            mb.avg_pool(x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
            mb.avg_pool(
                x=x,
                kernel_sizes=[3, 2],
                strides=[2, 2],
                pad_type="custom",
                pad=[1, 1, 1, 1],
                exclude_padding_from_average=True,
            ),
            mb.avg_pool(x=x, kernel_sizes=[2, 3], strides=[2, 2], pad_type="valid", ceil_mode=True),
        ],
        lambda x: [
            functional.avg_pool2d(t(x), (3, 2), 2, (1, 1)).numpy(),
            functional.avg_pool2d(t(x), (3, 2), 2, (1, 1), count_include_pad=False).numpy(),
            functional.avg_pool2d(t(x), (2, 3), 2, ceil_mode=True).numpy(),
        ],
    ),
    "max_pool": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: [
            mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
            mb.max_pool(x=x, kernel_sizes=[2, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True),
        ],
        lambda x: [
            functional.max_pool2d(t(x), 3, 2, 1).numpy(),
            functional.max_pool2d(t(x), (2, 3), 2, 1, ceil_mode=True).numpy(),
        ],
    ),
    "max_pool-1d-3d": (
        "iOS15",
        {"x": LINE, "y": VOLUME},
        lambda mb, x, y: [
            mb.max_pool(x=x, kernel_sizes=[3], strides=[2], pad_type="valid"),
            mb.max_pool(x=y, kernel_sizes=[2, 3, 2], pad_type="valid"),
        ],
        lambda x, y: [functional.max_pool1d(t(x), 3, 2).numpy(), functional.max_pool3d(t(y), (2, 3, 2), 1).numpy()],
    ),
    "l2_pool": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.l2_pool(x=x, kernel_sizes=[2, 3], strides=[2, 1], pad_type="valid"),
        lambda x: functional.lp_pool2d(t(x), 2, (2, 3), (2, 1)).numpy(),
    ),
    "batch_norm": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.batch_norm(x=x, variance=VARIANCE, epsilon=1e-3, **CHANNELS),
        lambda x: functional.batch_norm(
            t(x), t(CHANNELS["mean"]), t(VARIANCE), t(CHANNELS["gamma"]), t(CHANNELS["beta"]), eps=1e-3
        ).numpy(),
    ),
    "instance_norm": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.instance_norm(x=x, gamma=CHANNELS["gamma"], beta=CHANNELS["beta"], epsilon=1e-3),
        lambda x: functional.instance_norm(
            t(x), weight=t(CHANNELS["gamma"]), bias=t(CHANNELS["beta"]), eps=1e-3
        ).numpy(),
    ),
    "l2_norm": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.l2_norm(x=x, epsilon=1e-3),
        lambda x: x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 1e-3),
    ),
    "layer_norm": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.layer_norm(x=x, axes=[2, -1], epsilon=1e-3, gamma=PLANE),
        lambda x: functional.layer_norm(t(x), (9, 10), t(PLANE), eps=1e-3).numpy(),
    ),
    "layer_norm-over-channels": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.layer_norm(x=x, axes=[1], epsilon=1e-3, gamma=CHANNELS["gamma"]),
        normalized_over_channels,
    ),
    "local_response_norm": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.local_response_norm(x=x, size=3, alpha=0.1, beta=0.6, k=1.5),
        lrn,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_window_operator_agrees_with_torch(name, run_case):
    run_case(name, CASES[name], tolerance=1e-4)
