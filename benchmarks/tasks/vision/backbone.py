"""The blocks of mobile networks: inverted residuals (Sandler et al. 2018), and a small backbone of them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Activation = Callable[[], nn.Module]


def block(before: int, after: int, size: int = 1, stride: int = 1, groups: int = 1,
          activation: Activation | None = nn.ReLU6) -> nn.Sequential:  # fmt: skip
    """Returns a convolution, its batch norm and, unless it is None, an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcite(nn.Module):
    """Weighs channels by what they hold on average (Hu et al. 2018)."""

    def __init__(self, width: int, gate: Activation = nn.Sigmoid, activation: Activation = nn.ReLU) -> None:
        super().__init__()
        inner = max(8, width // 4)
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, inner, 1), activation(), nn.Conv2d(inner, width, 1), gate()
        )

    def forward(self, image: Tensor) -> Tensor:
        return image * self.layers(image)


class InvertedResidual(nn.Module):
    """Widens, convolves each channel by itself, narrows; adds the input where the shapes agree."""

    def __init__(self, before: int, after: int, stride: int, expansion: int, *, size: int = 3,
                 activation: Activation = nn.ReLU6, excite: nn.Module | None = None) -> None:  # fmt: skip
        super().__init__()
        inner = before * expansion
        self.adds = stride == 1 and before == after
        wide = [block(before, inner, activation=activation)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *wide,
            block(inner, inner, size, stride, inner, activation),
            *([excite] if excite is not None else []),
            block(inner, after, activation=None),
        )

    def forward(self, image: Tensor) -> Tensor:
        found = self.layers(image)
        return image + found if self.adds else found


WIDTHS = (40, 64, 96)
"""Channels of the levels at strides 8, 16 and 32."""


class Backbone(nn.Module):
    """Features at strides 4, 8, 16 and 32; about 25 million multiply-accumulates at 128 x 128."""

    def __init__(self, activation: Activation = nn.ReLU6) -> None:
        super().__init__()

        def stage(before: int, after: int, count: int) -> nn.Sequential:
            blocks = [InvertedResidual(before, after, 2, 4, activation=activation)]
            blocks += [InvertedResidual(after, after, 1, 4, activation=activation) for _ in range(count - 1)]
            return nn.Sequential(*blocks)

        self.stem = nn.Sequential(block(3, 16, 3, 2, activation=activation), stage(16, 24, 2))
        self.stages = nn.ModuleList([stage(24, 40, 2), stage(40, 64, 3), stage(64, 96, 2)])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns the features at strides 4 (24 channels), 8, 16 and 32 (`WIDTHS`)."""
        levels = [self.stem(image)]
        for layers in self.stages:
            levels.append(layers(levels[-1]))
        return tuple(levels)


class Pyramid(nn.Module):
    """Adds what the coarser levels know to the finer ones (Lin et al. 2017), `width` channels each."""

    def __init__(self, width: int, activation: Activation = nn.ReLU6) -> None:
        super().__init__()
        self.sides = nn.ModuleList([block(before, width, activation=None) for before in WIDTHS])
        self.smooth = nn.ModuleList(
            [
                nn.Sequential(block(width, width, 3, 1, width, activation), block(width, width, activation=activation))
                for _ in WIDTHS
            ]
        )

    def forward(self, levels: tuple[Tensor, ...]) -> list[Tensor]:
        found = [side(level) for side, level in zip(self.sides, levels, strict=True)]
        for finer in range(len(found) - 2, -1, -1):
            found[finer] = found[finer] + nn.functional.interpolate(found[finer + 1], scale_factor=2.0)
        return [smooth(level) for smooth, level in zip(self.smooth, found, strict=True)]
