"""Tiny torch models, captured as the sources capture them, with calibration samples and the float model's outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from edgekit.model import CapturedModel, Family, TensorSpec
from edgekit.samples import Samples, write_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

SAMPLES = 24
"""Rows of each tiny model's calibration data."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TinyNetwork:
    """A network before it is captured.

    Attributes:
        build: Returns the torch module.
        example: Returns a tuple of example inputs at batch 1, another one each time.
        family: What it stands for.
    """

    build: Callable[[], nn.Module]
    example: Callable[[], tuple[Tensor, ...]]
    family: Family


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """A captured tiny model.

    Attributes:
        model: The captured model, in a folder of its own.
        samples: Its calibration samples.
    """

    model: CapturedModel
    samples: Samples

    def outputs(self, model: CapturedModel | None = None) -> tuple[NDArray[Any], ...]:
        """Returns what the float model, or a changed one, computes on all samples: one array (rows, ...) an output."""
        import numpy as np
        import torch

        from edgekit.torch_program.program_archive import load_program

        module = load_program((model or self.model).path).module(check_guards=False)
        with torch.no_grad():
            rows = [module(*(torch.from_numpy(x.copy()) for x in row)) for row in self.samples.rows()]
        split = [row if isinstance(row, tuple) else (row,) for row in rows]
        return tuple(np.concatenate([row[i].numpy() for row in split]) for i in range(len(split[0])))


def tiny_networks() -> Mapping[str, TinyNetwork]:
    """Returns the networks by name. Imports torch."""
    import torch

    from edgekit.testing import tiny_modules as modules

    return {
        "convolutions": TinyNetwork(
            build=modules.Convolutions, example=lambda: (torch.randn(1, 3, 16, 16),), family="cnn"
        ),
        "attention": TinyNetwork(
            build=modules.Attention, example=lambda: (torch.randint(0, 50, (1, 12)),), family="transformer"
        ),
        "encoder": TinyNetwork(
            build=lambda: modules.Encoder(before=False),
            example=lambda: (torch.randint(0, 50, (1, 12)),),
            family="transformer",
        ),
        "recurrent": TinyNetwork(build=modules.Recurrent, example=lambda: (torch.randn(1, 3, 10),), family="rnn"),
        "two_inputs": TinyNetwork(
            build=modules.TwoInputs, example=lambda: (torch.randn(1, 8), torch.randn(1, 4)), family="mlp"
        ),
        "two_outputs": TinyNetwork(build=modules.TwoOutputs, example=lambda: (torch.randn(1, 8),), family="mlp"),
    }


def capture_tiny(name: str, network: TinyNetwork, folder: Path) -> TinyModel:
    """Returns a network captured into `folder`, with its weights and samples from seed 0.

    Args:
        name: Name of the model; its source is called `<name>.py:build`.
        network: What to capture.
        folder: An empty folder.
    """
    import torch

    from edgekit.sources.captured_file import write_captured
    from edgekit.torch_program import program_facts
    from edgekit.torch_program.canonical_program import canonical

    torch.manual_seed(0)
    module = network.build().eval()
    examples = [network.example() for _ in range(SAMPLES)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns while it exports
        program = canonical(torch.export.export(module, examples[0], strict=False), examples[0], name)
        capture = program_facts.save(program, folder, sum(p.numel() for p in module.parameters()))
    model = CapturedModel(
        name=name,
        source=f"{name}.py:build",
        source_kind="torch",
        kind="pt2",
        path=folder / capture.file,
        inputs=capture.inputs,
        outputs=capture.outputs,
        digest=capture.digest,
        parameters=capture.parameters,
        macs=capture.architecture.macs,
        family=network.family,
    )
    write_captured(model, folder)
    return TinyModel(model=model, samples=_write(folder / "samples", capture.inputs, examples))


def _write(folder: Path, inputs: Sequence[TensorSpec], examples: Sequence[tuple[Tensor, ...]]) -> Samples:
    names = [spec.name for spec in inputs]
    return write_samples(folder, names, (tuple(tensor.numpy() for tensor in row) for row in examples))
