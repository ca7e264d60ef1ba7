"""Writes the work of well-known architectures that `edgekit devices calibrate --propose` chooses from.

python benchmarks/latency_fidelity/known.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fit import read_features
from fitting import TERMS

MODULE: Final = Path(__file__).parents[2] / "edgekit" / "benchmarking" / "known_models.py"

CHOSEN: Final[Mapping[str, str]] = {
    "alexnet": "torchvision alexnet, 224 x 224",
    "convnext_tiny": "torchvision convnext_tiny, 224 x 224",
    "densenet121": "torchvision densenet121, 224 x 224",
    "efficientnet_b0": "torchvision efficientnet_b0, 224 x 224",
    "inception_v3": "torchvision inception_v3, 299 x 299",
    "mnasnet1_0": "torchvision mnasnet1_0, 224 x 224",
    "mobilenet_v2_0.5_96": "torchvision mobilenet_v2, width 0.5, 96 x 96",
    "mobilenet_v2_1_224": "torchvision mobilenet_v2, 224 x 224",
    "mobilenet_v3_small": "torchvision mobilenet_v3_small, 224 x 224",
    "regnet_x_3_2gf": "torchvision regnet_x_3_2gf, 224 x 224",
    "resnet18": "torchvision resnet18, 224 x 224",
    "resnet50": "torchvision resnet50, 224 x 224",
    "shufflenet_v2_x1_0": "torchvision shufflenet_v2_x1_0, 224 x 224",
    "squeezenet1_1": "torchvision squeezenet1_1, 224 x 224",
    "tf_efficientnet_lite0": "timm tf_efficientnet_lite0, 224 x 224",
    "vgg16": "torchvision vgg16, 224 x 224",
    "vit_base_patch16_224": "timm vit_base_patch16_224",
    "yolo11n@640": "ultralytics yolo11n, 640 x 640",
}
"""A model of the zoo to what people call it: small to large, and each kind of work in one of them at least."""


def main() -> None:
    """Writes the module."""
    work = read_features()[1]
    lines = [
        '"""Work of well-known architectures, of which some are proposed for measuring a device.',
        "",
        "Written by `benchmarks/latency_fidelity/known.py`: amounts in the terms of `predict/latency_features.py`.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Mapping",
        "from typing import Final",
        "",
        "KNOWN_MODELS: Final[Mapping[str, Mapping[str, float]]] = {",
    ]
    for name, title in CHOSEN.items():
        lines.append(f'    "{title}": {{')
        amounts = zip(TERMS, work[name], strict=True)
        lines += [f'        "{term}": {amount:.3g},' for term, amount in amounts if amount]
        lines.append("    },")
    lines += ["}", '"""Title to the amounts of one inference, those that are 0 left out."""', ""]
    MODULE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
