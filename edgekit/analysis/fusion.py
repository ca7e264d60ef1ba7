"""Joins operators that a runtime runs as one: pads and clamps into convolutions, batch norms into what they follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from edgekit.analysis.graph import KernelClass, Operator

PADS: Final = frozenset({"pad", "constant_pad_nd", "Pad", "PAD", "PADV2"})
NORMS: Final = frozenset({"batch_norm", "_native_batch_norm_legit_no_training", "BatchNormalization"})
CLAMPS: Final = frozenset({
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min",
    "Relu", "Clip", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1",
})  # fmt: skip
"""Activations that every runtime here runs inside the operator before: they only bound the output's range."""

_WITH_PAD: Final[tuple[KernelClass, ...]] = ("dense_conv", "depthwise_conv", "pointwise_conv")
_WITH_NORM: Final[tuple[KernelClass, ...]] = ("dense_conv", "depthwise_conv", "pointwise_conv", "linear")
_WITH_CLAMP: Final[tuple[KernelClass, ...]] = (*_WITH_NORM, "elementwise", "normalization", "pooling")


def fuse(operators: Sequence[Operator], keep: Sequence[str]) -> tuple[Operator, ...]:
    """Returns the operators as a runtime will run them.

    Args:
        operators: In execution order.
        keep: Tensors that must stay visible: the model's outputs.
    """
    after_pads = _join(operators, keep, PADS, _WITH_PAD, forward=True)
    after_norms = _join(after_pads, keep, NORMS, _WITH_NORM, forward=False)
    return _join(after_norms, keep, CLAMPS, _WITH_CLAMP, forward=False)


def _join(
    operators: Sequence[Operator],
    keep: Sequence[str],
    types: frozenset[str],
    hosts: tuple[KernelClass, ...],
    *,
    forward: bool,
) -> tuple[Operator, ...]:
    """Joins operators of `types` into the host that reads them (`forward`) or into the one that they read."""
    current: dict[str, Operator] = {operator.name: operator for operator in operators}
    writer: dict[str, str] = {name: operator.name for operator in operators for name in operator.outputs}
    readers: dict[str, list[str]] = {}
    for operator in operators:
        for name in operator.inputs:
            readers.setdefault(name, []).append(operator.name)
    for name in [operator.name for operator in operators if operator.type in types]:
        guest = current[name]
        host_name = _only_reader(guest, readers, keep) if forward else _writer_alone(guest, writer, readers, keep)
        host = current.get(host_name) if host_name else None
        if host is None or host.kernel not in hosts:
            continue
        joined = _take_in(host, guest) if forward else _extend(host, guest)
        current[host.name] = joined
        del current[name]
        for output in joined.outputs:
            writer[output] = host.name
        if forward:
            readers[guest.inputs[0]] = [host.name if n == name else n for n in readers.get(guest.inputs[0], [])]
    return tuple(current[operator.name] for operator in operators if operator.name in current)


def _only_reader(guest: Operator, readers: Mapping[str, list[str]], keep: Sequence[str]) -> str | None:
    if len(guest.inputs) != 1 or len(guest.outputs) != 1 or guest.outputs[0] in keep:
        return None
    names = readers.get(guest.outputs[0], [])
    return names[0] if len(names) == 1 else None


def _writer_alone(
    guest: Operator, writer: Mapping[str, str], readers: Mapping[str, list[str]], keep: Sequence[str]
) -> str | None:
    """Returns who writes the guest's only input, if nobody else reads that."""
    if len(guest.inputs) != 1 or len(guest.outputs) != 1 or guest.inputs[0] in keep:
        return None
    return writer.get(guest.inputs[0]) if len(readers.get(guest.inputs[0], [])) == 1 else None


def _take_in(host: Operator, guest: Operator) -> Operator:
    """Returns the host with a guest that ran before it."""
    inputs = tuple(guest.inputs[0] if name == guest.outputs[0] else name for name in host.inputs)
    return replace(host, inputs=inputs, fused=(guest.type, *host.fused), weights=host.weights)


def _extend(host: Operator, guest: Operator) -> Operator:
    """Returns the host with a guest that ran after it."""
    outputs = tuple(guest.outputs[0] if name == guest.inputs[0] else name for name in host.outputs)
    # A clamp's bounds are arguments of the joined kernel and no longer tensors; a norm's weights stay to be counted.
    weights = host.weights if guest.type in CLAMPS else (*host.weights, *guest.weights)
    return replace(host, outputs=outputs, weights=weights, fused=(*host.fused, guest.type))
