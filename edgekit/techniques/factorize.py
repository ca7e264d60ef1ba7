"""Replaces linear layers and 1 x 1 convolutions by two thinner ones.

A weight of R outputs and K inputs has R K numbers and costs R K multiply-accumulates a position; a product of rank r
has r (R + K) of both. So a rank below R K / (R + K) makes file, download, memory and work smaller on any hardware.
Layers where no such rank loses little stay as they are. Which product is best, and how ranks are shared among layers,
is in `low_rank`; the second factor keeps the bias, which takes what is left of the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task
from edgekit.techniques.base import Context, Data, Estimate, Technique, TorchModel
from edgekit.techniques.layer_walk import Layer, LayerWalk, NewWeights

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from edgekit.techniques.layer_moments import Moments
    from edgekit.techniques.low_rank import Spectrum

_FACTORED: Final = ("pointwise_conv", "linear")
_LEAST_WIDTH: Final = 8  # thinner layers have nothing to give
_PROBES: Final = 8  # samples that tell how much a layer's error matters for the outputs
_SECONDS_PER_MAC: Final = 8e-8  # four forward passes of 100 samples, the second moments and the decompositions


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Factorize(Technique):
    """Replaces layers by products of low rank.

    Attributes:
        rank: How each layer's rank is found: `energy` keeps a share of what the layer puts out, `budget` gives every
            layer the same share of its weights, `sensitivity` shares one budget among the layers by how much each one's
            error changes the outputs.
        energy: Share of the output's energy to keep, for `energy`.
        keep: Share of the weights that may stay, for `budget` and `sensitivity`.
        whitens: The error is measured on what the layers read (calibration data), not on the weights alone.
    """

    name: ClassVar[str] = "factorize"
    needs: ClassVar[Data] = "calibration"
    keeps_function: ClassVar[bool] = False

    rank: Literal["energy", "budget", "sensitivity"] = "sensitivity"
    energy: float = 0.99
    keep: float = 0.7
    whitens: bool = True

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task, profile
        if model.family == "rnn":
            return "it factorizes convolutions and linear layers, and nearly all weights of this model are recurrent"
        for name, value in (("energy", self.energy), ("keep", self.keep)):
            if not 0 < value < 1:
                return f"{name}={value:g}; expected more than 0 and less than 1"
        return None

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns size and cost for a budget; for `energy`, which only the weights can tell, those of today."""
        chosen = [operator for operator in analysis.operators if operator.kernel in _FACTORED and operator.weights]
        weights = sum(analysis.weights[operator.weights[0]].count for operator in chosen)
        share = 0.0 if self.rank == "energy" else 1 - self.keep
        return Estimate(
            parameters=analysis.parameters - int(share * weights),
            macs=analysis.macs - int(share * sum(operator.macs for operator in chosen)),
            seconds=analysis.macs * _SECONDS_PER_MAC,
            effect="Linear layers and 1 x 1 convolutions become two thinner ones: smaller and faster on any hardware.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with factorized layers.

        Raises:
            TechniqueError: it has no layer of that kind, or no layer would shrink.
        """
        from edgekit.techniques.program_editing import capture_graph, open_graph, spread_rows

        graph = open_graph(model)
        walk = LayerWalk(graph, rounds_activations=False)
        names = [name for name, weight in walk.weights().items() if _fits(weight)]
        if not names:
            raise TechniqueError(
                f"factorize cannot be used on {model.facts.source}: it has no linear layer and no 1 x 1 convolution of "
                f"{_LEAST_WIDTH} or more inputs and outputs."
            )
        rows = list(spread_rows(model, context.calibration(), walk.sample_limit()))
        ranks = self._ranks(graph, walk, names, rows, context)
        if not ranks:
            raise TechniqueError(
                f"factorize changes nothing in {model.facts.source}: at {self._wanted()} every layer would grow. "
                "Ask for less, or leave it out."
            )
        made: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

        def learn(layer: Layer, share: float) -> NewWeights:
            context.progress(f"factorizing {layer.name}", share)
            if layer.name not in ranks:
                return NewWeights(weight=layer.weight, bias=layer.bias)
            made[layer.name] = _factored(layer, self._problem(layer), ranks[layer.name])
            left, right, bias = made[layer.name]
            return NewWeights(weight=(left @ right).reshape(layer.weight.shape).float(), bias=bias)

        walk.run(rows, learn)
        saved = sum(left.shape[0] * right.shape[1] - left.numel() - right.numel() for left, right, _ in made.values())
        _split(graph, made)
        changed = capture_graph(model, graph)
        return replace(changed, facts=replace(model.facts, parameters=model.facts.parameters - saved))

    def _wanted(self) -> str:
        return f"energy={self.energy:g}" if self.rank == "energy" else f"keep={self.keep:g}"

    def _ranks(
        self,
        graph: GraphModule,
        walk: LayerWalk,
        names: list[str],
        rows: Sequence[tuple[Tensor, ...]],
        context: Context,
    ) -> dict[str, int]:
        """Returns the rank of each layer that gets thinner."""
        from edgekit.techniques.low_rank import rank_by_energy, rank_by_share, share_ranks, spectrum

        spectra: dict[str, Spectrum] = {}
        probes: dict[str, Tensor] = {}

        def look(layer: Layer, share: float) -> NewWeights:
            context.progress(f"looking at {layer.name}", share)
            if layer.name in names and layer.form.groups == 1:
                problem = self._problem(layer)
                spectra[layer.name] = spectrum(*problem[:2])
                if self.rank == "sensitivity":
                    left, right, _ = _factored(layer, problem, _probe_rank(spectra[layer.name]))
                    probes[layer.name] = (left @ right).reshape(layer.weight.shape).float()
            return NewWeights(weight=layer.weight, bias=layer.bias)

        walk.run(rows, look)
        if not spectra:
            return {}
        if self.rank == "sensitivity":
            worth = _worth(graph, spectra, probes, rows[:: max(1, len(rows) // _PROBES)], context)
            found = share_ranks(spectra, worth, self.keep)
        elif self.rank == "energy":
            found = {name: rank_by_energy(item, self.energy) for name, item in spectra.items()}
        else:
            found = {name: rank_by_share(item, self.keep) for name, item in spectra.items()}
        return {name: rank for name, rank in found.items() if rank is not None}

    def _problem(self, layer: Layer) -> tuple[Tensor, Tensor, Moments]:
        """Returns the weight to come near to (R, K), the second moments to measure by (K, K), and the moments."""
        import torch

        from edgekit.techniques.layer_moments import Moments

        weight = layer.form.problems(layer.weight.double())
        moments = Moments.of(layer)
        if not self.whitens:
            return weight[0], torch.eye(weight.shape[2], dtype=torch.float64), moments
        return moments.best_fit(weight)[0], moments.hessian[0], moments


def _factored(layer: Layer, problem: tuple[Tensor, Tensor, Moments], rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a layer's factors (R, rank) and (rank, K) float64, and its bias (R,)."""
    from edgekit.techniques.low_rank import factors

    target, hessian, moments = problem
    left, right = factors(target, hessian, rank)
    weight = layer.form.problems(layer.weight.double())
    return left, right, moments.bias(layer, weight, (left @ right)[None])


def _fits(weight: Tensor) -> bool:
    return bool(weight[0, 0].numel() == 1 and min(weight.shape[:2]) >= _LEAST_WIDTH)


def _probe_rank(found: Spectrum) -> int:
    return max(1, int(found.largest_rank) // 2)


def _worth(
    graph: GraphModule,
    spectra: Mapping[str, Spectrum],
    probes: Mapping[str, Tensor],
    rows: Sequence[tuple[Tensor, ...]],
    context: Context,
) -> dict[str, float]:
    """Returns for each layer by how much the outputs' error would rise if all of its energy were lost.

    Measured with the layer's rank cut to the probe's and divided by what that loses, so it is exact there.
    """
    from edgekit.techniques.output_error import OutputError
    from edgekit.techniques.program_editing import set_tensor, tensor_of

    error = OutputError(graph, rows)
    found: dict[str, float] = {}
    for i, (name, weight) in enumerate(probes.items()):
        context.progress(f"measuring {name}", i / len(probes))
        before = tensor_of(graph, name).detach().clone()
        set_tensor(graph, name, weight)
        lost = spectra[name].lost(_probe_rank(spectra[name]))
        found[name] = max(1e-12, error.of(graph)) / max(1e-12, lost)
        set_tensor(graph, name, before)
    return found


def _split(graph: GraphModule, made: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> None:
    """Puts two layers in place of each one in `made`: name of its weight to (left, right, bias)."""
    from edgekit.techniques.program_editing import set_tensor, tensor_beside, tensor_of
    from edgekit.torch_program.graph_nodes import operator_name

    done: dict[str, str] = {}
    for node in list(graph.graph.nodes):
        if operator_name(node) not in ("linear", "conv1d", "conv2d") or str(node.args[1].target) not in made:
            continue
        name = str(node.args[1].target)
        left, right, bias = made[name]
        if name not in done:
            taps = tuple(tensor_of(graph, name).shape[2:])
            done[name] = tensor_beside(graph, name, "reduction", right.reshape(*right.shape, *taps).float())
            tensor_beside(graph, name, name.rpartition(".")[2], left.reshape(*left.shape, *taps).float())
            if len(node.args) > 2 and node.args[2] is not None:
                set_tensor(graph, str(node.args[2].target), bias)
        with graph.graph.inserting_before(node):
            reduction = graph.graph.get_attr(done[name])
            first = graph.graph.call_function(node.target, (node.args[0], reduction, None, *node.args[3:]))
        first.meta = {key: item for key, item in node.meta.items() if key == "nn_module_stack"}
        # The stride lies in the first layer; the second one has a kernel of one position and no stride.
        node.args = (first, node.args[1], *node.args[2:3])
