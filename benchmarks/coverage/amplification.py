"""How much networks with random weights amplify what is added to them: no quantizer, only noise of a known size.

    python benchmarks/coverage/amplification.py NAME,...

The weights of all convolutions and linear layers get Gaussian noise 60 dB below the power of each output channel's
weights, and the outputs are held against the module without it. A module that only adds up what its layers get is left
with 60 dB, less a few; one that is left with 25 dB has made 35 dB more of it. Rounding weights to 8 bits with a scale a
channel is noise 41 to 50 dB below them, 10 to 19 dB more than here, so this figure less that is what a recipe of 8 bits
can be expected to leave, before any activation is rounded.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
NOISE_DB: Final = -60.0
CALLS: Final = 4
SEED: Final = 5000


def amplified(name: str) -> tuple[float, int]:
    """Returns the SQNR in dB of the worst output with noise in the weights, and how many layers have it."""
    import torch
    from capture import drawn, flat
    from judge import judgement
    from zoo import build

    module = build(name)
    rows = drawn(name, "judged", CALLS)
    with torch.no_grad():
        expected = [flat(module(*row)) for row in rows]
        layers = _disturb(module)
        return judgement(expected, [flat(module(*row)) for row in rows])["db"], layers


def _disturb(module: Any) -> int:
    """Adds noise to the weights of a module, in place, and returns how many layers have it."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(SEED)
    layers = [part for part in module.modules() if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Linear))]
    for layer in layers:
        weight = layer.weight.data
        power = weight.square().mean(dim=tuple(range(1, weight.ndim)), keepdim=True).sqrt()
        weight += 10 ** (NOISE_DB / 20) * power * torch.randn(weight.shape, generator=generator)
    return len(layers)


def main() -> None:
    sys.path.insert(0, str(HERE))
    import stubs  # noqa: F401  before timm and ultralytics

    for name in sys.argv[1].split(","):
        left, layers = amplified(name)
        print(f"{name}: {layers} layers, {left:.1f} dB of {-NOISE_DB:.0f} dB left", flush=True)


if __name__ == "__main__":
    main()
