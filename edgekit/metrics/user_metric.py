"""A user's own metric, `file.py:function`: f(outputs, targets) -> float, larger is better; interval: bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from edgekit.errors import DataError
from edgekit.metrics.metric import FigureMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
class UserMetric(FigureMetric):
    """A function of the task's.

    Args:
        name: `file.py:function`, or a name for people.
        function: Takes outputs and targets, returns one number.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self._function = function

    def outputs_read(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Returns the places of the outputs in the function's attribute `reads` (names, or places from 0), else all.

        Raises:
            DataError: it reads an output that is not there.
        """
        reads: Any = getattr(self._function, "reads", None)
        if reads is None:
            return tuple(range(len(names)))
        listed = (reads,) if isinstance(reads, (str, int)) else tuple(reads)
        places: list[int] = []
        for item in listed:
            place: Any = names.index(item) if item in names else item
            if not isinstance(place, int) or not 0 <= place < len(names):
                raise DataError(
                    f"The metric {self.name} reads {item!r}; the outputs are {', '.join(names)}. "
                    "Name one of them in `reads`."
                )
            places.append(place)
        return tuple(places)

    def figure(self, outputs: tuple[NDArray[Any], ...], targets: NDArray[Any] | None) -> float:
        """Returns what the function says. It gets the one output's array, or a tuple where there are several."""
        try:
            value = self._function(outputs[0] if len(outputs) == 1 else outputs, targets)
        except Exception as error:
            raise DataError(
                f"The metric {self.name} failed with {type(error).__name__}: {error}. It is called with "
                "(outputs, targets): "
                f"arrays of shape {', '.join(str(array.shape) for array in outputs)} and "
                f"{targets.shape if targets is not None else None}."
            ) from error
        try:
            return float(value)
        except (TypeError, ValueError):
            raise DataError(
                f"The metric {self.name} returned {type(value).__name__}; expected one number, larger is better."
            ) from None


def load_user_metric(metric: str, base: Path) -> UserMetric:
    """Returns the metric that `file.py:function` names.

    Raises:
        ConfigError: it cannot be loaded.
        DataError: it is no function.
    """
    from edgekit.task.user_code import load_object

    function = load_object(metric, base, "[data] metric")
    if not callable(function):
        raise DataError(f"{metric} is {type(function).__name__} and not a function (outputs, targets) -> float.")
    return UserMetric(metric, function)
