"""Networks of torchvision (BSD-3): classifiers, segmentation, video, optical flow."""

from __future__ import annotations

from typing import Any

from torch import nn
from zoo import Entry, Outputs, image, rows, smooth


def _model(path: str, draw: Any, keep: Any = None, **more: Any) -> Entry:
    def build() -> nn.Module:
        import stubs  # noqa: F401  before torchvision
        from torchvision import models

        place: Any = models
        for part in path.split("."):
            place = getattr(place, part)
        made: nn.Module = place(weights=None, **more)
        return made if keep is None else Outputs(made, keep=keep)

    return Entry(build=build, draw=draw)


TABLE = {
    "mobilenet_v2": _model("mobilenet_v2", image(), num_classes=20),
    "shufflenet_v2_x0_5": _model("shufflenet_v2_x0_5", image(), num_classes=20),
    "squeezenet1_1": _model("squeezenet1_1", image(), num_classes=20),
    "mnasnet0_5": _model("mnasnet0_5", image(), num_classes=20),
    "densenet_small": _model("DenseNet", image(), num_classes=20),
    "googlenet": _model("googlenet", image(), num_classes=20, aux_logits=False, init_weights=False),
    "lraspp_mobilenet_v3": _model(
        "segmentation.lraspp_mobilenet_v3_large", image(), num_classes=6, weights_backbone=None
    ),
    "deeplabv3_mobilenet_v3": _model(
        "segmentation.deeplabv3_mobilenet_v3_large", image(), num_classes=6, weights_backbone=None
    ),
    "r3d_18": _model("video.r3d_18", smooth(1, 3, 4, 32, 32), num_classes=10),
    "raft_small": _model(
        "optical_flow.raft_small", rows((1, 3, 128, 128), (1, 3, 128, 128)), keep=lambda found: found[-1]
    ),
}
TABLE["densenet_small"] = Entry(
    build=lambda: __import__("torchvision").models.DenseNet(8, (2, 3, 3), 16, num_classes=20), draw=image()
)
