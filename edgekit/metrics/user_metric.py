"""A user's own metric: found, asked which outputs it reads, called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load_metric(metric: str, base: Path, known: Sequence[str]) -> Callable[..., Any]:
    """Returns the function that `metric` names.

    Args:
        metric: `file.py:function` or `module:function`.
        base: Folder that a relative file starts from.
        known: Names of the built-in metrics, for the message.

    Raises:
        DataError: it names no function.
        ConfigError: it cannot be loaded.
    """
    from edgekit.task.user_code import load_object

    if ":" not in metric:
        raise DataError(
            f'"{metric}" is not a metric: accepted are {", ".join(known)}, or a function of your own as '
            '"metrics.py:function".'
        )
    function = load_object(metric, base, "[data] metric")
    if not callable(function):
        raise DataError(f"{metric} is {type(function).__name__} and not a function (outputs, targets) -> float.")
    loaded: Callable[..., Any] = function
    return loaded


def outputs_read(function: Callable[..., Any], metric: str, names: Sequence[str]) -> tuple[int, ...]:
    """Returns the places of the outputs that a metric reads: those in its attribute `reads`, else all.

    Args:
        function: The metric.
        metric: Its reference, for the message.
        names: Of the outputs; `reads` holds names, or places counted from 0.

    Raises:
        DataError: it reads an output that is not there.
    """
    reads: Any = getattr(function, "reads", None)
    if reads is None:
        return tuple(range(len(names)))
    listed = (reads,) if isinstance(reads, (str, int)) else tuple(reads)
    places = [names.index(item) if item in names else item for item in listed]
    if wrong := [item for item in places if not isinstance(item, int) or not 0 <= item < len(names)]:
        raise DataError(
            f"The metric {metric} reads {wrong[0]!r}; the outputs are {', '.join(names)}. Name one of them in `reads`."
        )
    return tuple(places)


def call_metric(
    function: Callable[..., Any], metric: str, outputs: tuple[NDArray[Any], ...], targets: NDArray[Any] | None
) -> float:
    """Returns what a user's metric says. It gets the one output's array, or a tuple of them where there are several.

    Raises:
        DataError: it failed, or returned no number.
    """
    try:
        value = function(outputs[0] if len(outputs) == 1 else outputs, targets)
    except Exception as error:
        raise DataError(
            f"The metric {metric} failed with {type(error).__name__}: {error}. It is called with (outputs, targets): "
            f"arrays of shape {', '.join(str(array.shape) for array in outputs)} and "
            f"{targets.shape if targets is not None else None}."
        ) from error
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"The metric {metric} returned {type(value).__name__}; expected one number, larger is better."
        ) from None
