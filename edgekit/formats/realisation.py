"""How a format realises a precision: what its converter and its kernels do, as far as accuracy can tell.

A row says in a few words what a converter's own files do at length; the tests compare simulated with converted
artifacts, so a row that no longer holds is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

FusingKernels = Literal["xnnpack", "mil"]
"""Whose kernels decide which activations are fused: XNNPACK's (and those that fuse as it does), or Core ML's, which
come from its intermediate language (MIL)."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Realisation:
    """What tells one format's arithmetic from another's.

    Attributes:
        fusion: Whose kernels decide which activations are fused (see `quantization.pt2e_plan`).
        corrects_bias: The mean shift of rounded weights is taken back from the bias (static precisions only).
        float_results: A linear layer that ends the model writes float.
        dynamic_convolutions: Which convolutions round their input at run time with `int8_dynamic`: `all`; `dense`,
            where depthwise ones stay float; `none`, where they compute in float with rounded weights.
        integer_recurrent: Recurrent layers have integer weights.
        weights_group: Columns of a linear layer that share a scale in `int8_weights`; None for output channels.
        dynamic_linear: Linear layers have integer kernels that round their input at run time; else they are float.
        float16_activations: Activations are rounded to 16-bit float with the precision `fp16`.
    """

    fusion: FusingKernels
    corrects_bias: bool
    float_results: bool
    dynamic_convolutions: Literal["all", "dense", "none"]
    integer_recurrent: bool
    weights_group: int | None
    dynamic_linear: bool
    float16_activations: bool
