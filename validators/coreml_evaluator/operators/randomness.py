"""Random operators.

The distributions are those documented; the values drawn are not those of a device, whose generator is not public.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel


def _generator(call: Call) -> torch.Generator:
    """A seed below zero (the default) asks for no particular sequence."""
    seed = call.integer("seed", -1)
    return call.machine.generator if seed < 0 else torch.Generator().manual_seed(seed)


def _bernoulli(call: Call) -> Tensor:
    chance = torch.full(call.integers("shape"), call.number("prob", 0.5))
    return torch.bernoulli(chance, generator=_generator(call))


def _categorical(call: Call) -> Tensor:
    x, count = call.tensor("x"), call.integer("size", 1)
    weights = torch.softmax(x, -1) if call.text("mode", "logits") == "logits" else x
    drawn = torch.multinomial(weights.reshape(-1, x.shape[-1]), count, True, generator=_generator(call))
    return drawn.reshape(*x.shape[:-1], count)


def _normal(call: Call) -> Tensor:
    standard = torch.randn(call.integers("shape"), generator=_generator(call))
    return standard * call.number("stddev", 1.0) + call.number("mean", 0.0)


def _uniform(call: Call) -> Tensor:
    low, high = call.number("low", 0.0), call.number("high", 1.0)
    return torch.rand(call.integers("shape"), generator=_generator(call)) * (high - low) + low


OPERATORS: dict[str, Kernel] = {
    "random_bernoulli": _bernoulli,
    "random_categorical": _categorical,
    "random_normal": _normal,
    "random_uniform": _uniform,
}
"""By operator type."""
