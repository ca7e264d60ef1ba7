"""The modules of the tiny models. Imports torch: only `tiny_models` imports this, and late."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Convolutions(nn.Module):  # type: ignore[misc]  # torch is Tensor to mypy
    """Every layer kind of a mobile CNN: ReLU6, ReLU, depthwise, a residual, pooling, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.project = nn.Conv2d(8, 6, 1)
        self.expand = nn.Conv2d(6, 12, 1)
        self.back = nn.Conv2d(12, 6, 1)
        self.last = nn.Conv2d(6, 16, 1)
        self.head = nn.Linear(16, 10)
        # Channels of very different range: what equalization is for.
        self.project.weight.data *= torch.logspace(-1.5, 1, 6)[:, None, None, None]

    def forward(self, image: Tensor) -> Tensor:
        """Returns class scores (N, 10) of an image (N, 3, H, W)."""
        x = self.project(nn.functional.relu6(self.depthwise(nn.functional.relu6(self.stem(image)))))
        x = x + self.back(torch.relu(self.expand(x)))
        return self.head(torch.relu(self.last(x)).mean((2, 3)))


class Attention(nn.Module):  # type: ignore[misc]  # torch is Tensor to mypy
    """A transformer's layer: embedding, layer norms with outlier channels, attention, GELU, a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm1, self.norm2 = nn.Embedding(50, 32), nn.LayerNorm(32), nn.LayerNorm(32)
        self.query, self.key, self.value, self.out = (nn.Linear(32, 32) for _ in range(4))
        self.inner, self.outer = nn.Linear(32, 64), nn.Linear(64, 32)
        self.norm1.weight.data[3] = 20.0

    def forward(self, ids: Tensor) -> Tensor:
        """Returns one vector (N, 32) of token ids (N, T)."""
        x = self.norm1(self.table(ids))
        scores = torch.softmax(self.query(x) @ self.key(x).transpose(-1, -2) / 32**0.5, -1)
        x = self.norm2(x + self.out(scores @ self.value(x)))
        return (x + self.outer(nn.functional.gelu(self.inner(x)))).mean(1)


class Heads(nn.Module):  # type: ignore[misc]  # torch is Tensor to mypy
    """Attention with four heads: products written out with a mask, or torch's own operator."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Returns (N, T, 16) of (N, T, 16) and what is added to the scores."""
        q, k, v = (layer(x).reshape(1, -1, 4, 4).transpose(1, 2) for layer in (self.query, self.key, self.value))
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.softmax(q @ k.transpose(-1, -2) / 2 + mask, -1) @ v
        return self.out(mixed.transpose(1, 2).reshape(1, -1, 16))


class Encoder(nn.Module):  # type: ignore[misc]  # torch is Tensor to mypy
    """Three layers of a transformer, normalized before or after each block."""

    def __init__(self, *, before: bool) -> None:
        super().__init__()
        self.before = before
        self.table, self.last = nn.Embedding(50, 16), nn.LayerNorm(16)
        self.attentions = nn.ModuleList(Heads(fused=before) for _ in range(3))
        self.inner, self.outer = (nn.ModuleList(nn.Linear(*size) for _ in range(3)) for size in ((16, 32), (32, 16)))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(6))

    def forward(self, ids: Tensor) -> Tensor:
        """Returns one vector (N, 16) of token ids (N, T)."""
        x, mask = self.table(ids), (ids == 0)[:, None, None, :] * -1e4
        for i in range(3):
            first, second = self.norms[2 * i : 2 * i + 2]
            if self.before:
                x = x + self.attentions[i](first(x), mask)
                x = x + self.outer[i](torch.relu(self.inner[i](second(x))))
            else:
                x = first(x + self.attentions[i](x, mask))
                x = second(x + self.outer[i](torch.relu(self.inner[i](x))))
        return self.last(x).mean(1)


class Recurrent(nn.Module):  # type: ignore[misc]  # torch is Tensor to mypy
    """Two layers of LSTM and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(10, 16, 2, batch_first=True), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Returns one vector (N, 8) of a sequence (N, T, 10)."""
        _, (hidden, _) = self.lstm(x)
        return self.head(hidden[-1])


class TwoInputs(nn.Module):  # type: ignore[misc]  # torch is Tensor to mypy
    """Two inputs that are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.join = nn.Linear(8, 16), nn.Linear(4, 16), nn.Linear(32, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Returns scores (N, 3) of (N, 8) and (N, 4)."""
        return self.join(torch.cat([torch.relu(self.left(left)), torch.relu(self.right(right))], 1))


class TwoOutputs(nn.Module):  # type: ignore[misc]  # torch is Tensor to mypy
    """A trunk with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns scores (N, 3) and probabilities (N, 2) of (N, 8)."""
        hidden = torch.relu(self.trunk(x))
        return self.first(hidden), torch.sigmoid(self.second(hidden))
