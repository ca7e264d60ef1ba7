"""Core ML: float weights with zeros or with few values are stored as such, without a change to what they are.

constexpr_sparse_to_dense   one bit a weight for where it is not zero, and the weights that are not
constexpr_lut_to_dense      a table of values, and for each weight its place there

Techniques leave such weights behind (`sparsify`, `share_weights`); nothing is rounded here. Integer weights with zeros
are stored by their places too, which iOS 18 reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from edgekit.quantization.tables import LEAST_WEIGHTS

if TYPE_CHECKING:
    from coremltools.models import MLModel
    from torch import Tensor

LEAST_ZEROS: Final = 0.25
"""A bit for each weight pays from an eighth of zeros on at 8 bits; no layer has so many by chance."""


def has_zeros(weight: Tensor) -> bool:
    """Returns whether a weight (a torch tensor) has so many zeros that their places are stored."""
    if weight.numel() < LEAST_WEIGHTS or not weight.is_floating_point():
        return False
    return float((weight == 0).double().mean()) >= LEAST_ZEROS


def store_tables(model: MLModel) -> MLModel:
    """Returns a coremltools model whose float weights of few values are tables and places."""
    from coremltools.optimize import coreml as cto

    setting = cto.OpPalettizerConfig(mode="unique", weight_threshold=LEAST_WEIGHTS)
    return cast("MLModel", cto.palettize_weights(model, cto.OptimizationConfig(global_config=setting)))


def store_zeros(model: MLModel, *, integers: bool) -> MLModel:
    """Returns a coremltools model whose weights with many zeros are stored without them.

    Args:
        model: The model.
        integers: It has integer weights; it must have been made for iOS 18 or later then.
    """
    from coremltools.optimize import coreml as cto

    # A threshold under float16's least number: only what is zero counts as zero.
    setting = cto.OpThresholdPrunerConfig(
        threshold=1e-12, minimum_sparsity_percentile=LEAST_ZEROS, weight_threshold=LEAST_WEIGHTS
    )
    config = cto.OptimizationConfig(global_config=setting)
    return cast("MLModel", cto.prune_weights(model, config, joint_compression=integers))
