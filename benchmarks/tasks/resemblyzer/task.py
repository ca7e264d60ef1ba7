"""Resemblyzer's speaker encoder, a three-layer LSTM, on speech that espeak-ng synthesises.

Input: 160 frames of 40 mel powers (1.6 s at 16 kHz, 25 ms windows every 10 ms); output: a unit vector of 256. The
weights are those of the PyPI package; the network is GE2E's (Wan et al. 2018), written out in plain torch.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from shared_data import shared

FRAMES, MELS, WIDTH, RATE = 160, 40, 256, 16000
VOICES = ("en-us", "en-gb", "en-gb-scotland", "de", "fr-fr", "es", "it", "pl")


class SpeakerEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, WIDTH, 3, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mels: Tensor) -> Tensor:
        """Takes mel powers (N, 160, 40) float32; returns unit vectors (N, 256)."""
        frames, _ = self.lstm(mels)
        embedding = torch.relu(self.linear(frames[:, -1]))
        return embedding / embedding.norm(dim=1, keepdim=True)


def build() -> nn.Module:
    from importlib.metadata import files

    path = next(file.locate() for file in files("Resemblyzer") or () if file.name == "pretrained.pt")
    state = torch.load(str(path), map_location="cpu", weights_only=True)["model_state"]
    model = SpeakerEncoder()
    model.load_state_dict({name: value for name, value in state.items() if name.split(".")[0] in ("lstm", "linear")})
    return model.eval()


def example_inputs() -> tuple[Tensor, ...]:
    return (torch.zeros(1, FRAMES, MELS),)


def mel_filters(bins: int) -> NDArray[np.float64]:
    """Returns Slaney's triangular filters, (40, bins), each of unit area over 0 to 8 kHz."""

    def to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))

    top = 15 + 27 * np.log(RATE / 2 / 1000) / np.log(6.4)
    edges = to_hertz(np.linspace(0, top, MELS + 2))
    frequencies = np.linspace(0, RATE / 2, bins)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


def mels(wave: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns mel powers (frames, 40) of a wave at 16 kHz: Hann windows of 400 samples every 160."""
    windows = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160] * np.hanning(401)[:-1]
    power = np.abs(np.fft.rfft(windows)) ** 2
    return (power @ mel_filters(power.shape[1]).T).astype(np.float32)


def speak(text: str, voice: str, pitch: int) -> NDArray[np.float64]:
    """Returns a sentence as a wave at 16 kHz, scaled to -30 dBFS as the encoder's own preprocessing does."""
    import wave

    from scipy.signal import resample_poly

    program = shutil.which("espeak-ng")
    if program is None:
        raise FileNotFoundError("espeak-ng is missing; on Debian: apt-get install espeak-ng")
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run([program, "-v", voice, "-p", str(pitch), "-w", file.name, text], check=True)
        with wave.open(file.name) as opened:
            rate, raw = opened.getframerate(), opened.readframes(opened.getnframes())
    samples = resample_poly(np.frombuffer(raw, np.int16) / 32768, RATE, rate)
    return samples * (10 ** (-30 / 20) / max(1e-9, float(np.sqrt((samples**2).mean()))))


def utterances(first: int, count: int) -> Iterator[Tensor]:
    lines = shared("data/sts/2014-images.tsv").read_text().splitlines()
    for i in range(first, first + count):
        sentence = " and ".join(lines[(i * 2 + j) % len(lines)].split("\t")[1] for j in range(2))
        frames = mels(speak(sentence, VOICES[i % len(VOICES)], 20 + 10 * (i % 7)))
        if len(frames) >= FRAMES:
            yield torch.from_numpy(frames[None, :FRAMES].copy())


def calibration() -> Iterator[tuple[Any, ...]]:
    for frames in utterances(0, 60):
        yield (frames,)


def evaluation() -> Iterator[tuple[tuple[Any, ...], None]]:
    for frames in utterances(100, 120):
        yield (frames,), None
