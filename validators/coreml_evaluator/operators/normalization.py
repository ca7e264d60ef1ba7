"""Normalizations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel


def _batch_norm(call: Call) -> Tensor:
    return functional.batch_norm(
        call.tensor("x"),
        call.tensor("mean"),
        call.tensor("variance"),
        call.optional("gamma"),
        call.optional("beta"),
        training=False,
        eps=call.number("epsilon", 1e-5),
    )


def _instance_norm(call: Call) -> Tensor:
    x = call.tensor("x")
    axes = tuple(range(2, x.dim()))
    shape = [1, -1] + [1] * len(axes)
    centred = x - x.mean(axes, keepdim=True)
    result = centred / torch.sqrt(centred.square().mean(axes, keepdim=True) + call.number("epsilon", 1e-5))
    gamma, beta = call.optional("gamma"), call.optional("beta")
    if gamma is not None:
        result = result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


def _l2_norm(call: Call) -> Tensor:
    """Divides by the length over the last three dimensions."""
    x = call.tensor("x")
    squares = x.square().sum((-3, -2, -1), keepdim=True)
    return x / torch.sqrt(squares + call.number("epsilon", 1e-6))


def _layer_norm(call: Call) -> Tensor:
    x, epsilon = call.tensor("x"), call.number("epsilon", 1e-5)
    axes = sorted(axis % x.dim() for axis in call.integers("axes", range(x.dim())))
    gamma, beta = call.optional("gamma"), call.optional("beta")
    if axes == list(range(axes[0], x.dim())):
        return functional.layer_norm(x, x.shape[axes[0] :], gamma, beta, epsilon)
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    centred = x - x.mean(axes, keepdim=True)
    result = centred / torch.sqrt(centred.square().mean(axes, keepdim=True) + epsilon)
    if gamma is not None:
        result = result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


def _local_response_norm(call: Call) -> Tensor:
    return functional.local_response_norm(
        call.tensor("x"),
        call.integer("size", 1),
        call.number("alpha", 1e-4),
        call.number("beta", 0.75),
        call.number("k", 1.0),
    )


OPERATORS: dict[str, Kernel] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
    "local_response_norm": _local_response_norm,
}
"""By operator type."""
