"""All operators that the importer knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgekit.sources.onnx_to_torch import (
    activations,
    arithmetic,
    convolutions,
    indexing,
    normalisation,
    pooling,
    recurrent,
    reductions,
    reshaping,
    resizing,
)
from edgekit.sources.onnx_to_torch.node import Builder

OPERATORS: Final[Mapping[str, Builder]] = {
    **activations.OPERATORS,
    **arithmetic.OPERATORS,
    **convolutions.OPERATORS,
    **indexing.OPERATORS,
    **normalisation.OPERATORS,
    **pooling.OPERATORS,
    **recurrent.OPERATORS,
    **reductions.OPERATORS,
    **reshaping.OPERATORS,
    **resizing.OPERATORS,
}
"""Operator type to builder."""
