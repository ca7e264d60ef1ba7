"""The training loop: interruptible, resumable, reproducible from its seed. Runs in a worker that has torch.

A checkpoint is written every half minute and at the end of each epoch. A run that was killed goes on at its last
checkpoint: the batches before it are drawn again and skipped, so that what comes after is bit for bit what it would
have been. The weights that did best on the held-out batches are kept.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard, final

from edgekit.errors import TechniqueError
from edgekit.training.checkpoint import read_checkpoint, write_checkpoint
from edgekit.training.schedule import Schedule
from edgekit.training.training_data import Batch, TrainingData
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

CHECKPOINT_EVERY_S: Final = 30.0

_SMALLEST: Final = 1e-3
"""Size that a tensor counts as at least where its rate follows its size: zeros must be able to move."""


Loss: TypeAlias = "Callable[[tuple[Tensor, ...], object], Tensor]"
"""(inputs, target) to the scalar loss of a batch."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingObjective:
    """What is trained.

    Attributes:
        module: torch.nn.Module whose parameters with gradients are trained; its state is what checkpoints hold.
        loss: (inputs, target) to the scalar loss of a batch; runs the model.
        predict: Inputs to the outputs that the held-out batches are judged by.
        name: For messages: the technique's.
    """

    module: nn.Module
    loss: Loss
    predict: Callable[[tuple[Tensor, ...]], object]
    name: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How a model does on the held-out batches.

    Attributes:
        loss: Mean of the user's loss.
        accuracy: Share of right classes, None where the task is no classification.
    """

    loss: float
    accuracy: float | None

    @property
    def score(self) -> float:
        """More is better: accuracy, ties broken by the loss; else the negative loss."""
        return -self.loss if self.accuracy is None else self.accuracy - 1e-4 * math.tanh(self.loss)

    def __str__(self) -> str:
        return f"loss {self.loss:.3f}" if self.accuracy is None else f"accuracy {100 * self.accuracy:.1f} %"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a training run; the module holds the best weights.

    Attributes:
        before: On the held-out batches before the first step.
        best: The best one, which may be `before`.
        history: After each epoch.
        resumed: It went on from a checkpoint.
    """

    before: Judgement
    best: Judgement
    history: tuple[Judgement, ...]
    resumed: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a training run is kept and reported.

    Attributes:
        checkpoint: The file; None keeps none.
        key: What the run depends on, beside seed and schedule: a checkpoint of another run is not used.
        progress: Callback that gets what is going on.
        seed: Random seed.
        keeps_start: The weights before the first step are a candidate for the best ones.
        until: Epochs after which it stops, on the schedule of all epochs; the same run without it, or with a later
            one, goes on at the checkpoint. None trains all epochs.
    """

    checkpoint: Path | None
    key: str
    progress: Progress
    seed: int = 0
    keeps_start: bool = True
    until: int | None = None


def device_of_training() -> torch.device:
    """Returns the torch device to train on: a GPU where there is one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(objective: TrainingObjective, data: TrainingData, schedule: Schedule, run: Run) -> Trained:
    """Trains the lesson's module in place, and leaves its best weights in it, on the CPU.

    Args:
        objective: What is trained.
        data: What it is trained on.
        schedule: How long and how fast.
        run: How it is kept and reported.

    Raises:
        DataError: the user's batches or loss are wrong.
        TechniqueError: the loss is no longer a number.
    """
    loop = _Loop(objective, data, schedule, run)
    try:
        return loop.run()
    finally:
        objective.module.to("cpu")


def judge(objective: TrainingObjective, data: TrainingData, batches: Sequence[Batch]) -> Judgement:
    """Returns how the lesson's model does on `batches`, in its present mode."""
    import torch

    device = next(objective.module.parameters()).device
    total = right = rows = 0.0
    is_classification = True
    with torch.no_grad():
        for inputs, target in batches:
            output = objective.predict(moved(inputs, device))
            wanted = moved(target, device)
            count = len(inputs[0])
            total += float(data.loss_of(output, wanted)) * count
            rows += count
            if is_classification and _is_class(output, wanted):
                right += float((output.argmax(dim=1) == wanted).sum())
            else:
                is_classification = False
    return Judgement(loss=total / max(1.0, rows), accuracy=right / max(1.0, rows) if is_classification else None)


def moved(value: Any, device: torch.device) -> Any:
    """Returns tensors, or tuples and lists of them, on a device; anything else as it is."""
    if isinstance(value, (tuple, list)):
        return type(value)(moved(item, device) for item in value)
    return value.to(device) if hasattr(value, "to") else value


def _is_class(output: object, target: object) -> TypeGuard[Tensor]:
    import torch

    return (
        isinstance(output, torch.Tensor)
        and isinstance(target, torch.Tensor)
        and output.ndim == 2
        and target.shape == output.shape[:1]
        and not target.is_floating_point()
    )


