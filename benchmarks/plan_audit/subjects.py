"""What is audited: eight models, and the pairs of model and device that are exported too."""

from __future__ import annotations

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

PAIRS: Final = (
    ("efficientnet-lite0", "pi4"),
    ("efficientnet-lite0", "pixel8"),
    ("efficientnet-lite0", "iphone15"),
    ("efficientnet-lite0", "jetson-orin-nano"),
    ("mobilenet-v2 *", "pi3"),
    ("mobilenet-v3-large *", "galaxy-s24"),
    ("resnet18 *", "jetson-nano"),
    ("mlperf-tiny-resnet", "pi-zero2w"),
    ("mlperf-tiny-resnet", "galaxy-watch6"),
    ("all-minilm", "pi5"),
    ("all-minilm", "android-entry"),
    ("resemblyzer", "pi4"),
)
"""Plans that are carried out: each device family, format and architecture family at least once."""


def arguments(model: str, shared: Path) -> list[str]:
    """Returns the command line arguments that name the model, with paths from `benchmarks/`."""
    return [item.replace("SHARED", str(shared)) for item in MODELS[model]]


def has_real_weights(model: str) -> bool:
    """Returns whether its accuracy means anything."""
    return not model.endswith("*")
