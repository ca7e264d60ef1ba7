"""The files that `edgekit init` writes: a task that runs as it is, to be changed step by step into one's own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgekit.budget import COSTS, Limit
from edgekit.errors import ResourceError, UsageError
from edgekit.profiles.profile import DeviceProfile
from edgekit.units import format_value

_CONFIG: Final = """\
# What edgekit exports, and how it is judged. Paths start from this file's folder.
#
#     edgekit plan --device {device}       what would be done, and why
#     edgekit export --device {device}     do it, run it, judge it
#
# Every key can also be a flag: edgekit export --help. A flag wins over this file, this file over the device's profile.

# The device where neither --device nor EDGEKIT_DEVICE names one.
# device = "{device}"

[model]
# () -> torch.nn.Module in eval mode. Or a file: "net.pt2", "net.onnx", "net.keras", "net.tflite".
source = "model.py:build"
# () -> tuple of tensors at batch 1. A file such as .onnx knows its inputs: then this goes.
example_inputs = "model.py:example_inputs"
# One label a line, in the order of the output's entries. Embedded in the artifacts and used by the code in usage/.
labels = "labels.txt"

[data]
# () -> iterable of input tuples: 100 to 500 samples of what the device will see, prepared as for training.
# Or an .npz file, or a folder of images.
calibration = "data.py:calibration"
# () -> iterable of (input tuple, target), or (input tuple, target, slice name) to watch parts such as "night" too.
# Never the samples of the calibration: that would flatter the result.
evaluation = "data.py:evaluation"
# What the model does: classification, detection, instance_segmentation, segmentation, pose, depth, super_resolution,
# retrieval, text, regression, anomaly. Each has its metrics: docs/guides/tasks.md
# task = "classification"
# top1, agreement (with the float model, needs no targets), another of the task's, or your own: "metrics.py:function".
metric = "top1"

# How a picture becomes an input: (pixel - mean) / std, pixels from 0 to 255. Folders of images are read so, the
# artifacts carry it, and the code in usage/ does it. This example makes its inputs up and has none.
# [data.preprocessing]
# resize = 256                   # short side before the centre crop; without it, pictures are resized directly
# letterbox = true               # instead: proportions kept, grey bars beside the picture, as YOLO is trained
# mean = [123.675, 116.28, 103.53]
# std = [58.395, 57.12, 57.375]
# color = "rgb"                  # or "bgr"
# image_input = true             # artifacts take pixels and do the above themselves; the default on phones

# How the outputs of a detector, segmenter or pose net are read: a table [head] names the decoder and its settings, such
# as "yolo11" with 80 classes. docs/guides/tasks.md lists them.

# For techniques that must train: prune_channels, distill, qat, lora_recovery. One of them: edgekit export -t qat
# [training]
# batches = "train.py:batches"   # (epoch: int) -> iterable of (input tuple, target)
# loss = "train.py:loss"         # (output, target) -> scalar tensor
# held_out = "train.py:held_out" # () -> iterable like batches, never trained on: the best weights are chosen by it
# epochs = 3

# Variants to train and compare: edgekit search. A name is a parameter, handed to every function above that has it.
# [search]
# factory = "model.py:variant"   # (width=...) -> untrained torch.nn.Module; without it, [model] source builds them
# width = [8, 16, 32]

# Limits for every device. What is not named here comes from the device's profile: edgekit devices show {device}
[budget]
# size = "6 MB"                  # the artifact
# download = "5 MB"              # the artifact as a store or an update sends it, deflated
# memory = "100 MB"              # peak of the runtime's process, above an empty one
# accuracy_drop = "1 pp"         # against the float model, in percentage points
# slice_drop = "3 pp"            # the worst slice's, or the worst class's
# latency = {{ limit = "40 ms", level = "warn" }}   # "warn" shows a miss, "error" (the default) fails
# parity_floor = "15 dB"         # the worst output or channel; without it, what the precision allows

[checks]
# without = ["evidence"]         # shown and not judged

# How far figures may move from a baseline (edgekit baseline set DIR); the sign is the way that is worse.
[regression]
# size = "+5 %"
# accuracy = "-0.5 pp"           # the artifact's own value of the metric, compared item by item
# latency = "+10 %"              # both artifacts are timed in turn: edgekit baseline set DIR --keep-artifacts

# Limits for one device, and the format to force there.
# Its profile ({title}) says: {limits}
[devices.{device}]
# format = "{runtime}"
# budget.size = "2 MB"
"""

_MODEL: Final = '''\
"""The model. Replace `build` by your own: it takes nothing and returns a trained torch.nn.Module in eval mode."""

import torch
from torch import nn

from data import CLASSES, SIZE, make_batch


class SmallNet(nn.Module):
    """A small convolutional network: (N, 3, 32, 32) float32 in, (N, 4) scores out."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            self.block(3, 16, stride=2),
            self.block(16, 16, stride=1, groups=16),  # depthwise
            self.block(16, 32, stride=2, kernel=1),  # pointwise
            self.block(32, 32, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(32, len(CLASSES))

    @staticmethod
    def block(inputs: int, outputs: int, stride: int, kernel: int = 3, groups: int = 1) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(image))


