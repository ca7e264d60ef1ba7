"""The architectures of the benchmark: small configurations, random weights of a fixed seed.

An entry builds a module and draws its inputs from a generator; the tables of the groups lie in the files beside this
one. Random weights prove shapes, operators and parity, and nothing about accuracy.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast, final

import torch
from torch import Tensor, nn

GROUPS: Final = ("timm", "torchvision", "pytorchcv", "ultralytics", "transformers", "audio", "recurrent", "graph")
MORE_GROUPS: Final = ("tabular", "own")

Draw = Callable[[torch.Generator], tuple[Any, ...]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One architecture.

    Attributes:
        build: Makes the module; the seed is set before.
        draw: Draws the inputs of one call.
        settled: Its batch norms take their statistics from random data, as after training.
    """

    build: Callable[[], nn.Module]
    draw: Draw
    settled: bool = True


class Outputs(nn.Module):
    """A module whose call is adapted: fixed keyword arguments, and which outputs are of use."""

    def __init__(self, module: nn.Module, names: tuple[str, ...] = (), *, keep: Any = None, **fixed: Any) -> None:
        super().__init__()
        self.module, self.names, self.keep, self.fixed = module, names, keep, fixed

    def forward(self, *inputs: Any) -> Any:
        """Calls the module with its inputs by name where there are names."""
        if self.names:
            found = self.module(**dict(zip(self.names, inputs, strict=True)), **self.fixed)
        else:
            found = self.module(*inputs, **self.fixed)
        return found if self.keep is None else self.keep(found)


def smooth(*shape: int) -> Draw:
    """Draws smooth noise of unit variance: neighbours are alike, as in photographs and sound."""

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        noise = torch.randn(shape, generator=generator)
        for axis in range(2 if len(shape) > 2 else 1, len(shape)):
            noise = noise + noise.roll(1, axis) + noise.roll(2, axis)
        return (noise / noise.std(),)

    return draw


def image(size: int = 64, channels: int = 3) -> Draw:
    return smooth(1, channels, size, size)


def rows(*shapes: tuple[int, ...]) -> Draw:
    """Draws independent normal numbers."""
    return lambda generator: tuple(torch.randn(shape, generator=generator) for shape in shapes)


def tokens(length: int = 32, words: int = 500, *, mask: bool = True) -> Draw:
    """Draws token ids, and a mask whose end is padding."""

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        ids = torch.randint(3, words, (1, length), generator=generator)
        used = int(torch.randint(length // 2, length + 1, (), generator=generator))
        return (ids, (torch.arange(length) < used).long()[None]) if mask else (ids,)

    return draw


def both(*draws: Draw) -> Draw:
    """Draws from each in turn."""
    return lambda generator: tuple(item for draw in draws for item in draw(generator))


def entries() -> dict[str, Entry]:
    """Returns all architectures by name, `group.architecture`."""
    found: dict[str, Entry] = {}
    for group in (*GROUPS, *MORE_GROUPS):
        table = importlib.import_module(f"zoo_{group}").TABLE
        found |= {f"{group}.{name}": entry for name, entry in table.items()}
    return found


def entry(name: str) -> Entry:
    return cast("Entry", importlib.import_module(f"zoo_{name.partition('.')[0]}").TABLE[name.partition(".")[2]])


def build(name: str) -> nn.Module:
    """Returns the module in eval mode, float32."""
    found = entry(name)
    torch.manual_seed(zlib.crc32(name.encode()))
    module = found.build().float()
    return settle(module, found.draw) if found.settled else module.eval()


def inputs(name: str, seed: int = 0) -> tuple[Any, ...]:
    """Returns the inputs of one call."""
    return entry(name).draw(torch.Generator().manual_seed(seed))


def settle(module: nn.Module, draw: Draw) -> nn.Module:
    """Returns the module with the statistics of its batch norms taken from random data."""
    module.eval()
    norms = [norm for norm in module.modules() if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))]
    for norm in norms:
        norm.momentum = cast("Any", None)  # a plain mean over the passes
        norm.train()
    drawn = [draw(torch.Generator().manual_seed(900 + i)) for i in range(8 if norms else 0)]
    with torch.no_grad():
        for _ in range(2 if norms else 0):
            module(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
    return module.eval()
