"""Networks on tables and for recommendation: packages' and self-written ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from zoo import Draw, Entry, rows

NUMBERS, SIZES = 8, (10, 5, 20)


def mixed(generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draws numbers (1, 8) and categories (1, 3)."""
    categories = [torch.randint(0, size, (1, 1), generator=generator) for size in SIZES]
    return torch.randn(1, NUMBERS, generator=generator), torch.cat(categories, 1)


def _tabnet() -> nn.Module:
    from pytorch_tabnet.tab_network import TabNet
    from zoo import Outputs

    made = TabNet(NUMBERS, 3, n_d=8, n_a=8, group_attention_matrix=torch.eye(NUMBERS))
    return Outputs(made, keep=lambda found: found[0])


def _ft_transformer() -> nn.Module:
    from rtdl_revisiting_models import FTTransformer

    made: nn.Module = FTTransformer(
        n_cont_features=NUMBERS,
        cat_cardinalities=list(SIZES),
        d_out=3,
        n_blocks=2,
        d_block=32,
        attention_n_heads=4,
        attention_dropout=0.0,
        ffn_d_hidden=48,
        ffn_d_hidden_multiplier=None,
        ffn_dropout=0.0,
        residual_dropout=0.0,
    )
    return made


def _resnet() -> nn.Module:
    from rtdl_revisiting_models import ResNet

    made: nn.Module = ResNet(
        d_in=NUMBERS, d_out=3, n_blocks=2, d_block=32, d_hidden=48, d_hidden_multiplier=None, dropout1=0.0, dropout2=0.0
    )
    return made


class Ranker(nn.Module):
    """DLRM (Naumov et al., 2019): embeddings, a bottom network, pairwise products, a top network."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in SIZES)
        self.bottom = nn.Sequential(nn.Linear(NUMBERS, 32), nn.ReLU(), nn.Linear(32, width), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(width + 6, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        dense = self.bottom(numbers)
        parts = [dense, *(table(categories[:, i]) for i, table in enumerate(self.tables))]
        stacked = torch.stack(parts, 1)
        products = torch.bmm(stacked, stacked.transpose(1, 2))
        places = torch.tril_indices(4, 4, -1)
        return torch.sigmoid(self.top(torch.cat((dense, products[:, places[0], places[1]]), 1)))


class FactorisationNet(nn.Module):
    """DeepFM (Guo et al., 2017)."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        total = sum(SIZES)
        self.register_buffer("starts", torch.tensor((0, *torch.tensor(SIZES).cumsum(0)[:-1].tolist())))
        self.linear, self.vectors = nn.Embedding(total, 1), nn.Embedding(total, width)
        self.deep = nn.Sequential(nn.Linear(3 * width + NUMBERS, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        places = categories + self.starts
        vectors = self.vectors(places)
        pairs = 0.5 * (vectors.sum(1) ** 2 - (vectors**2).sum(1)).sum(1, keepdim=True)
        deep = self.deep(torch.cat((vectors.flatten(1), numbers), 1))
        return torch.sigmoid(self.linear(places).sum(1) + pairs + deep)


class SelfNormalising(nn.Module):
    """SELU layers with features made of quantile bins (periodic and piecewise-linear ones)."""

    def __init__(self) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(NUMBERS, 4))
        self.net = nn.Sequential(nn.Linear(NUMBERS * 8, 48), nn.SELU(), nn.Linear(48, 48), nn.SELU(), nn.Linear(48, 2))

    def forward(self, x: Tensor) -> Tensor:
        angles = 2 * torch.pi * x.unsqueeze(-1) * self.frequencies
        made: Tensor = self.net(torch.cat((angles.sin(), angles.cos()), -1).flatten(1))
        return made


class SoftTrees(nn.Module):
    """NODE's oblivious trees (Popov et al., 2020), with a sigmoid for each split."""

    def __init__(self, trees: int = 8, depth: int = 3) -> None:
        super().__init__()
        self.choice = nn.Parameter(torch.randn(NUMBERS, trees * depth))
        self.threshold, self.leaves = (
            nn.Parameter(torch.randn(trees, depth)),
            nn.Parameter(torch.randn(trees, 2**depth, 3)),
        )
        self.depth = depth

    def forward(self, x: Tensor) -> Tensor:
        picked = (x @ torch.softmax(self.choice, 0)).view(x.shape[0], -1, self.depth)
        right = torch.sigmoid(picked - self.threshold)
        weights = torch.ones(x.shape[0], picked.shape[1], 1)
        for i in range(self.depth):
            side = torch.stack((1 - right[..., i], right[..., i]), -1)
            weights = (weights.unsqueeze(-1) * side.unsqueeze(-2)).flatten(2)
        return torch.einsum("ntl,tlc->nc", weights, self.leaves)


class Autoencoder(nn.Module):
    """Anomaly detection by what cannot be rebuilt: scores and the rebuilt row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(NUMBERS * 4, 24), nn.ReLU(), nn.Linear(24, 6))
        self.outer = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, NUMBERS * 4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        rebuilt = self.outer(self.inner(x))
        return {"score": fn.mse_loss(rebuilt, x, reduction="none").mean(1), "rebuilt": rebuilt}


numbers: Draw = rows((1, NUMBERS))
TABLE = {
    "tabnet": Entry(build=_tabnet, draw=numbers),
    "ft_transformer": Entry(build=_ft_transformer, draw=mixed),
    "tabular_resnet": Entry(build=_resnet, draw=numbers),
    "dlrm": Entry(build=Ranker, draw=mixed),
    "deepfm": Entry(build=FactorisationNet, draw=mixed),
    "periodic_selu": Entry(build=SelfNormalising, draw=numbers),
    "soft_trees": Entry(build=SoftTrees, draw=numbers),
    "autoencoder": Entry(build=Autoencoder, draw=rows((1, NUMBERS * 4))),
}
