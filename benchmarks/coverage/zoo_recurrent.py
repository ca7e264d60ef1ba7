"""Self-written recurrent networks: taggers, streaming cells with states as inputs, encoders and decoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from zoo import Entry, rows, smooth, tokens


class Tagger(nn.Module):
    """A bidirectional LSTM over words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(500, 32)
        self.cells = nn.LSTM(32, 32, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 9)

    def forward(self, ids: Tensor) -> Tensor:
        made: Tensor = self.head(self.cells(self.words(ids))[0])
        return made


class StreamingGru(nn.Module):
    """A step of a denoiser: features and the state of two layers in, gains and the new state out."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.cells, self.outer = nn.Linear(40, 48), nn.GRU(48, 48, 2, batch_first=True), nn.Linear(48, 40)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        found, state = self.cells(torch.tanh(self.inner(features)), state)
        return torch.sigmoid(self.outer(found)), state


class StreamingLstm(nn.Module):
    """A step with the states h and c of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(24, 32), nn.Linear(32, 24)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, c = self.cell(x, (h, c))
        return self.head(h), h, c


class TextReader(nn.Module):
    """CRNN (Shi et al., 2015): convolutions, then a bidirectional LSTM over the width."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, 1, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.pool = nn.MaxPool2d((16, 1))
        self.cells, self.head = nn.LSTM(32, 32, bidirectional=True), nn.Linear(64, 37)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.net(x)).squeeze(2).permute(2, 0, 1)
        return fn.log_softmax(self.head(self.cells(x)[0]), -1)


class AttentionDecoder(nn.Module):
    """A step of a translator (Bahdanau et al., 2015): additive attention over the encoder's states."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.score = nn.Linear(32, 24), nn.Linear(32, 24), nn.Linear(24, 1)
        self.cell, self.head = nn.GRUCell(64, 32), nn.Linear(32, 100)

    def forward(self, word: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = self.score(torch.tanh(self.query(state).unsqueeze(1) + self.key(memory))).squeeze(-1)
        weights = torch.softmax(scores, -1)
        context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        state = self.cell(torch.cat((word, context), -1), state)
        return self.head(state), state, weights


class ConvolutionalLstm(nn.Module):
    """ConvLSTM (Shi et al., 2015) over four frames."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.width, self.gates, self.head = width, nn.Conv2d(3 + width, 4 * width, 3, 1, 1), nn.Conv2d(width, 3, 1)

    def forward(self, frames: Tensor) -> Tensor:
        h = c = torch.zeros(frames.shape[0], self.width, *frames.shape[-2:])
        for frame in frames.unbind(1):
            i, f, o, g = self.gates(torch.cat((frame, h), 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        made: Tensor = self.head(h)
        return made


class MinimalGru(nn.Module):
    """minGRU (Feng et al., 2024): a recurrence without hidden weights, as a parallel scan by cumulative sums."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value, self.head = nn.Linear(24, 32), nn.Linear(24, 32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.gate(x), self.value(x)
        keep = -fn.softplus(gate)
        take = -fn.softplus(-gate) + torch.where(value >= 0, (fn.relu(value) + 0.5).log(), -fn.softplus(-value))
        total = keep.cumsum(1)
        states = (total + torch.logcumsumexp(take - total, 1)).exp()
        made: Tensor = self.head(states)
        return made


class TemporalNet(nn.Module):
    """TCN (Bai et al., 2018): causal dilated convolutions with weight norm and residuals."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.layers = nn.ModuleList(norm(nn.Conv1d(16, 16, 3, dilation=2**i)) for i in range(4))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = fn.relu(x + fn.relu(layer(fn.pad(x, (2 * 2**i, 0)))))
        made: Tensor = self.head(x[..., -1])
        return made


TABLE = {
    "bilstm_tagger": Entry(build=Tagger, draw=tokens(24, mask=False)),
    "streaming_gru": Entry(build=StreamingGru, draw=rows((1, 1, 40), (2, 1, 48))),
    "streaming_lstm": Entry(build=StreamingLstm, draw=rows((1, 24), (1, 32), (1, 32))),
    "crnn": Entry(build=TextReader, draw=smooth(1, 1, 32, 64)),
    "attention_decoder": Entry(build=AttentionDecoder, draw=rows((1, 32), (1, 32), (1, 20, 32))),
    "conv_lstm": Entry(build=ConvolutionalLstm, draw=smooth(1, 4, 3, 16, 16)),
    "min_gru": Entry(build=MinimalGru, draw=rows((1, 32, 24))),
    "tcn": Entry(build=TemporalNet, draw=smooth(1, 16, 64)),
}
