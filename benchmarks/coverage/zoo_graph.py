"""Networks on graphs and point clouds: torch_geometric's (MIT) and self-written ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from zoo import Draw, Entry, rows

NODES, EDGES, FEATURES = 24, 60, 16


def graph(*, weights: bool = False) -> Draw:
    """Draws features of nodes (24, 16) and edges (2, 60)."""

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        features = torch.randn(NODES, FEATURES, generator=generator)
        edges = torch.randint(0, NODES, (2, EDGES), generator=generator)
        return (features, edges, torch.rand(EDGES, generator=generator)) if weights else (features, edges)

    return draw


class Layers(nn.Module):
    """Two message-passing layers and a mean over the graph."""

    def __init__(self, first: nn.Module, second: nn.Module, width: int) -> None:
        super().__init__()
        self.first, self.second, self.head = first, second, nn.Linear(width, 5)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        x = self.second(fn.relu(self.first(features, edges)), edges)
        made: Tensor = self.head(fn.relu(x).mean(0, keepdim=True))
        return made


def _geometric(name: str, **more: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import stubs  # noqa: F401  before torchvision
        from torch_geometric import nn as layers

        kind = getattr(layers, name)
        if name == "GINConv":
            first, second = (
                kind(nn.Sequential(nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 32))) for size in (FEATURES, 32)
            )
            return Layers(first, second, 32)
        return Layers(kind(FEATURES, 32, **more), kind(32, 32, **more), 32)

    return build


class DenseGraphNet(nn.Module):
    """GCN (Kipf & Welling, 2017) with a dense adjacency matrix, normalised inside."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 7)

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:
        whole = (adjacency > 0).float() + torch.eye(adjacency.shape[-1])
        scale = whole.sum(-1).rsqrt()
        whole = scale.unsqueeze(-1) * whole * scale.unsqueeze(-2)
        made: Tensor = whole @ self.second(fn.relu(whole @ self.first(features)))
        return made


class MessageNet(nn.Module):
    """Messages by gather and index_add, no package."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.update, self.head = nn.Linear(33, 24), nn.GRUCell(24, 16), nn.Linear(16, 3)

    def forward(self, features: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        for _ in range(2):
            parts = (features[edges[0]], features[edges[1]], weights.unsqueeze(-1))
            messages = fn.relu(self.message(torch.cat(parts, -1)))
            total = torch.zeros(features.shape[0], 24).index_add(0, edges[1], messages)
            features = self.update(total, features)
        made: Tensor = self.head(features)
        return made


class PointNet(nn.Module):
    """PointNet (Qi et al., 2017) with its learned alignment."""

    def __init__(self) -> None:
        super().__init__()
        self.align = nn.Sequential(nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU())
        self.turn = nn.Linear(16, 9)
        self.net = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 64, 1))
        self.head = nn.Linear(64, 10)

    def forward(self, points: Tensor) -> Tensor:
        turn = self.turn(self.align(points).amax(2)).view(-1, 3, 3) + torch.eye(3)
        points = (points.transpose(1, 2) @ turn).transpose(1, 2)
        made: Tensor = self.head(self.net(points).amax(2))
        return made


class NeighbourNet(nn.Module):
    """DGCNN's edge convolution (Wang et al., 2019): nearest neighbours found inside."""

    def __init__(self, neighbours: int = 6) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.edge = nn.Sequential(nn.Conv2d(6, 32, 1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.2))
        self.head = nn.Linear(32, 10)

    def forward(self, points: Tensor) -> Tensor:
        batch, _, count = points.shape
        inner = -2 * points.transpose(2, 1) @ points
        square = (points**2).sum(1, keepdim=True)
        near = (-square - inner - square.transpose(2, 1)).topk(self.neighbours, -1)[1]
        flat = (near + torch.arange(batch).view(-1, 1, 1) * count).view(-1)
        rows_ = points.transpose(2, 1).reshape(batch * count, 3)[flat].view(batch, count, self.neighbours, 3)
        own = points.transpose(2, 1).unsqueeze(2).expand_as(rows_)
        x = self.edge(torch.cat((rows_ - own, own), 3).permute(0, 3, 1, 2))
        made: Tensor = self.head(x.amax(-1).amax(-1))
        return made


TABLE = {
    "gcn": Entry(build=_geometric("GCNConv"), draw=graph()),
    "gat": Entry(build=_geometric("GATConv"), draw=graph()),
    "sage": Entry(build=_geometric("SAGEConv"), draw=graph()),
    "gin": Entry(build=_geometric("GINConv"), draw=graph()),
    "dense_gcn": Entry(build=DenseGraphNet, draw=rows((1, 20, 16), (1, 20, 20))),
    "message_net": Entry(build=MessageNet, draw=graph(weights=True)),
    "pointnet": Entry(build=PointNet, draw=rows((1, 3, 64))),
    "dgcnn": Entry(build=NeighbourNet, draw=rows((1, 3, 64))),
}
