"""Training data without labels: calibration inputs, and the float model's own outputs as what is right.

A student that imitates its teacher needs no labels (Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural
Network", 2015, section 2, with a weight of 0 for the labels). Here the teacher is the float model as it was captured,
so that a pipeline of several techniques does not learn from what an earlier one has lost. Runs in a worker that has
torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.samples import Samples
from edgekit.techniques.base import TorchModel
from edgekit.techniques.recovery import frozen_graph
from edgekit.training.imitation import Outputs, imitation_loss
from edgekit.training.trainable import flat
from edgekit.training.training_data import TrainingData

if TYPE_CHECKING:
    from torch import Tensor

BATCH: Final = 16

FEWEST_SAMPLES: Final = 32
"""Below it a network learns the samples and nothing else."""

_SHOWN: Final = (4_000, 12_000)
"""What all epochs together show, where the samples are few: of a network of any size, and of a small one. A ResNet-8
with 4-bit weights lost 2.0 points after 3,500 samples, and 0.2 to 0.6 after 10,500 to 28,000."""

_SMALL_WORK: Final = 5e11
"""Multiply-accumulates of all samples together up to which a network counts as small: minutes."""

_MOST_EPOCHS: Final = 60
_HELD_OUT: Final = 8  # every eighth sample chooses the best weights
_TEMPERATURE: Final = 2.0


def epochs_for(count: int, macs: int | None) -> int:
    """Returns how often `count` samples are shown where nobody says it, to a network of `macs` multiply-accumulates."""
    least, most = _SHOWN
    shown = least if not macs else min(most, max(least, _SMALL_WORK / macs))
    return max(1, min(_MOST_EPOCHS, round(shown / count)))


def imitation_data(samples: Samples, teacher: CapturedModel, outputs: Outputs) -> TrainingData:
    """Returns batches of calibration inputs with the teacher's outputs as targets, and the loss that compares them.

    Args:
        samples: Calibration samples of one form.
        teacher: The float model as it was captured.
        outputs: What the outputs are.

    Raises:
        TechniqueError: there are too few samples, or they cannot be stacked to batches.
    """
    import torch

    if samples.count < FEWEST_SAMPLES or not samples.stackable or samples.sizes() is not None:
        raise TechniqueError(
            f"Training without labels needs at least {FEWEST_SAMPLES} calibration samples that can be stacked to "
            f"batches; these are {samples.count} samples of the inputs {', '.join(samples.names)}. Give more, or give "
            "[training] batches and loss."
        )
    inputs = tuple(torch.from_numpy(array.copy()) for array in samples.arrays())
    wanted = _outputs_of(teacher, inputs)
    held = [row for row in range(samples.count) if row % _HELD_OUT == _HELD_OUT - 1]
    shown = [row for row in range(samples.count) if row % _HELD_OUT != _HELD_OUT - 1]

    def batches(rows: list[int]) -> Iterator[tuple[tuple[Tensor, ...], object]]:
        for start in range(0, len(rows), BATCH):
            index = rows[start : start + BATCH]
            yield tuple(tensor[index] for tensor in inputs), tuple(tensor[index] for tensor in wanted)

    def epoch(_number: int) -> list[tuple[tuple[Tensor, ...], object]]:
        # `TrainingData` has seeded torch for this epoch.
        order: list[int] = torch.randperm(len(shown)).tolist()
        return list(batches([shown[place] for place in order]))

    def loss(output: object, target: object) -> Tensor:
        pairs = zip(flat(output), flat(target), strict=True)
        floats = [(one, two) for one, two in pairs if one.is_floating_point()]
        return torch.stack([imitation_loss(one, two, outputs, _TEMPERATURE) for one, two in floats]).sum()

    return TrainingData(
        batches=epoch,
        loss=loss,
        held_out=lambda: batches(held),
        epochs=epochs_for(len(shown), teacher.macs),
        title="calibration samples",
    )


def _outputs_of(teacher: CapturedModel, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Returns the teacher's outputs for all samples, one tensor (samples, ...) for each."""
    import torch

    from edgekit.torch_program.program_archive import load_program

    graph = frozen_graph(TorchModel(facts=teacher, program=load_program(teacher.path, teacher.source)))
    starts = range(0, len(inputs[0]), BATCH)
    with torch.inference_mode():
        found = [tuple(flat(graph(*(tensor[start : start + BATCH] for tensor in inputs)))) for start in starts]
    return tuple(torch.cat(parts).clone() for parts in zip(*found, strict=True))
