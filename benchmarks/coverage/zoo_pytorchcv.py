"""Networks of pytorchcv (MIT) that the other packages do not have."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn
from zoo import Entry, image


def _model(module: str, name: str, draw: Any, **more: Any) -> Entry:
    def build() -> nn.Module:
        made: nn.Module = getattr(importlib.import_module(f"pytorchcv.models.{module}"), name)(**more)
        return made

    return Entry(build=build, draw=draw)


TABLE = {
    "shufflenet_g2_wd4": _model("shufflenet", "shufflenet_g3_wd4", image(224), num_classes=20),
    "igcv3_wd4": _model("igcv3", "igcv3_wd4", image(224), num_classes=20),
    "peleenet": _model("peleenet", "peleenet", image(224), num_classes=20),
    "octresnet10": _model("octresnet", "octresnet10_ad2", image(224), num_classes=20),
    "bam_resnet18": _model("bamresnet", "bam_resnet18", image(224), num_classes=20),
    "hardnet39ds": _model("hardnet", "hardnet39ds", image(224), num_classes=20),
    "sinet": _model("sinet", "sinet_cityscapes", image(128), num_classes=6, in_size=(128, 128)),
    "lednet": _model("lednet", "lednet_cityscapes", image(128), num_classes=6, in_size=(128, 128)),
    "cgnet": _model("cgnet", "cgnet_cityscapes", image(128), num_classes=6, in_size=(128, 128)),
    "dabnet": _model("dabnet", "dabnet_cityscapes", image(128), num_classes=6, in_size=(128, 128)),
    "lwopenpose": _model("lwopenpose_cmupan", "lwopenpose2d_mobilenet_cmupan_coco", image(128), in_size=(128, 128)),
}
