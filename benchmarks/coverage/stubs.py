"""Lets torchvision's Python files import beside a torch that its compiled part was not built for.

Import it before torchvision, timm or ultralytics. Only the operators whose schemas torchvision's files name are
declared; they compute nothing.
"""

import torch

_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _name):
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
