"""How a metric is written: `top1`, or with settings, `recall_at_k(k=5)` and `map(decoder="yolov8", classes=80)`.

A metric travels as text through requests and keys of the cache, so its settings travel in the text. A user's function
is a reference (see `references`) and no metric of the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, final

from edgekit.errors import DataError, InputError
from edgekit.plugins import load_plugin
from edgekit.registry import metric_names, metric_target
from edgekit.task.references import Value, read_arguments
from edgekit.task.task_kinds import Targets, kind_of_metric

_CALL: Final = re.compile(r"([^\W\d]\w*)\s*(\(.*\))?", re.DOTALL)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MetricText:
    """A metric of the table with its settings.

    Attributes:
        name: What it is called there.
        settings: Name to value, in the order in which they were written.
    """

    name: str
    settings: Mapping[str, Value] = field(default_factory=dict[str, Value])

    def __str__(self) -> str:
        """The form in which users write it."""
        words = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{self.name}({words})" if words else self.name

    def with_settings(self, settings: Mapping[str, Value]) -> MetricText:
        """Returns the metric with these settings; those that it has already win."""
        new = {name: value for name, value in settings.items() if name not in self.settings}
        return MetricText(name=self.name, settings={**self.settings, **new})


def parse_metric_text(text: str, error: type[InputError] = DataError) -> MetricText | None:
    """Returns the name and the settings of a metric of the table, None for the reference of a user's function.

    Raises:
        InputError: its settings cannot be read.
    """
    found = _CALL.fullmatch(text.strip())
    if found is None:
        return None
    settings = read_arguments(found[2], f'The metric "{text}"', error) if found[2] else ()
    return MetricText(name=found[1], settings=dict(settings))


def metric_title(text: str) -> str:
    """Returns the metric without its settings, for a sentence."""
    found = _CALL.fullmatch(text.strip())
    return found[1] if found else text


def targets_of_metric(text: str) -> str:
    """Returns what an item's target belongs to, `row`, `pair` or `table`: see `Metric.targets`. A function's: `row`."""
    name = metric_title(text)
    if name not in metric_names():
        return "row"
    return str(load_plugin("metric", name, metric_target(name)).targets)


def targets_of_kind(text: str) -> Targets | None:
    """Returns what a metric compares with of annotated pictures, None where it compares with nothing that they say."""
    call = None if ":" in metric_title(text) else parse_metric_text(text)
    if call is None:
        return None
    name = str(call.settings.get("metric", "")) if call.name == "agreement_of" else call.name
    kind = kind_of_metric(name)
    return kind.targets if kind else None
