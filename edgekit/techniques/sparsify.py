"""Sets small weights to zero, and fits those that stay to the layer's output.

Zeros on dense hardware buy a smaller download and nothing else: the file, the memory and the latency stay, because
every kernel multiplies by zero as by anything else. What gains more: Core ML packages, which store the positions of the
weights that are not zero (`constexpr_sparse_to_dense`), and the sparse tensor cores of NVIDIA's Ampere and later that
skip 2 of 4 where each 4 input channels have 2 zeros (Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021).

Which weights go: those of the smallest magnitude, in each layer or in the whole model (Han et al., "Learning both
Weights and Connections for Efficient Neural Networks", 2015), or those whose magnitude times the root mean square of
their input is smallest among the weights of one output (Sun et al., "A Simple and Effective Pruning Approach for Large
Language Models", 2023, eq. 1). `random` is the control. What stays is fitted by least squares to the float layer's
output on calibration data, with inputs that carry the errors of the layers before: the problem that Frantar & Alistarh,
"SparseGPT", 2023, eq. 2, solve column by column is solved exactly here, as layers for devices are small enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task
from edgekit.techniques.base import Context, Data, Estimate, Technique, TorchModel
from edgekit.techniques.layer_walk import Layer, NewWeights

if TYPE_CHECKING:
    from torch import Tensor

_SECONDS_PER_MAC: Final = 4e-8  # two forward passes of 100 samples and the second moments, one core
_LEAST_INPUTS: Final = 4  # a layer that reads fewer channels (depthwise, the first one) is small and loses much
_SPARSE_TENSOR_CORES: Final = ("Ampere", "Ada", "Hopper", "Blackwell")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sparsify(Technique):
    """Sets weights of convolutions and linear layers to zero. Depthwise ones and embedding tables stay as they are.

    Attributes:
        sparsity: Share of a layer's weights (with `global`: of all layers') that become zero.
        method: Which weights go: the smallest of each layer, the smallest of all layers together, those that matter
            least for what the layer reads, or any.
        block: N:M: every so many input channels lose the same number of weights, 4 for sparse tensor cores; 0 for none.
        refits: The weights that stay are fitted to the float layer's output.
    """

    name: ClassVar[str] = "sparsify"
    needs: ClassVar[Data] = "calibration"
    keeps_function: ClassVar[bool] = False

    sparsity: float = 0.5
    method: Literal["layer", "global", "activations", "random"] = "activations"
    block: int = 0
    refits: bool = True

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task
        if model.family == "rnn":
            return "it changes convolutions and linear layers, and nearly all weights of this model are recurrent"
        if not 0 < self.sparsity < 1:
            return f"sparsity={self.sparsity:g}; expected more than 0 and less than 1"
        if not self.block:
            return None
        if self.method == "global":
            return f"block={self.block} takes the same share of every block, and method=global does not"
        dropped = self.sparsity * self.block
        if self.block < 2 or not dropped.is_integer():
            return (
                f"block={self.block} cannot lose sparsity={self.sparsity:g} of its weights; 2:4 is sparsity=0.5,block=4"
            )
        if not any(word in (profile.hardware.gpu or "") for word in _SPARSE_TENSOR_CORES):
            return (
                f"{profile.title} has no sparse tensor cores, so a pattern of blocks gains nothing there; block=0 "
                "loses less and makes the download as small"
            )
        return None

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns the time; the number of stored weights and the cost stay."""
        return Estimate(
            parameters=analysis.parameters,
            macs=analysis.macs,
            seconds=analysis.macs * _SECONDS_PER_MAC,
            effect=f"{self.sparsity:.0%} zeros: a smaller download; on dense hardware file, memory and latency stay.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with zeros.

        Raises:
            TechniqueError: no layer is large enough, or the block divides no layer's input channels.
        """
        from edgekit.techniques.layer_walk import LayerWalk
        from edgekit.techniques.program_editing import open_graph, spread_rows, with_tensors

        walk = LayerWalk(open_graph(model), rounds_activations=False)
        weights = {name: weight for name, weight in walk.weights().items() if self._fits(weight)}
        if not weights:
            wanted = f"a multiple of block={self.block}" if self.block else f"{_LEAST_INPUTS} or more"
            raise TechniqueError(
                f"sparsify cannot be used on {model.facts.source}: it has no convolution and no linear layer that "
                f"reads {wanted} channels."
            )
        masks = self._masks(weights, context.seed)

        def learn(layer: Layer, share: float) -> NewWeights:
            context.progress(f"sparsifying {layer.name}", share)
            if layer.name not in weights:
                return NewWeights(weight=layer.weight, bias=layer.bias)
            return self._fit(layer, masks.get(layer.name))

        rows = spread_rows(model, context.calibration(), walk.sample_limit())
        return with_tensors(model, walk.run(rows, learn))

    def _fits(self, weight: Tensor) -> bool:
        inputs = int(weight.shape[1])
        return inputs % self.block == 0 if self.block else inputs >= _LEAST_INPUTS

    def _masks(self, weights: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Returns which weights stay, by name, as far as that does not depend on what the layers read."""
        import torch

        from edgekit.techniques.sparse_masks import largest

        if self.method == "activations":
            return {}
        generator = torch.Generator().manual_seed(seed)
        scores = {
            name: torch.rand(weight.shape, generator=generator) if self.method == "random" else weight.abs()
            for name, weight in weights.items()
        }
        if self.method == "global":
            whole = largest(torch.cat([score.flatten() for score in scores.values()]), self.sparsity)
            parts = whole.split([score.numel() for score in scores.values()])
            return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}
        return {name: self._blocked(score[None].flatten(2), weights[name]) for name, score in scores.items()}

    def _blocked(self, scores: Tensor, weight: Tensor) -> Tensor:
        """Returns the mask for scores (G, R, K), by blocks where there are some, else over the whole layer."""
        from edgekit.techniques.sparse_masks import largest, largest_of_block

        if not self.block:
            return largest(scores, self.sparsity)
        kept = self.block - round(self.sparsity * self.block)
        return largest_of_block(scores, kept, self.block, weight[0, 0].numel())

    def _fit(self, layer: Layer, mask: Tensor | None) -> NewWeights:
        """Returns a layer's weights with zeros; `mask` is None where what the layer reads decides."""
        from edgekit.techniques.layer_moments import Moments
        from edgekit.techniques.sparse_masks import largest_of_row, refit

        weight = layer.form.problems(layer.weight.double())
        moments = Moments.of(layer)
        if mask is None:
            spread = moments.hessian.diagonal(dim1=1, dim2=2) + moments.rounded_mean.square()
            scores = weight.abs() * spread.sqrt()[:, None, :]
            mask = self._blocked(scores, layer.weight) if self.block else largest_of_row(scores, self.sparsity)
        mask = mask.reshape(weight.shape)
        if not self.refits:
            return NewWeights(weight=(weight * mask).reshape(layer.weight.shape).float(), bias=layer.bias)
        found = refit(moments.best_fit(weight), mask, moments.hessian)
        return NewWeights(weight=found.reshape(layer.weight.shape).float(), bias=moments.bias(layer, weight, found))
