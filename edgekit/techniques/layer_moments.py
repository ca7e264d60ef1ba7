"""First and second moments of what a layer reads, in the float model and in the one that is being quantized.

A hundred photographs tell little about 1,152 channels at 49 positions: rounding that follows the measured second
moments of such a layer to the letter triples its error on other photographs. So they are shrunk towards a multiple of
the identity, by the share that minimises the expected error of the estimate (Ledoit & Wolf, "A well-conditioned
estimator for large-dimensional covariance matrices", 2004, theorem 1 and lemma 3.4). Positions of one sample resemble
each other, so the estimate's variance is taken over samples, not over positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.techniques.adaround import Reconstruction
from edgekit.techniques.layer_walk import Layer

if TYPE_CHECKING:
    from torch import Tensor

_LEAST_SHRINKAGE: Final = 0.01  # what Frantar et al. add to the diagonal before they invert it


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

    exact_mean: Tensor
    rounded_mean: Tensor
    hessian: Tensor
    drift: Tensor
    shrinkage: Tensor

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
        spread = torch.zeros(groups, dtype=torch.float64)
        count = 0
        for one, other in zip(layer.exact, layer.rounded, strict=True):
            x, y = layer.form.columns(one), layer.form.columns(other)
            own = (y @ y.transpose(1, 2)).double()
            square += own
            spread += own.square().sum(dim=(1, 2))
            cross += y @ (x - y).transpose(1, 2)
            exact += x.sum(dim=2)
            rounded += y.sum(dim=2)
            count += x.shape[2]
        kept = 0.0 if layer.bias_name is None else 1.0
        exact, rounded = exact * (kept / count), rounded * (kept / count)
        samples = len(layer.exact)
        mean = square / count
        # Variance of the mean over samples: (E |S_i|^2 - |S|^2) / N with S_i of one sample's positions.
        variance = (spread * samples / count**2 - mean.square().sum(dim=(1, 2))).clamp(min=0) / samples
        hessian = mean - rounded[:, :, None] * rounded[:, None, :]
        trace = hessian.diagonal(dim1=1, dim2=2).mean(dim=1)
        target = torch.diag_embed(trace[:, None].expand(groups, width))
        distance = (hessian - target).square().sum(dim=(1, 2)).clamp(min=1e-30)
        shrinkage = (variance / distance).clamp(_LEAST_SHRINKAGE, 1.0)
        share = shrinkage[:, None, None]
        return Moments(
            exact_mean=exact,
            rounded_mean=rounded,
            hessian=(1 - share) * hessian + share * target + 1e-12 * torch.eye(width, dtype=torch.float64),
            drift=(1 - share) * (cross / count - rounded[:, :, None] * (exact - rounded)[:, None, :]),
            shrinkage=shrinkage,
        )

    def best_fit(self, weight: Tensor) -> Tensor:
        """Returns real weights (G, R, K) whose outputs on x^ are nearest to those of `weight` on x, up to a mean."""
        import torch

        fit = torch.linalg.solve(self.hessian, self.drift @ weight.transpose(1, 2))
        return weight + fit.transpose(1, 2)

    def bias(self, layer: Layer, weight: Tensor, changed: Tensor) -> Tensor:
        """Returns the bias (outputs,) that keeps the mean of the outputs: b + W E[x] - W' E[x^]."""
        shift = weight @ self.exact_mean[:, :, None] - changed @ self.rounded_mean[:, :, None]
        return (layer.bias.double() + shift.reshape(-1)).to(layer.weight.dtype)


def reconstruction(layer: Layer, moments: Moments, target: Tensor, positions: int, seed: int) -> Reconstruction:
    """Returns what a layer must reproduce at some positions, chosen at random and spread over all samples.

    Args:
        layer: The layer.
        moments: Moments of what it reads.
        target: (G, R, K) float64: its weights where the samples tell nothing.
        positions: How many.
        seed: Random seed of the choice.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    each = -(-positions // len(layer.exact))
    columns: list[Tensor] = []
    outputs: list[Tensor] = []
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
        anchor=target.float(),
        share=moments.shrinkage[:, None].float(),
        ridge=moments.hessian.diagonal(dim1=1, dim2=2).mean(dim=1, keepdim=True).float(),
    )
