"""What an export works on as a value that travels: it lies in the cache, so no later job runs user code again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from edgekit.errors import ERRORS_BY_NAME, EdgekitError
from edgekit.model import CapturedModel
from edgekit.samples import Samples

if TYPE_CHECKING:
    from edgekit.exporting.inputs import Inputs
    from edgekit.task.task import Task


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error that travels as a value."""

    error: str
    message: str

    @staticmethod
    def of(error: EdgekitError) -> Failure:
        """Returns the value of an error."""
        return Failure(error=type(error).__name__, message=error.message)

    def exception(self) -> EdgekitError:
        """Returns the error; of a third party's own class the nearest that is known."""
        return ERRORS_BY_NAME.get(self.error, EdgekitError)(self.message)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedInputs:
    """What user code gave, in the cache: no later job runs it again.

    Attributes:
        model: The float model.
        torch_model: The same as an exported program; None where that failed.
        torch_failure: Why it failed.
        calibration: None where the task names none.
        evaluation: None where the task names none.
        reference: The float model's outputs on `evaluation`.
    """

    model: CapturedModel
    torch_model: CapturedModel | None
    torch_failure: Failure | None
    calibration: Samples | None
    evaluation: Samples | None
    reference: Samples | None

    @staticmethod
    def of(inputs: Inputs) -> CapturedInputs:
        """Returns the inputs without their task, which is known where they go."""
        torch_model = inputs.torch_model
        failed = torch_model if isinstance(torch_model, EdgekitError) else None
        return CapturedInputs(
            model=inputs.model,
            torch_model=None if isinstance(torch_model, EdgekitError) else torch_model,
            torch_failure=None if failed is None else Failure.of(failed),
            calibration=inputs.calibration,
            evaluation=inputs.evaluation,
            reference=inputs.reference,
        )

    def digests(self) -> dict[str, str | None]:
        """Returns what a verdict depends on."""
        samples = {"calibration": self.calibration, "evaluation": self.evaluation}
        return {
            "model": self.model.digest,
            **{name: None if one is None else one.sha256 for name, one in samples.items()},
        }

    def inputs(self, task: Task) -> Inputs:
        """Returns what an export of the task works on."""
        from edgekit.exporting.inputs import Inputs

        error = None if self.torch_failure is None else self.torch_failure.exception()
        return Inputs(
            task=task,
            model=self.model,
            torch_model=error or self.torch_model or self.model,
            calibration=self.calibration,
            evaluation=self.evaluation,
            reference=self.reference,
        )
