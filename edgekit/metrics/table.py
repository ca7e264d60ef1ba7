"""Metrics by name: edgekit's own, third parties' (entry point group `edgekit.metrics`), and users' functions."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from edgekit.errors import DataError, PluginError
from edgekit.metrics.metric import Metric
from edgekit.metrics.metric_function import FUNCTION_SUFFIX, MetricFunction
from edgekit.metrics.user_metric import UserMetric, load_user_metric
from edgekit.plugins import configured, load_plugin
from edgekit.registry import metric_names, metric_target
from edgekit.task.metric_text import MetricText, parse_metric_text

AGREEMENT: Final = "agreement_of"
"""The metric that takes any other's place, against the float model's decisions instead of targets."""


def find_metric(name: str, base: Path = Path()) -> Metric:
    """Returns the metric `name`: one of `registry.metric_names()`, `file.py:function`, or a function in memory.

    Args:
        name: What users write, settings included, or a `MetricFunction`.
        base: Folder that a relative `file.py:function` starts from.

    Raises:
        ConfigError: a `file.py:function` that cannot be loaded.
        DataError: no such metric, not a function, a function in the memory of another process, or wrong settings.
        PluginError: a third party's that cannot be loaded, or is no metric.
    """
    if isinstance(name, MetricFunction):
        return UserMetric(name, name.function)
    if name.endswith(FUNCTION_SUFFIX):
        raise DataError(
            f"The metric {name} is a function of the process that called edgekit, and this is judged in another one. "
            'Give it as text: "metrics.py:function".'
        )
    call = parse_metric_text(name)
    if call is None and ":" in name:
        return load_user_metric(name, base)
    if call is None or call.name not in metric_names():
        raise DataError(
            f'"{name}" is not a metric: accepted are {", ".join(metric_names())}, or a function of your own as '
            '"metrics.py:function".'
        )
    made: Metric = configured(
        f"The metric {call.name}", _loaded(call.name, metric_target(call.name)), dict(call.settings)
    )
    return made


def stand_in(name: str, base: Path = Path()) -> str:
    """Returns the metric that takes the place of `name` where samples have no targets; `name` itself without one.

    Raises:
        DataError: as for `find_metric`.
    """
    found = find_metric(name, base)
    call = None if isinstance(name, MetricFunction) else parse_metric_text(name)
    if found.stand_in != AGREEMENT or call is None:
        return found.stand_in or name
    return str(MetricText(name=AGREEMENT, settings={"metric": call.name, **call.settings}))


def classifies(name: str) -> bool:
    """Returns True if a metric says that the first output holds class scores. A user's function does not say."""
    found = _class_of(name)
    return found is not None and found.classifies


def against_float(name: str) -> bool:
    """Returns True if a metric compares with the float model's outputs. A user's function does not."""
    found = _class_of(name)
    return found is not None and found.against_float


def _class_of(name: str) -> type[Metric] | None:
    """Returns the class of a metric of the table, None for a user's function and for what is no metric."""
    call = parse_metric_text(name) if not name.endswith(FUNCTION_SUFFIX) else None
    return _loaded(call.name, metric_target(call.name)) if call and call.name in metric_names() else None


@cache
def _loaded(name: str, target: str) -> type[Metric]:
    found: Any = load_plugin("metric", name, target)
    if not (isinstance(found, type) and issubclass(found, Metric)) or found.name != name:
        raise PluginError(
            f'The entry point "{name}" of edgekit.metrics must name a subclass of edgekit.metrics.metric.Metric called '
            f'"{name}"; {target} is not one. Mend the distribution that brings it.'
        )
    return found
