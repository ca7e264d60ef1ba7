"""The settings that every technique has which trains a network to imitate another."""

from __future__ import annotations

from typing import ClassVar, Protocol

from edgekit.training.imitation import Outputs
from edgekit.training.schedule import Optimizer


class TrainingSettings(Protocol):
    """What the training of such a technique reads of its settings."""

    name: ClassVar[str]

    @property
    def epochs(self) -> int:
        """Epochs; 0 for as many as the task names."""
        ...

    @property
    def learning_rate(self) -> float:
        """The highest learning rate."""
        ...

    @property
    def optimizer(self) -> Optimizer:
        """Name of the optimizer."""
        ...

    @property
    def teacher_share(self) -> float:
        """Weight of imitating the teacher."""
        ...

    @property
    def temperature(self) -> float:
        """Temperature of soft targets."""
        ...

    @property
    def outputs(self) -> Outputs:
        """What is imitated."""
        ...
