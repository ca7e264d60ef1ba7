"""What is audited: eight models, and the devices for which their plans are carried out too."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Final

BENCHMARKS: Final = Path(__file__).parents[1]

MODELS: Final[dict[str, tuple[str, ...]]] = {
    "efficientnet-lite0": ("-c", "tasks/efficientnet_lite0/edgekit.toml"),
    "efficientnet-lite2": ("-c", "tasks/efficientnet_lite2/edgekit.toml"),
    "mobilenet-v2 *": ("-c", "tasks/random_weights/mobilenet_v2.toml"),
    "mobilenet-v3-large *": ("-c", "tasks/random_weights/mobilenet_v3_large.toml"),
    "resnet18 *": ("-c", "tasks/random_weights/resnet18.toml"),
    "mlperf-tiny-resnet": (
        "SHARED/models/mlperf_tiny/pretrainedResnet.h5",
        "-c",
        "tasks/mlperf_tiny_resnet/edgekit.toml",
    ),
    "all-minilm": ("-c", "tasks/minilm/edgekit.toml"),
    "resemblyzer": ("-c", "tasks/resemblyzer/edgekit.toml"),
}
"""Model to the arguments that name it. An asterisk: random weights, for cost only."""

DEVICES: Final = (
    "pi4",
    "pi-zero2w",
    "pixel8",
    "android-entry",
    "galaxy-watch6",
    "iphone15",
    "apple-watch-s9",
    "jetson-orin-nano",
)
"""Every family of devices, and of each the tight one where there are two."""

PAIRS: Final = tuple(product(MODELS, DEVICES))
"""Plans that are carried out."""


def arguments(model: str, shared: Path) -> list[str]:
    """Returns the command line arguments that name the model, with paths from `benchmarks/`."""
    return [item.replace("SHARED", str(shared)) for item in MODELS[model]]


def has_real_weights(model: str) -> bool:
    """Returns whether its accuracy means anything."""
    return not model.endswith("*")
