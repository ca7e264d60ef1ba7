"""What a student pays for departing from its teacher. Runs in a worker that has torch.

logits      T^2 * KL(softmax(t / T) || softmax(s / T)), averaged over rows (Hinton, Vinyals, Dean, "Distilling the
            Knowledge in a Neural Network", 2015, section 2: gradients of soft targets scale as 1 / T^2, hence T^2)
embeddings  1 - cosine + squared distance over the teacher's mean square, averaged over rows
sequence    logits at every position: (batch, position, class)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Outputs = Literal["logits", "embeddings", "sequence"]


def imitation_loss(student: Tensor, teacher: Tensor, outputs: Outputs, temperature: float) -> Tensor:
    """Returns the loss of one output, a scalar tensor with gradients for the student alone.

    Args:
        student: (batch, ...) float.
        teacher: The same shape.
        outputs: What they are.
        temperature: T of soft targets.
    """
    from torch.nn import functional

    wanted = teacher.detach()
    if outputs == "embeddings":
        rows, goal = student.flatten(1), wanted.flatten(1)
        away = 1 - functional.cosine_similarity(rows, goal, dim=1).mean()
        return away + functional.mse_loss(rows, goal) / goal.square().mean().clamp(min=1e-12)
    if outputs == "sequence":
        student, wanted = (value.reshape(-1, value.shape[-1]) for value in (student, wanted))
    soft = functional.log_softmax(wanted.flatten(1) / temperature, dim=1)
    found = functional.log_softmax(student.flatten(1) / temperature, dim=1)
    return temperature**2 * functional.kl_div(found, soft, reduction="batchmean", log_target=True)


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns how far features are from a teacher's, after each was brought to a mean square of 1 for each row.

    Romero et al., "FitNets: Hints for Thin Deep Nets", 2015, eq. 3, with the normalisation of Zagoruyko & Komodakis,
    "Paying More Attention to Attention", 2017, eq. 2; the student's side comes through a regressor of its own.

    Args:
        student: (batch, ...) float, in the teacher's shape.
        teacher: (batch, ...) float.
    """
    from torch.nn import functional

    sides = [value.flatten(1) for value in (student, teacher.detach())]
    one, other = (side / side.square().mean(dim=1, keepdim=True).clamp(min=1e-12).sqrt() for side in sides)
    return functional.mse_loss(one, other)
