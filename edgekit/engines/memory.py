"""Memory that a job is predicted to take, all its processes together: what an engine reserves for it.

A base for the tools that its processes import, and copies of the float model's weights and of what is computed with
them. Measured as peaks that the kernel saw: conversions of networks of 0.01 MB of weights took up to 0.43 GB, of 24 MB
(EfficientNet-Lite2, static INT8) up to 0.93 GB (`benchmarks/results/calibration_memory.md`): 21 times the weights.
"""

from __future__ import annotations

from typing import Final

from edgekit.model import CapturedModel

_BYTES_A_WEIGHT: Final = 4
_MAKING_BASE_BYTES: Final = 600_000_000
_RUNNING_BASE_BYTES: Final = 400_000_000
_MAKING_COPIES: Final = 24
_RUNNING_COPIES: Final = 6

CAPTURE_BYTES: Final = 1_000_000_000
"""Of a capture nothing is known before it."""


def making_bytes(model: CapturedModel) -> int:
    """Returns what the conversion of a model with its calibration and its first run takes, in bytes."""
    return _MAKING_BASE_BYTES + _MAKING_COPIES * _weights_bytes(model)


def judging_bytes(model: CapturedModel) -> int:
    """Returns what the judgement of an artifact takes that has been run before, in bytes."""
    return _RUNNING_BASE_BYTES + _RUNNING_COPIES * _weights_bytes(model)


def _weights_bytes(model: CapturedModel) -> int:
    return _BYTES_A_WEIGHT * model.parameters