@final
class _Loop:
    """One run of `train`."""

    def __init__(self, objective: TrainingObjective, data: TrainingData, schedule: Schedule, run: Run) -> None:
        self._objective, self._data, self._schedule, self._run = objective, data, schedule, run
        self._device = device_of_training()
        objective.module.to(self._device)
        self._trained = [p for p in objective.module.parameters() if p.requires_grad]
        self._optimizer = _optimizer(self._trained, schedule)
        self._key = hashlib.sha256(f"{run.key} {run.seed} {schedule}".encode()).hexdigest()
        self._batches = data.length(run.seed)
        self._held_out = data.held_out_batches(run.seed)
        self._saved = time.monotonic()

    def run(self) -> Trained:
        place = self._run.checkpoint
        found = read_checkpoint(place, self._key, self._run.progress) if place is not None else None
        state: dict[str, Any]
        if found is None:
            first = judge(self._objective, self._data, self._held_out)
            kept = self._weights() if self._run.keeps_start and math.isfinite(first.loss) else None
            start = _facts(first)
            state = {"epoch": 0, "step": 0, "before": start, "best": start, "weights": kept, "history": []}
        else:
            state = found
            self._objective.module.load_state_dict(state.pop("module"))
            self._optimizer.load_state_dict(state.pop("optimizer"))
        for epoch in range(state["epoch"], self._schedule.epochs if self._run.until is None else self._run.until):
            self._train_epoch(epoch, state)
            self._finish_epoch(epoch, state)
        self._objective.module.load_state_dict(state["weights"])
        return Trained(
            before=_judgement(state["before"]),
            best=_judgement(state["best"]),
            history=tuple(_judgement(item) for item in state["history"]),
            resumed=found is not None,
        )

    def _train_epoch(self, epoch: int, state: dict[str, Any]) -> None:
        skipped = state["step"]
        for step, (inputs, target) in enumerate(self._data.epoch(epoch, self._run.seed)):
            if step < skipped:
                continue
            loss = self._step(epoch, step, inputs, target)
            if step % 10 == 0:
                share = (epoch + step / self._batches) / self._schedule.epochs
                last = f", held-out {_judgement(state['history'][-1])}" if state["history"] else ""
                self._run.progress(
                    f"epoch {epoch + 1} of {self._schedule.epochs}: loss {loss:.3f}{last}", min(1.0, share)
                )
            if time.monotonic() - self._saved > CHECKPOINT_EVERY_S:
                state["step"] = step + 1
                self._save(state)

    def _step(self, epoch: int, step: int, inputs: tuple[Tensor, ...], target: object) -> float:
        import torch

        share = (epoch + min(1.0, step / self._batches)) / self._schedule.epochs
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate_at(share) * group["factor"]
        self._optimizer.zero_grad(set_to_none=True)
        # What the loss draws must not move the generator that the batches draw from; and a generator of batches that
        # yields inside of torch.no_grad() leaves gradients switched off.
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(hash((self._run.seed, epoch, step)) & 0x7FFFFFFF)
            loss = self._objective.loss(moved(inputs, self._device), moved(target, self._device))
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, self._schedule.largest_gradient)
        self._optimizer.step()
        found = float(loss.detach())
        if not math.isfinite(found):
            raise TechniqueError(
                f"{self._objective.name}: the training loss is {found} at step {step} of epoch {epoch}. "
                f"Give a smaller learning_rate than {self._schedule.learning_rate:g}."
            )
        return found

    def _finish_epoch(self, epoch: int, state: dict[str, Any]) -> None:
        found = judge(self._objective, self._data, self._held_out)
        state["history"].append(_facts(found))
        if state["weights"] is None or (math.isfinite(found.loss) and found.score >= _judgement(state["best"]).score):
            state["best"], state["weights"] = _facts(found), self._weights()
        state["epoch"], state["step"] = epoch + 1, 0
        self._run.progress(
            f"epoch {epoch + 1} of {self._schedule.epochs}: held-out {found}", (epoch + 1) / self._schedule.epochs
        )
        self._save(state)

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self._objective.module.state_dict().items()}

    def _save(self, state: dict[str, Any]) -> None:
        if self._run.checkpoint is not None:
            whole = {**state, "module": self._objective.module.state_dict(), "optimizer": self._optimizer.state_dict()}
            write_checkpoint(self._run.checkpoint, self._key, whole)
        self._saved = time.monotonic()


def _optimizer(parameters: Sequence[nn.Parameter], schedule: Schedule) -> torch.optim.Optimizer:
    """Returns the optimizer; `schedule.relative` spares parameters that are logarithms, which have `is_log`."""
    import torch

    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        relative = schedule.relative and not getattr(parameter, "is_log", False)
        factor = max(_SMALLEST, float(parameter.detach().square().mean().sqrt())) if relative else 1.0
        groups.setdefault((parameter.ndim > 1, factor), []).append(parameter)
    described = [
        {"params": found, "weight_decay": schedule.weight_decay if decays else 0.0, "factor": factor}
        for (decays, factor), found in groups.items()
    ]
    if schedule.optimizer == "adamw":
        return torch.optim.AdamW(described, lr=schedule.learning_rate)
    return torch.optim.SGD(described, lr=schedule.learning_rate, momentum=schedule.momentum, nesterov=True)


def _facts(judgement: Judgement) -> dict[str, float | None]:
    return {"loss": judgement.loss, "accuracy": judgement.accuracy}


def _judgement(facts: dict[str, Any]) -> Judgement:
    return Judgement(loss=facts["loss"], accuracy=facts["accuracy"])