def build() -> nn.Module:
    """Returns the trained model.

    So that this example needs no file, it trains for a second or two. With a checkpoint it would be:

        model = SmallNet()
        model.load_state_dict(torch.load("weights.pt", weights_only=True))
        return model.eval()
    """
    # The seed makes the same weights every time, so that edgekit finds its earlier work again.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmallNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(40):
        images, labels = make_batch(32, seed=step)
        loss = nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def example_inputs() -> tuple[torch.Tensor]:
    """Returns one input of each kind that `forward` takes, at batch 1."""
    return (torch.zeros(1, 3, SIZE, SIZE),)
'''

_DATA: Final = '''\
"""The data. Replace `calibration` and `evaluation` by your own; both yield NumPy arrays or tensors.

These images are made up so that the example runs at once: stripes, bars, squares and noise, in random colours.
"""

from collections.abc import Iterator

import numpy as np

CLASSES = ("stripes", "bars", "squares", "noise")
SIZE = 32


def make_batch(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images (count, 3, 32, 32) float32 around 0 to 1, and their labels (count,) int64."""
    random = np.random.default_rng(seed)
    labels = random.integers(len(CLASSES), size=count)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    images = np.empty((count, 3, SIZE, SIZE), dtype=np.float32)
    for image, label in zip(images, labels):
        waves = np.sin(2 * np.pi * (random.uniform(2, 5) * np.stack([x, y]) + random.random()))
        patterns = (waves[0], waves[1], np.sign(waves[0] * waves[1]), random.standard_normal((SIZE, SIZE)))
        colours = random.uniform(0.2, 0.5, size=(3, 1, 1))
        image[:] = 0.5 + colours * patterns[label] + 0.15 * random.standard_normal((3, SIZE, SIZE))
    return images, labels


def calibration() -> Iterator[tuple[np.ndarray]]:
    """Yields 100 inputs, from which the ranges of the activations are taken."""
    images, _ = make_batch(100, seed=1000)
    for image in images:
        yield (image[None],)


def evaluation() -> Iterator[tuple[tuple[np.ndarray], int]]:
    """Yields 1000 other inputs with their labels, on which the export is judged: the more, the narrower its band."""
    images, labels = make_batch(1000, seed=2000)
    for image, label in zip(images, labels):
        yield (image[None],), int(label)
'''


_LABELS: Final = "stripes\nbars\nsquares\nnoise\n"
"""As `CLASSES` in data.py."""


def scaffold_files(profile: DeviceProfile) -> dict[str, str]:
    """Returns the files of a new task by name, written for one device."""
    return {"edgekit.toml": config_text(profile), "model.py": _MODEL, "data.py": _DATA, "labels.txt": _LABELS}


def config_text(profile: DeviceProfile) -> str:
    """Returns the task file of the example, written for one device."""
    return _CONFIG.format(
        device=profile.name,
        title=profile.title,
        runtime=profile.runtimes[0],
        limits=", ".join(map(_limit_text, profile.budget.limits)) or "nothing",
    )


def write_files(folder: Path, files: Mapping[str, str], *, force: bool) -> None:
    """Writes `files` to `folder`, all or none of them; the folder is made where it is missing.

    Args:
        folder: Where to.
        files: Name to content.
        force: Whether files that are there may be replaced.

    Raises:
        UsageError: a file is there and `force` is not given, or the folder is a file.
        ResourceError: the folder cannot be written.
    """
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        relation = "is" if len(there) == 1 else "are"
        raise UsageError(
            f"{_enumerate(there)} {relation} in {folder} already and nothing was written. "
            "Name another folder, or give --force to replace them."
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; expected a folder, or a name where one can be made.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace_all(folder, files)
    except OSError as error:
        raise ResourceError(
            f"{folder} cannot be written: {error.strerror}. Nothing was changed. "
            "Name a folder that you may write to: edgekit init DIR"
        ) from error


def _replace_all(folder: Path, files: Mapping[str, str]) -> None:
    """Writes everything beside its place first: a full disk is met before the first file is replaced."""
    written: dict[Path, Path] = {}
    try:
        for name, text in files.items():
            handle, partial = tempfile.mkstemp(dir=folder, prefix=f".{name}-", text=True)
            written[Path(partial)] = folder / name
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            # mkstemp's files are for their owner alone; these are to be shared like any other.
            Path(partial).chmod(0o644)
        for partial_path, path in written.items():
            partial_path.replace(path)
    finally:
        for partial_path in written:
            partial_path.unlink(missing_ok=True)


def _limit_text(limit: Limit) -> str:
    cost = COSTS[limit.name]
    return f"{cost.title} {format_value(limit.value, cost.unit)}"


def _enumerate(names: list[str]) -> str:
    *head, tail = names
    return f"{', '.join(head)} and {tail}" if head else tail
