"""First and second moments of what a layer reads, in the float model and in the one that is being quantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.techniques.adaround import Reconstruction
from edgekit.techniques.layer_walk import Layer

_RIDGE: Final = 0.01  # of the mean diagonal: how much the least-squares fit trusts the float weights


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Moments of a layer's columns over all samples and positions.

    Attributes:
        exact_mean: E[x], (G, K) float64.
        rounded_mean: E[x^], (G, K) float64.
        hessian: Cov[x^], (G, K, K) float64.
        drift: Cov[x^, x - x^], (G, K, K) float64.
    """

    exact_mean: Any
    rounded_mean: Any
    hessian: Any
    drift: Any

    @staticmethod
    def of(layer: Layer) -> Moments:
        """Returns the moments of what a layer reads."""
        import torch

        groups = layer.form.groups
        width = layer.weight[0].numel()
        exact, rounded = (
            torch.zeros(groups, width, dtype=torch.float64),
            torch.zeros(groups, width, dtype=torch.float64),
        )
        square = torch.zeros(groups, width, width, dtype=torch.float64)
        cross = torch.zeros_like(square)
        count = 0
        for one, other in zip(layer.exact, layer.rounded, strict=True):
            x, y = layer.form.columns(one), layer.form.columns(other)
            square += y @ y.transpose(1, 2)
            cross += y @ (x - y).transpose(1, 2)
            exact += x.sum(dim=2)
            rounded += y.sum(dim=2)
            count += x.shape[2]
        kept = 0.0 if layer.bias_name is None else 1.0
        exact, rounded = exact * (kept / count), rounded * (kept / count)
        return Moments(
            exact_mean=exact,
            rounded_mean=rounded,
            hessian=square / count - rounded[:, :, None] * rounded[:, None, :],
            drift=cross / count - rounded[:, :, None] * (exact - rounded)[:, None, :],
        )

    def best_fit(self, weight: Any) -> Any:
        """Returns the real weights (G, R, K) whose outputs on x^ are nearest to those of `weight` on x, up to a mean."""
        import torch

        diagonal = self.hessian.diagonal(dim1=1, dim2=2)
        ridge = _RIDGE * diagonal.mean(dim=1, keepdim=True) + 1e-12
        damped = self.hessian + torch.diag_embed(ridge.expand_as(diagonal))
        return weight + torch.linalg.solve(damped, self.drift @ weight.transpose(1, 2)).transpose(1, 2)


def reconstruction(layer: Layer, moments: Moments, positions: int, seed: int) -> Reconstruction:
    """Returns what a layer shall reproduce at some positions, chosen at random and spread over all samples."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    each = -(-positions // len(layer.exact))
    columns: list[Any] = []
    outputs: list[Any] = []
    weight = layer.form.problems(layer.weight)
    bias = layer.bias.reshape(weight.shape[:2])
    for one, other in zip(layer.exact, layer.rounded, strict=True):
        x, y = layer.form.columns(one), layer.form.columns(other)
        chosen = torch.randperm(x.shape[2], generator=generator)[:each]
        columns.append(y[:, :, chosen])
        outputs.append(weight @ x[:, :, chosen] + bias[:, :, None])
    # The bias that the layer will have if the rounded weights keep the mean; it is set anew afterwards.
    shift = weight.double() @ (moments.exact_mean - moments.rounded_mean)[:, :, None]
    return Reconstruction(
        columns=torch.cat(columns, dim=2),
        outputs=torch.cat(outputs, dim=2),
        bias=(bias.double() + shift[:, :, 0]).float(),
        clamp=layer.clamp,
    )
