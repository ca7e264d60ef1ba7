"""The user's training batches and loss, checked as they come. Runs in a worker that has torch.

User code runs here only. Random numbers that a task draws come from generators that are seeded for each epoch, so the
same seed gives the same batches, also after an interruption.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, final

from edgekit.errors import DataError
from edgekit.task.task import Training
from edgekit.task.user_code import call_user, load_object

if TYPE_CHECKING:
    from torch import Tensor

Batch: TypeAlias = "tuple[tuple[Tensor, ...], object]"
"""(one tensor (batch, ...) for each input, target)."""

_HELD_OUT_BATCHES: Final = 8
_FINGERPRINT_BATCHES: Final = 2


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a task trains on.

    Attributes:
        batches: Epoch number to an iterable of batches.
        loss: (output, target) to a scalar tensor.
        held_out: Batches to choose the best weights by; None where the task names none.
        epochs: What the task asks for.
        title: For messages: `train.py:batches`.
    """

    batches: Callable[[int], Iterable[object]]
    loss: Callable[..., object]
    held_out: Callable[[], Iterable[object]] | None = None
    epochs: int = 1
    title: str = "batches"

    def epoch(self, number: int, seed: int) -> Iterator[Batch]:
        """Yields the checked batches of an epoch.

        Raises:
            DataError: the user's function failed, or an item is no batch.
        """
        seed_all(seed, number)
        yield from self._checked(self.batches, (number,), self.title)

    def length(self, seed: int) -> int:
        """Returns the number of batches of an epoch; reads all of epoch 0 where its iterable has no length.

        Raises:
            DataError: there are none.
        """
        seed_all(seed, 0)
        found = call_user(self.batches, (0,), f"{self.title} failed", DataError)
        count = len(found) if hasattr(found, "__len__") else sum(1 for _ in self.epoch(0, seed))
        if not count:
            raise DataError(f"{self.title}: epoch 0 has no batches. Yield (input tuple, target) at least once.")
        return count

    def held_out_batches(self, seed: int) -> list[Batch]:
        """Returns the batches to judge by: the task's held-out ones, else the first ones of epoch 0.

        The latter are trained on too, so they tell a run that diverges, and not one that overfits.
        """
        if self.held_out is not None:
            seed_all(seed, 0)
            return list(self._checked(self.held_out, (), "held_out"))
        return [batch for _, batch in zip(range(_HELD_OUT_BATCHES), self.epoch(0, seed), strict=False)]

    def loss_of(self, output: object, target: object) -> Tensor:
        """Returns the user's loss, a scalar tensor.

        Raises:
            DataError: the user's function failed or returned something else.
        """
        import torch

        loss = call_user(self.loss, (output, target), "The training loss failed", DataError)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            came = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise DataError(f"The training loss returned {came}; expected a scalar tensor. Average over the batch.")
        return loss.reshape(())

    def _checked(
        self, function: Callable[..., Iterable[object]], args: tuple[object, ...], title: str
    ) -> Iterator[Batch]:
        items = iter(call_user(function, args, f"{title} failed", DataError))
        index = 0
        while True:
            item = call_user(lambda: next(items, None), (), f"{title}: batch {index} failed", DataError)
            if item is None:
                return
            yield _check_batch(item, f"{title}: batch {index}")
            index += 1


def open_training(training: Training, base: Path) -> TrainingData:
    """Returns the functions that a task's `[training]` names, loaded.

    Args:
        training: The table.
        base: Folder of the task file.

    Raises:
        ConfigError: a reference is wrong.
    """
    return TrainingData(
        batches=load_object(training.batches, base, "[training] batches"),
        loss=load_object(training.loss, base, "[training] loss"),
        held_out=load_object(training.held_out, base, "[training] held_out") if training.held_out else None,
        epochs=training.epochs,
        title=training.batches,
    )


def fingerprint(training: Training, base: Path, seed: int, references: Sequence[str] = ()) -> str:
    """Returns a hash of what a task trains on: its first batches, and the source of all modules beside its file.

    A function can depend on anything, so this cannot be complete; batches that start alike and come from the same code
    are taken for the same.

    Args:
        training: The table.
        base: Folder of the task file.
        seed: Random seed of the batches.
        references: Other functions that the training uses, so that their files count too.
    """
    data = open_training(training, base)
    for reference in references:
        load_object(reference, base, "setting")
    hashed = hashlib.sha256()
    for epoch in (0, 1):
        for _, (inputs, target) in zip(range(_FINGERPRINT_BATCHES), data.epoch(epoch, seed), strict=False):
            for tensor in (*inputs, *_tensors(target)):
                hashed.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
                hashed.update(tensor.contiguous().numpy().tobytes())
    for path in sorted(_modules_under(base)):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()


def _modules_under(base: Path) -> set[Path]:
    root = base.resolve()
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    found = {Path(file).resolve() for file in files if file}
    # Some modules of torch name a file that is none, relative to the current folder.
    return {path for path in found if path.is_relative_to(root) and path.suffix == ".py" and path.is_file()}


def _tensors(value: object) -> list[Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _check_batch(item: object, what: str) -> Batch:
    import numpy as np
    import torch

    if not isinstance(item, tuple) or len(item) != 2:
        raise DataError(f"{what} is a {type(item).__name__}; expected a pair (input tuple, target).")
    given, target = item
    inputs = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    tensors = tuple(torch.from_numpy(value) if isinstance(value, np.ndarray) else value for value in inputs)
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, torch.Tensor):
            raise DataError(f"{what}: input {i} is a {type(tensor).__name__}; expected a tensor (batch, ...).")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{what}: input {i} has NaN or infinite values. Check the preprocessing.")
    return tensors, torch.from_numpy(target) if isinstance(target, np.ndarray) else target


def seed_all(seed: int, epoch: int) -> None:
    """Seeds every generator that user code may draw from."""
    import numpy as np
    import torch

    number = int.from_bytes(hashlib.sha256(f"{seed} {epoch}".encode()).digest()[:4], "little")
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002  user code may draw from the old generator
    torch.manual_seed(number)
