"""Rounds weights onto the integer grid so that each layer's output, not each weight, is as near as can be.

The rounded weights are baked into the float model: every channel's weights lie on the grid scale * q, and its largest
one stays at 127 * scale. A symmetric quantizer that takes its scale from the largest weight, as those of all four
formats do, finds this very scale and these very integers. So the rounding is learned once.

Each layer is fitted by itself, in order, to the float model's output, reading inputs that carry the errors of the
layers before it. With x and x^ what a layer reads in the float and in the quantized model, both with their mean taken
away, the real weights that fit best are

    W* = W + W E[(x - x^) x^T] (E[x^ x^T] + lambda)^-1                                (least squares)

and the integers are those near W* in the metric E[x^ x^T] (`gptq`) or found by gradient descent (`adaround`). The bias
takes what is left of the mean: b' = b + W E[x] - Q E[x^].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.registry import DEFAULT_FORMAT
from edgekit.task.task import Task
from edgekit.techniques.base import Context, Data, Estimate, Technique, TorchModel
from edgekit.techniques.layer_walk import Layer, NewWeights

if TYPE_CHECKING:
    from edgekit.techniques.block_reconstruction import RoundedLayer

_WEIGHTED: Final = ("dense_conv", "pointwise_conv", "depthwise_conv", "linear")
_POSITIONS: Final = 8192  # of a layer's output that gradient descent looks at
_SWEEPS: Final = 4
_SECONDS_PER_MAC: Final = 4e-8  # two forward passes of 100 samples and the second moments, one core
_SECONDS_PER_STEP_AND_WEIGHT: Final[Mapping[str, float]] = {"depthwise_conv": 6e-7}
_SECONDS_PER_STEP_AND_OTHER_WEIGHT: Final = 4e-8
"""Gradient descent on the layers of EfficientNet-Lite0, one core; a depthwise channel has few weights a position."""

_SECONDS_PER_BATCH_MAC: Final = 2.5e-9
"""8 samples of a block forward, with rounding, and backward, one core."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundWeights(Technique):
    """Bakes learned rounding into the weights of convolutions and linear layers.

    Attributes:
        method: How the integers are found: column by column with error compensation, by gradient descent on a layer's
            output, on that of a block of layers (from what `gptq` finds, and with it biases and, where activations are
            integers, their steps), or each by itself (then only the weights' fit and the bias help).
        bits: Bits of a weight.
        group_size: Columns that share a scale at 4 bits; at 8 bits there is one scale per output channel.
        activations: What the layers read in the quantized model: "int8" grids with fixed ranges, "float", or "auto" for
            int8 in convolutional models only.
        iterations: Steps of gradient descent for each layer (`adaround`) or block (`blocks`).
        drop: Share of a block's input that is taken from the float model while learning, 0 to 1; `blocks` only.
    """

    name: ClassVar[str] = "round_weights"
    needs: ClassVar[Data] = "calibration"
    keeps_function: ClassVar[bool] = False

    method: Literal["gptq", "adaround", "blocks", "nearest"] = "gptq"
    bits: Literal[8, 4] = 8
    group_size: int = 0
    activations: Literal["auto", "int8", "float"] = "auto"
    iterations: int = 500
    drop: float = 0.0

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task
        if model.family == "rnn":
            return "it fits convolutions and linear layers, and nearly all weights of this model are recurrent"
        if self.bits == 4 and not self.group_size:
            return "4-bit weights share a scale in groups in every format; give group_size=32 as recipes have it"
        if self.group_size < 0 or self.iterations < 1:
            return f"group_size={self.group_size} and iterations={self.iterations}: expected at least 0 and at least 1"
        if not 0 <= self.drop <= 1:
            return f"drop={self.drop:g}; expected 0 to 1"
        if any(not options.get("per_channel", True) for options in profile.options.values()):
            return f"{profile.name} wants one scale for a whole tensor, and this bakes in a scale for each channel"
        return None

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns the time; size and cost stay."""
        step = sum(
            analysis.weights[name].count
            * _SECONDS_PER_STEP_AND_WEIGHT.get(operator.kernel, _SECONDS_PER_STEP_AND_OTHER_WEIGHT)
            for operator in analysis.operators
            if operator.kernel in _WEIGHTED
            for name in operator.weights
        )
        learning = {
            "adaround": self.iterations * step,
            "blocks": self.iterations * analysis.macs * _SECONDS_PER_BATCH_MAC,
        }
        return Estimate(
            parameters=analysis.parameters,
            macs=analysis.macs,
            seconds=analysis.macs * _SECONDS_PER_MAC + learning.get(self.method, 0.0),
            effect=f"{self.bits}-bit weights lose less: each layer's output is fitted, not each weight.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with rounded weights and corrected biases.

        Raises:
            TechniqueError: the model has no convolution or linear layer with constant weights.
        """
        from edgekit.techniques.block_reconstruction import reconstruct_blocks
        from edgekit.techniques.layer_walk import LayerWalk
        from edgekit.techniques.program_editing import open_graph, spread_rows, with_tensors

        graph = open_graph(model)
        integers = self.activations == "int8" or (self.activations == "auto" and model.facts.family in ("cnn", "mlp"))
        walk = LayerWalk(graph, rounds_activations=integers)
        if not walk.layers():
            raise TechniqueError(
                f"round_weights cannot be used on {model.facts.source}: it has no convolution and no linear layer with "
                "constant weights."
            )

        found: dict[str, RoundedLayer] = {}

        def learn(layer: Layer, share: float) -> NewWeights:
            context.progress(f"rounding {layer.name}", share)
            new, found[layer.name] = self._fit(layer, context.seed)
            return new

        limit = walk.sample_limit()
        changed = with_tensors(model, walk.run(spread_rows(model, context.calibration(), limit), learn))
        if self.method != "blocks":
            return changed
        return reconstruct_blocks(
            model,
            changed,
            found,
            context,
            integer_activations=DEFAULT_FORMAT if integers else None,
            iterations=self.iterations,
            drop=self.drop,
            sample_limit=limit,
        ).model

    def _fit(self, layer: Layer, seed: int) -> tuple[NewWeights, RoundedLayer]:
        """Returns a layer's weights on their grid, and how they came there."""
        from edgekit.techniques.adaround import learn_rounding
        from edgekit.techniques.block_reconstruction import RoundedLayer
        from edgekit.techniques.gptq import (
            INT4_HIGH,
            INT8_HIGH,
            best_shrink,
            descend,
            make_grid,
            nearest,
            round_columns,
        )
        from edgekit.techniques.layer_moments import Moments, reconstruction

        weight = layer.form.problems(layer.weight.double())
        width = weight.shape[2]
        group = self.group_size if self._is_narrow(layer) else width
        moments = Moments.of(layer)
        high = INT4_HIGH if self._is_narrow(layer) else INT8_HIGH
        importance = moments.hessian.diagonal(dim1=1, dim2=2)
        shrink = best_shrink(weight, importance, high, group) if high == INT4_HIGH else None
        grid = make_grid(weight, high, group, shrink)
        target = moments.best_fit(weight)
        integers = nearest(target, grid, weight)
        if self.method in ("gptq", "blocks"):
            integers = round_columns(target, moments.hessian, grid, weight)
            integers = descend(integers, target, moments.hessian, grid, _SWEEPS)
        elif self.method == "adaround":
            problem = reconstruction(layer, moments, target, _POSITIONS, seed)
            integers = learn_rounding(target, integers, grid, problem, self.iterations, seed)
        baked = integers * grid.scale
        new = NewWeights(
            weight=baked.reshape(layer.weight.shape).to(layer.weight.dtype),
            bias=moments.bias(layer, weight, baked),
        )
        return new, RoundedLayer(grid=grid, integers=integers, target=target)

    def _is_narrow(self, layer: Layer) -> bool:
        """Returns whether a layer gets 4-bit weights: in every format, linear layers whose width the groups divide."""
        return self.bits == 4 and layer.form.is_linear and layer.weight.shape[1] % self.group_size == 0
