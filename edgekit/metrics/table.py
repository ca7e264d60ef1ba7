"""Metrics by name: edgekit's own, third parties' (entry point group `edgekit.metrics`), and users' functions."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from edgekit.errors import DataError, PluginError
from edgekit.metrics.metric import Metric
from edgekit.metrics.metric_function import FUNCTION_SUFFIX, MetricFunction
from edgekit.metrics.user_metric import UserMetric, load_user_metric
from edgekit.plugins import load_plugin
from edgekit.registry import metric_names, metric_target


def find_metric(name: str, base: Path = Path()) -> Metric:
    """Returns the metric `name`: one of `registry.metric_names()`, `file.py:function`, or a function in memory.

    Args:
        name: What users write, or a `MetricFunction`.
        base: Folder that a relative `file.py:function` starts from.

    Raises:
        ConfigError: a `file.py:function` that cannot be loaded.
        DataError: no such metric, not a function, or a function in the memory of another process.
        PluginError: a third party's that cannot be loaded, or is no metric.
    """
    if isinstance(name, MetricFunction):
        return UserMetric(name, name.function)
    if name.endswith(FUNCTION_SUFFIX):
        raise DataError(
            f"The metric {name} is a function of the process that called edgekit, and this is judged in another one. "
            'Give it as text: "metrics.py:function".'
        )
    if ":" in name:
        return load_user_metric(name, base)
    if name not in metric_names():
        raise DataError(
            f'"{name}" is not a metric: accepted are {", ".join(metric_names())}, or a function of your own as '
            '"metrics.py:function".'
        )
    return _loaded(name, metric_target(name))


def classifies(name: str) -> bool:
    """Returns True if a metric says that the first output holds class scores. A user's function does not say."""
    return ":" not in name and name in metric_names() and find_metric(name).classifies


def against_float(name: str) -> bool:
    """Returns True if a metric compares with the float model's outputs. A user's function does not."""
    return ":" not in name and name in metric_names() and find_metric(name).against_float


@cache
def _loaded(name: str, target: str) -> Metric:
    found: Any = load_plugin("metric", name, target)
    if not (isinstance(found, type) and issubclass(found, Metric)) or found.name != name:
        raise PluginError(
            f'The entry point "{name}" of edgekit.metrics must name a subclass of edgekit.metrics.metric.Metric called '
            f'"{name}"; {target} is not one. Mend the distribution that brings it.'
        )
    return found()
