"""How each format realises a precision: what its converter and its kernels do, as far as accuracy can tell.

A row of the table says in a few words what the converters' own files do at length; the tests compare simulated with
converted artifacts, so a row that no longer holds is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

from edgekit.quantization.pt2e_plan import Target


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Realisation:
    """What tells one format's arithmetic from another's.

    Attributes:
        fusion: Whose kernels decide which activations are fused (see `pt2e_plan`).
        corrects_bias: The mean shift of rounded weights is taken back from the bias (static precisions only).
        float_results: A linear layer that ends the model writes float.
        dynamic_convolutions: Which convolutions round their input at run time with `int8_dynamic`: `all`; `dense`,
            where depthwise ones stay float; `none`, where they compute in float with rounded weights.
        integer_recurrent: Recurrent layers have integer weights.
        weights_group: Columns of a linear layer that share a scale in `int8_weights`; None for output channels.
        dynamic_linear: Linear layers have integer kernels that round their input at run time; else they are float.
        float16_activations: Activations are rounded to 16-bit float with the precision `fp16`.
    """

    fusion: Target
    corrects_bias: bool
    float_results: bool
    dynamic_convolutions: Literal["all", "dense", "none"]
    integer_recurrent: bool
    weights_group: int | None
    dynamic_linear: bool
    float16_activations: bool


REALISATIONS: Final[Mapping[str, Realisation]] = {
    "tflite": Realisation(
        fusion="executorch",
        corrects_bias=True,
        float_results=False,
        dynamic_convolutions="all",
        integer_recurrent=True,
        weights_group=None,
        dynamic_linear=True,
        float16_activations=False,
    ),
    "onnx": Realisation(
        fusion="executorch",
        corrects_bias=True,
        float_results=True,
        dynamic_convolutions="none",
        integer_recurrent=True,
        weights_group=32,
        dynamic_linear=True,
        float16_activations=True,
    ),
    "executorch": Realisation(
        fusion="executorch",
        corrects_bias=True,
        float_results=False,
        dynamic_convolutions="dense",
        integer_recurrent=False,
        weights_group=None,
        dynamic_linear=True,
        float16_activations=True,
    ),
    "coreml": Realisation(
        fusion="coreml",
        corrects_bias=True,
        float_results=False,
        dynamic_convolutions="none",
        integer_recurrent=True,
        weights_group=None,
        dynamic_linear=False,
        float16_activations=True,
    ),
}
"""By format."""


def why_not_simulated(runtime: str, kind: str) -> str | None:
    """Returns why a captured model of `kind` cannot be simulated for a format, or None if it can."""
    if runtime not in REALISATIONS:
        return f"edgekit does not know how {runtime} rounds, so it cannot be simulated"
    if kind in ("pt2", "onnx"):
        return None
    return f"a {kind} file cannot be run layer by layer here; give the torch or ONNX model that it was made from"
