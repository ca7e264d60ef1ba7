"""Lets all weights of a layer take one of a few values, a codebook.

A layer with 16 values needs 4 bits for each weight. Core ML stores such layers as they are: positions in a lookup table
(`constexpr_lut_to_dense`), which is what its tools call palettization. In other formats the file stays and the download
shrinks, as deflate finds the few values: with zeros before it, this is Han et al., "Deep Compression: Compressing Deep
Neural Networks with Pruning, Trained Quantization and Huffman Coding", 2016.

The values are those with the least squared error, each weight's error weighted by what it costs at the layer's output
(`codebook`); which one a weight takes is chosen column by column, each column's error made up for by the columns that
follow (Frantar et al., "GPTQ", 2022, algorithm 1, which takes any set of values).
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

LEAST_WEIGHTS: Final = 2048
"""Smaller layers stay: coremltools stores no table for them by default, and they hardly count."""

_ZEROS: Final = 0.05  # share of zeros from which on they are meant: pruned weights stay 0
_SECONDS_PER_MAC: Final = 4e-8
_SECONDS_PER_WEIGHT: Final = 5e-6


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ShareWeights(Technique):
    """Gives the weights of each convolution and linear layer one of 2^bits values. Embedding tables stay.

    Attributes:
        bits: Bits of a position in the table of values.
        compensates: Each column's error is made up for by the columns that follow; else every weight takes the nearest
            value.
    """

    name: ClassVar[str] = "share_weights"
    needs: ClassVar[Data] = "calibration"
    keeps_function: ClassVar[bool] = False

    bits: Literal[8, 6, 4, 3, 2] = 4
    compensates: bool = True

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task, profile
        if model.family == "rnn":
            return "it changes convolutions and linear layers, and nearly all weights of this model are recurrent"
        return None

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns the time; the number of weights and the cost stay."""
        return Estimate(
            parameters=analysis.parameters,
            macs=analysis.macs,
            seconds=analysis.macs * _SECONDS_PER_MAC + analysis.parameters * _SECONDS_PER_WEIGHT,
            effect=f"{self.bits} bits a weight in Core ML packages and in every format's download.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with shared weights.

        Raises:
            TechniqueError: no layer is large enough.
        """
        from edgekit.techniques.layer_walk import LayerWalk
        from edgekit.techniques.program_editing import open_graph, spread_rows, with_tensors

        walk = LayerWalk(open_graph(model), rounds_activations=False)
        names = {name for name, weight in walk.weights().items() if weight.numel() >= LEAST_WEIGHTS}
        if not names:
            raise TechniqueError(
                f"share_weights cannot be used on {model.facts.source}: it has no convolution and no linear layer with "
                f"{LEAST_WEIGHTS:,} weights or more."
            )

        def learn(layer: Layer, share: float) -> NewWeights:
            context.progress(f"sharing the weights of {layer.name}", share)
            if layer.name not in names:
                return NewWeights(weight=layer.weight, bias=layer.bias)
            return self._fit(layer)

        rows = spread_rows(model, context.calibration(), walk.sample_limit())
        return with_tensors(model, walk.run(rows, learn))

    def _fit(self, layer: Layer) -> NewWeights:
        """Returns a layer's weights, each one of the layer's values."""
        import torch

        from edgekit.techniques.codebook import learn_codebook, nearest_value
        from edgekit.techniques.gptq import choose_columns
        from edgekit.techniques.layer_moments import Moments
        from edgekit.techniques.sparse_masks import refit

        weight, moments = layer.form.problems(layer.weight.double()), Moments.of(layer)
        kept = weight != 0
        pruned = float((~kept).double().mean()) >= _ZEROS
        target = moments.best_fit(weight)
        if pruned:
            target = refit(target, kept, moments.hessian)
        importance = moments.hessian.diagonal(dim1=1, dim2=2)[:, None, :].expand_as(weight)
        book = learn_codebook(target.flatten(), importance.flatten(), 1 << self.bits, holds_zero=pruned)
        # Values as the model stores them, so that equal ones stay equal.
        book = book.float().double()

        def choose(column: Tensor, places: Tensor) -> Tensor:
            chosen = nearest_value(column, book)
            if not pruned:
                return chosen
            here = kept.gather(2, places[:, None, None].expand(-1, kept.shape[1], 1))[:, :, 0]
            return torch.where(here, chosen, torch.zeros_like(chosen))

        if self.compensates:
            found = choose_columns(target, moments.hessian, choose)
        else:
            found = nearest_value(target, book) * (kept if pruned else 1)
        return NewWeights(weight=found.reshape(layer.weight.shape).float(), bias=moments.bias(layer, weight, found))
