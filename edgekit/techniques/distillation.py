"""Teaches one student. Runs in a worker that has torch; see `distill`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast

from edgekit.recipe import Step
from edgekit.techniques.base import Context, TorchModel
from edgekit.techniques.recovery import frozen_graph, normalized_graph, schedule_of, settled, weights_digest
from edgekit.techniques.training_settings import TrainingSettings
from edgekit.training.batch_norms import set_training
from edgekit.training.imitation import feature_loss, imitation_loss
from edgekit.training.loop import Loss, Run, TrainingObjective, train
from edgekit.training.trainable import flat

if TYPE_CHECKING:
    from torch import Tensor, nn

SELF: Final = "self"
"""The student that is the model itself."""


class DistillSettings(TrainingSettings, Protocol):
    """The settings of `distill.Distill` that training reads."""

    @property
    def student(self) -> str:
        """Reference of the student, or `self`."""
        ...

    @property
    def mode(self) -> Literal["offline", "online"]:
        """Who teaches."""
        ...

    @property
    def feature_share(self) -> float:
        """Weight of imitating inner values."""
        ...

    def arguments(self) -> Mapping[str, float | int]:
        """Returns the arguments of the student's factory."""
        ...

    def step(self) -> Step:
        """Returns the technique with all its settings as a step."""
        ...


def teach(technique: DistillSettings, model: TorchModel, teacher: TorchModel, context: Context, run: str) -> TorchModel:
    """Returns the student after training, captured.

    Args:
        technique: Its settings.
        model: Whose inputs and outputs the student must have.
        teacher: Whom it learns from.
        context: Training data and checkpoints.
        run: Tells this student from others of the same technique.
    """
    from edgekit.techniques.program_editing import capture_graph, open_graph
    from edgekit.techniques.user_network import capture_built_network

    if technique.student == SELF:
        student = normalized_graph(model, open_graph(model), context, technique.name)
        _train(technique, (student,), teacher, context, run)
        return capture_graph(model, settled(student))
    students = _built(technique, context)
    _train(technique, students, teacher, context, run)
    for parameter in students[0].parameters():
        parameter.requires_grad_(False)
    return capture_built_network(model, students[0], technique.student)


def _built(technique: DistillSettings, context: Context) -> tuple[nn.Module, ...]:
    """Returns the student and, for mutual learning, a second one from another seed."""
    from edgekit.techniques.user_network import build_user_network

    arguments = technique.arguments()
    seeds = [context.seed, context.seed + 1] if technique.mode == "online" else [context.seed]
    found = tuple(
        build_user_network(technique.student, replace(context, seed=seed), arguments).requires_grad_() for seed in seeds
    )
    if len(found) == 2 and weights_digest(found[0]) == weights_digest(found[1]):
        for module in found[1].modules():
            # The factory seeds by itself; two equal students would have nothing to tell each other.
            reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    return found


def _train(
    technique: DistillSettings, students: tuple[nn.Module, ...], teacher: TorchModel, context: Context, run: str
) -> None:
    objective_of = _online if technique.mode == "online" else _offline
    whole, loss = objective_of(technique, students, teacher, context)
    student = students[0]

    def taught(inputs: tuple[Tensor, ...], target: object) -> Tensor:
        _set_mode(students, training=True)
        return loss(inputs, target)

    def predict(inputs: tuple[Tensor, ...]) -> object:
        _set_mode(students, training=False)
        return student(*inputs)

    schedule = schedule_of(
        context, epochs=technique.epochs, learning_rate=technique.learning_rate, optimizer=technique.optimizer
    )
    key = f"{technique.step()} {run} {weights_digest(whole)}"
    train(
        TrainingObjective(module=whole, loss=taught, predict=predict, name=technique.name),
        context.training_data(),
        schedule,
        Run(
            checkpoint=context.checkpoint(run),
            key=key,
            progress=context.progress,
            seed=context.seed,
            keeps_start=technique.student == SELF,
        ),
    )
    _set_mode(students, training=False)


def _offline(
    technique: DistillSettings, students: tuple[nn.Module, ...], teacher: TorchModel, context: Context
) -> tuple[nn.ModuleList, Loss]:
    """Returns (what is trained, its loss) of a student that learns from a teacher."""
    import torch

    from edgekit.techniques.feature_points import FeatureProbe, key_of, regressors

    data, (student,) = context.training_data(), students
    guide = frozen_graph(teacher)
    share = technique.teacher_share
    probes: tuple[FeatureProbe, FeatureProbe] | None = None
    adapters = torch.nn.ModuleDict()
    if technique.feature_share:
        probes = FeatureProbe(student), FeatureProbe(guide)
        first = next(iter(data.epoch(0, context.seed)))[0]
        _set_mode(students, training=False)
        adapters = regressors(*probes, first)

    def loss(inputs: tuple[Tensor, ...], target: object) -> Tensor:
        guide.to(inputs[0].device)
        output, mine = probes[0](*inputs) if probes else (student(*inputs), {})
        with torch.no_grad():
            wanted, theirs = probes[1](*inputs) if probes else (guide(*inputs) if share else None, {})
        found = (1 - share) * data.loss_of(output, target)
        if share:
            pairs = zip(flat(output), flat(wanted), strict=True)
            found = found + share * sum(
                imitation_loss(one, other, technique.outputs, technique.temperature) for one, other in pairs
            )
        for place in sorted(mine.keys() & theirs.keys()):
            features = adapters[key_of(place)](mine[place].transpose(1, -1)).transpose(1, -1)
            found = found + technique.feature_share * feature_loss(features, theirs[place]) / len(adapters)
        return found

    return torch.nn.ModuleList([student, adapters]), loss


def _online(
    technique: DistillSettings, students: tuple[nn.Module, ...], teacher: TorchModel, context: Context
) -> tuple[nn.ModuleList, Loss]:
    """Returns (what is trained, its loss) of two students that learn from each other."""
    import torch

    del teacher
    data = context.training_data()

    def loss(inputs: tuple[Tensor, ...], target: object) -> Tensor:
        outputs = [student(*inputs) for student in students]
        found = cast("Tensor", sum(data.loss_of(output, target) for output in outputs))
        for mine, other in (outputs, outputs[::-1]):
            for one, two in zip(flat(mine), flat(other), strict=True):
                found = found + imitation_loss(one, two, technique.outputs, 1.0)
        return found

    return torch.nn.ModuleList(students), loss


def _set_mode(students: tuple[nn.Module, ...], *, training: bool) -> None:
    import torch

    for student in students:
        if isinstance(student, torch.fx.GraphModule):  # a captured graph has modes in its batch norms only
            set_training(student, training=training)
        else:
            student.train(training)
