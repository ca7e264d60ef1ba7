"""Where the benchmarks' data lies, and the split that all of them use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]


def shared(name: str) -> Path:
    """Returns a path in the data folder; raises FileNotFoundError with what to put there."""
    folder = Path(os.environ.get("EDGEKIT_SHARED", ROOT.parent / "shared"))
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing. benchmarks/README.md says what belongs into EDGEKIT_SHARED.")
    return path


def imagenet(part: str, size: int = 224) -> Iterator[tuple[NDArray[np.float32], int, str]]:
    """Yields (input (1, 3, size, size) float32, ImageNet class, file stem) of `data/imagenet500`.

    In the order of file names, every fifth image is for calibration (100) and the others for judging (400): the same
    split in every benchmark. Centre crop, (x - 127) / 128.

    Args:
        part: "calibration" or "judging".
        size: Side of the crop; the files' short side is 256.
    """
    from PIL import Image

    folder = shared("data/imagenet500")
    with (folder / "labels.csv").open() as file:
        labels = dict(line.strip().split(",")[:2] for line in file if "," in line)
    for index, path in enumerate(sorted(folder.glob("*.jpg"))):
        if (index % 5 == 0) != (part == "calibration"):
            continue
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        if min(image.size) < size:
            scale = size / min(image.size)
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32)
        yield ((pixels - 127) / 128).transpose(2, 0, 1)[None], int(labels[path.name]), path.stem
