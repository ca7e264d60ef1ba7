"""The last operator of a classifier."""

from __future__ import annotations

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel, Value


def _classify(call: Call) -> list[Value]:
    """Returns the label of the largest probability, and the probabilities in the order of the labels."""
    probabilities, classes = call.tensor("probabilities").reshape(-1), call.value("classes")
    if not isinstance(classes, tuple) or len(classes) != probabilities.numel():
        raise ArtifactError(
            f'Operator classify "{call.operation.name}" has {probabilities.numel()} probabilities and a list of '
            f"{len(classes) if isinstance(classes, tuple) else 0} class labels; expected as many labels. "
            "The package is corrupt: export it again."
        )
    label = classes[int(probabilities.argmax().item())]
    return [(label,), probabilities]


OPERATORS: dict[str, Kernel] = {"classify": _classify}
"""By operator type."""
