"""A metric that was given as a function in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

FUNCTION_SUFFIX: Final = "()"
"""How the name of such a metric ends: no built-in metric and no `metrics.py:function` ends so."""


@final
class MetricFunction(str):
    """The name of a metric, `f1()`, that carries its function: where a metric travels as text, this does too.

    Only the process that made it can judge by it. Nothing that it judged is kept in the cache, for a function has no
    digest that says what it depends on.

    Args:
        function: `(outputs, targets) -> float`, larger is better.
    """

    __slots__ = ("function",)

    function: Callable[[Any, Any], float]

    def __new__(cls, function: Callable[[Any, Any], float]) -> MetricFunction:
        """Returns the metric, named after its function."""
        name = getattr(function, "__name__", type(function).__name__)
        made = super().__new__(cls, f"{name}{FUNCTION_SUFFIX}")
        made.function = function
        return made
