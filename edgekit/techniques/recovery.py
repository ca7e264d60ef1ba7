"""Trains a changed graph until it does again what it did. Shared by the techniques that train.

Runs inside a worker: the user's batches and loss are called here and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final

from edgekit.techniques.base import Context, TorchModel
from edgekit.training.batch_norms import insert_batch_norms, set_training
from edgekit.training.imitation import Outputs, imitation_loss
from edgekit.training.loop import Run, Trained, TrainingObjective, train
from edgekit.training.schedule import Optimizer, Schedule
from edgekit.training.trainable import flat, free_batch, freeze, make_trainable, require_batches

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import GraphModule

_STATISTICS_BATCHES: Final = 8


def trainable_graph(model: TorchModel, graph_module: GraphModule, name: str) -> GraphModule:
    """Returns the graph ready for training: any batch size, gradients in its weights.

    Raises:
        TechniqueError: a shape in it holds the batch of 1.
    """
    from edgekit.techniques.program_checks import example_feed

    free_batch(graph_module)
    require_batches(graph_module, example_feed(model.program), f"{name}: {model.facts.source}")
    return make_trainable(graph_module)


def normalized_graph(model: TorchModel, graph_module: GraphModule, context: Context, name: str) -> GraphModule:
    """Returns the graph as `trainable_graph` does, with batch norms where capturing has folded them away."""
    trainable_graph(model, graph_module, name)
    batches = (inputs for inputs, _ in islice(context.training_data().epoch(0, context.seed), _STATISTICS_BATCHES))
    insert_batch_norms(graph_module, batches)
    return graph_module


def frozen_graph(model: TorchModel) -> GraphModule:
    """Returns the model's graph for any batch size, without gradients: a teacher."""
    from edgekit.techniques.program_editing import open_graph

    graph_module = open_graph(model)
    free_batch(graph_module)
    return freeze(graph_module)


def schedule_of(
    context: Context,
    *,
    epochs: int,
    learning_rate: float,
    optimizer: Optimizer,
    weight_decay: float = 5e-4,
    relative: bool = False,
) -> Schedule:
    """Returns the schedule of a technique's settings; 0 epochs means as many as the task names."""
    return Schedule(
        epochs=epochs or context.training_data().epochs,
        learning_rate=learning_rate,
        optimizer=optimizer,
        weight_decay=weight_decay,
        relative=relative and optimizer == "adamw",
    )


def recover(
    graph_module: GraphModule,
    context: Context,
    schedule: Schedule,
    *,
    name: str,
    run: str,
    teacher: GraphModule | None = None,
    teacher_share: float = 0.5,
    temperature: float = 2.0,
    outputs: Outputs = "logits",
    penalty: Callable[[], Tensor] | None = None,
) -> Trained:
    """Trains a graph in place on the user's loss, and toward a teacher where there is one.

    Args:
        graph_module: From `trainable_graph`.
        context: Whose training data and checkpoints are used.
        schedule: How long and how fast.
        name: The technique's, for messages.
        run: Tells this training run from others of the same technique.
        teacher: From `frozen_graph`; None trains on the user's loss alone.
        teacher_share: Weight of the teacher's part of the loss, 0 to 1.
        temperature: Temperature of soft targets.
        outputs: What the outputs are, for the teacher's part.
        penalty: A further term of the loss.

    Raises:
        TechniqueError: the loss is no longer a number.
        DataError: the user's batches or loss are wrong.
    """
    data = context.training_data()

    def loss(inputs: tuple[Tensor, ...], target: object) -> Tensor:
        import torch

        set_training(graph_module, training=True)
        output = graph_module(*inputs)
        found = data.loss_of(output, target)
        if teacher is not None and teacher_share > 0:
            with torch.no_grad():
                taught = teacher.to(inputs[0].device)(*inputs)
            imitated = sum(
                imitation_loss(one, other, outputs, temperature)
                for one, other in zip(flat(output), flat(taught), strict=True)
            )
            found = (1 - teacher_share) * found + teacher_share * imitated
        return found if penalty is None else found + penalty()

    def predict(inputs: tuple[Tensor, ...]) -> object:
        set_training(graph_module, training=False)
        return graph_module(*inputs)

    objective = TrainingObjective(module=graph_module, loss=loss, predict=predict, name=name)
    return train(
        objective,
        data,
        schedule,
        Run(
            checkpoint=context.checkpoint(run),
            key=f"{name} {run} {weights_digest(graph_module)}",
            progress=context.progress,
            seed=context.seed,
            keeps_start=True,
        ),
    )


def weights_digest(module: nn.Module) -> str:
    """Returns a hash of a module's weights: a checkpoint belongs to what training began with."""
    hashed = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        hashed.update(f"{name}{tuple(tensor.shape)}".encode())
        hashed.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def settled(graph_module: GraphModule) -> GraphModule:
    """Returns a graph after training without gradients, on the CPU, ready to be captured."""
    set_training(graph_module, training=False)
    return freeze(graph_module.cpu())
