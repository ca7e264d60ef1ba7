"""The three networks of MTCNN (facenet-pytorch) as torch modules, and what they look at.

P-Net proposes faces on a whole picture, R-Net and O-Net look at cut-outs of 24 and 48 pixels. Each becomes a detector
without anchors: boxes (centre, sides, as shares of the picture) and the probability of a face are one output (1, 5,
cells), one cell for a cut-out. What R-Net sees is what P-Net proposes, and what O-Net sees is what R-Net lets pass, as
in Zhang et al., "Joint Face Detection and Alignment Using Multi-task Cascaded Convolutional Networks", 2016.

The folder `facenet_pytorch` of the wheel lies beside this file.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

DATA: Final = Path(os.environ["EDGEKIT_SHARED"]) / "data" / "imagenet500"
MODELS: Final = Path(__file__).parent / "facenet_pytorch" / "models"
SIDE: Final = 96
"""Of the picture that P-Net takes: the smallest faces are an eighth of it wide."""
WINDOW, STRIDE, AROUND = 12, 2, 5
"""What a cell of P-Net sees, how far the next one lies, and by how much the picture is widened on each side, so that
there are as many cells as strides; pixels."""
SCORES: Final = (0.6, 0.5)
"""From which on P-Net's and R-Net's proposals are looked at again."""
EVERY: Final = 2
"""One photograph of so many calibrates."""
CUTS: Final = 3
"""The best cut-outs of a photograph that are looked at."""


@cache
def _networks() -> Any:
    """Returns the wheel's module of networks; its cascade would need torchvision, and is not used."""
    package, cascade = types.ModuleType("mtcnn_wheel"), types.ModuleType("mtcnn_wheel.utils.detect_face")
    package.__path__ = [str(MODELS)]
    cascade.detect_face = cascade.extract_face = None
    sys.modules |= {"mtcnn_wheel": package, cascade.__name__: cascade}
    return importlib.import_module("mtcnn_wheel.mtcnn")


class Detector(nn.Module):
    """A network whose windows and offsets become boxes.

    Args:
        network: Returns offsets of a window's corners, as shares of it, first, and probabilities last.
        windows: Left, top, right, bottom of each cell's window, as shares of the picture, (4, cells).
    """

    def __init__(self, network: nn.Module, windows: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("windows", windows)
        self.register_buffer("sides", (windows[2:] - windows[:2]).repeat(2, 1))

    def forward(self, image: Tensor) -> Tensor:
        found = self.network(image)
        offsets, scores = found[0].reshape(1, 4, -1), found[-1].reshape(1, 2, -1)[:, 1:]
        corners = self.windows + offsets * self.sides
        low, high = corners[:, :2], corners[:, 2:]
        return torch.cat([(low + high) / 2, high - low, scores], 1)


def pnet() -> nn.Module:
    """Returns P-Net on a picture of 96 x 96 pixels."""
    network = nn.Sequential(nn.ZeroPad2d(AROUND), _networks().PNet())
    starts = torch.arange(SIDE // STRIDE) * STRIDE - AROUND
    top, left = torch.meshgrid(starts, starts, indexing="ij")
    corner = torch.stack([left, top]).reshape(2, -1)
    # The cascade's own boxes: pixels 1 to 12 of the window.
    return Detector(network, torch.cat([corner + 1, corner + WINDOW]).float() / SIDE).eval()


def rnet() -> nn.Module:
    """Returns R-Net on a cut-out of 24 x 24 pixels."""
    return Detector(_networks().RNet(), torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None]).eval()


def onet() -> nn.Module:
    """Returns O-Net on a cut-out of 48 x 48 pixels."""
    return Detector(_networks().ONet(), torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None]).eval()


def _seen(picture: Image.Image, size: int) -> NDArray[np.float32]:
    pixels = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), np.float32)
    return ((pixels - 127.5) / 128).transpose(2, 0, 1)[None]


def _cuts(network: nn.Module, picture: Image.Image, seen: NDArray[np.float32], least: float) -> list[Image.Image]:
    """Returns the best boxes of a picture, as squares, from a score on; boxes that overlap by half count once."""
    with torch.no_grad():
        found = network(torch.from_numpy(seen))[0].numpy()
    sides = np.array(picture.size)
    taken: list[tuple[NDArray[np.float64], float]] = []
    for cell in np.argsort(-found[4]):
        centre, half = found[:2, cell] * sides, float((found[2:4, cell] * sides).max()) / 2
        if found[4, cell] < least or len(taken) == CUTS:
            break
        if all(np.abs(centre - other).max() > reach / 2 for other, reach in taken):
            taken.append((centre, half))
    return [picture.crop((*map(int, centre - half), *map(int, centre + half))) for centre, half in taken if half >= 4]


def _rows(stage: int, *, judged: bool) -> Iterator[tuple[Any, ...]]:
    """Yields what a stage sees: 0 for P-Net, 1 for R-Net, 2 for O-Net."""
    networks = (pnet(), rnet())
    for number, file in enumerate(sorted(DATA.glob("*.jpg"))):
        if bool(number % EVERY) != judged:
            continue
        pictures = [Image.open(file).convert("RGB")]
        for step, size in enumerate((SIDE, 24)[:stage]):
            pictures = [cut for one in pictures for cut in _cuts(networks[step], one, _seen(one, size), SCORES[step])]
        for one in pictures:
            yield (_seen(one, (SIDE, 24, 48)[stage]),)


def pnet_calibration() -> Iterator[tuple[Any, ...]]:
    """Yields photographs for P-Net."""
    return _rows(0, judged=False)


def pnet_judged() -> Iterator[tuple[tuple[Any, ...], None]]:
    """Yields others."""
    return ((row, None) for row in _rows(0, judged=True))


def rnet_calibration() -> Iterator[tuple[Any, ...]]:
    """Yields P-Net's proposals for R-Net."""
    return _rows(1, judged=False)


def rnet_judged() -> Iterator[tuple[tuple[Any, ...], None]]:
    """Yields those of other photographs."""
    return ((row, None) for row in _rows(1, judged=True))


def onet_calibration() -> Iterator[tuple[Any, ...]]:
    """Yields what R-Net lets pass, for O-Net."""
    return _rows(2, judged=False)


def onet_judged() -> Iterator[tuple[tuple[Any, ...], None]]:
    """Yields that of other photographs."""
    return ((row, None) for row in _rows(2, judged=True))
