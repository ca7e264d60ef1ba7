"""Activations of the Core ML evaluator against torch and written-out formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

X = np.random.default_rng(1).normal(0, 3, (2, 3, 4, 5)).astype(np.float32)
ALPHA = np.array([0.1, 0.5, -0.2], np.float32)
BETA = np.array([1.0, 0.5, 2.0], np.float32)


def by_torch(function):
    """A reference of torch on the one input."""
    return lambda x: function(torch.from_numpy(x)).numpy()


CASES = {
    "clamped_relu": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.clamped_relu(x=x, alpha=0.3, beta=1.5),
        lambda x: np.where(x >= 0, np.minimum(x, 1.5), np.minimum(0.3 * x, 1.5)),
    ),
    "elu": ("iOS15", {"x": X}, lambda mb, x: mb.elu(x=x, alpha=0.7), by_torch(lambda x: functional.elu(x, 0.7))),
    "gelu-exact": ("iOS15", {"x": X}, lambda mb, x: mb.gelu(x=x), by_torch(functional.gelu)),
    "gelu-tanh": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        by_torch(lambda x: functional.gelu(x, approximate="tanh")),
    ),
    "gelu-sigmoid": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"),
        lambda x: x / (1 + np.exp(-1.702 * x)),
    ),
    "leaky_relu": (
        "iOS17",
        {"x": X},
        lambda mb, x: mb.leaky_relu(x=x, alpha=0.2),
        by_torch(lambda x: functional.leaky_relu(x, 0.2)),
    ),
    "linear_activation": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.linear_activation(x=x, alpha=2.0, beta=-0.5),
        lambda x: 2 * x - 0.5,
    ),
    "prelu": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.prelu(x=x, alpha=ALPHA),
        by_torch(lambda x: functional.prelu(x, torch.from_numpy(ALPHA))),
    ),
    "relu": ("iOS15", {"x": X}, lambda mb, x: mb.relu(x=x), by_torch(functional.relu)),
    "relu6": ("iOS15", {"x": 3 * X}, lambda mb, x: mb.relu6(x=x), by_torch(functional.relu6)),
    "scaled_tanh": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.scaled_tanh(x=x, alpha=1.7, beta=0.6),
        lambda x: 1.7 * np.tanh(0.6 * x),
    ),
    "sigmoid": ("iOS15", {"x": X}, lambda mb, x: mb.sigmoid(x=x), by_torch(torch.sigmoid)),
    "sigmoid_hard": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.sigmoid_hard(x=x, alpha=0.3, beta=0.4),
        lambda x: np.clip(0.3 * x + 0.4, 0, 1),
    ),
    "silu": ("iOS15", {"x": X}, lambda mb, x: mb.silu(x=x), by_torch(functional.silu)),
    "softmax": (
        "iOS15",
        {"x": X},
        lambda mb, x: [mb.softmax(x=x), mb.softmax(x=x, axis=1)],
        lambda x: [torch.softmax(torch.from_numpy(x), axis).numpy() for axis in (-1, 1)],
    ),
    "softplus": ("iOS15", {"x": X}, lambda mb, x: mb.softplus(x=x), by_torch(functional.softplus)),
    "softplus_parametric": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.softplus_parametric(x=x, alpha=ALPHA, beta=BETA),
        lambda x: ALPHA[:, None, None] * np.log1p(np.exp(x * BETA[:, None, None])),
    ),
    "softsign": ("iOS15", {"x": X}, lambda mb, x: mb.softsign(x=x), by_torch(functional.softsign)),
    "thresholded_relu": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.thresholded_relu(x=x, alpha=0.8),
        lambda x: np.where(x >= 0.8, x, 0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_activation_agrees_with_its_reference(name, run_case):
    run_case(name, CASES[name])
