"""Which metric a task is judged by: what it says itself, the default of its kind, and the settings of its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgekit.errors import ConfigError, DataError
from edgekit.files.bounded_reading import SETTINGS_BYTES, read_text
from edgekit.plugins import configured, load_plugin
from edgekit.registry import metric_names, metric_target
from edgekit.task.metric_text import MetricText, parse_metric_text
from edgekit.task.references import Value
from edgekit.task.task_kinds import DEFAULT_METRIC, TASKS

_ALPHABET: Final = "alphabet"


def fitting_metric(metric: str | None, kind: str | None, head: Sequence[tuple[str, Value]]) -> str:
    """Returns the metric as text, settings included.

    Args:
        metric: As the user wrote it; None takes the default of the kind.
        kind: What the model does, a key of `TASKS`; None where nobody says it.
        head: How its outputs are decoded.

    Raises:
        DataError: the metric is of another kind of task, or lacks a setting of the head.
    """
    known = TASKS[kind] if kind else None
    text = metric or (known.metrics[0] if known else DEFAULT_METRIC)
    call = parse_metric_text(text) if not text.endswith("()") else None
    if call is None or call.name not in metric_names():
        return text
    if known and call.name == DEFAULT_METRIC:
        call = _agreement(known.agreement, known.metrics[0])
    own = [name for item in TASKS.values() for name in item.metrics]
    if known and call.name in own and call.name not in known.metrics:
        raise DataError(
            f'[data] metric is "{call.name}", which is no metric of the task {kind}: its metrics are '
            f"{', '.join(known.metrics)}, agreement, and functions of your own."
        )
    if head and call.name not in (DEFAULT_METRIC, "cosine"):
        call = call.with_settings(dict(head))
    _check(call)
    return str(call)


def read_head(head: Sequence[tuple[str, Value]], config: Path) -> tuple[tuple[str, Value], ...]:
    """Returns the settings of a head; an alphabet that names a file is what the file holds, one character a line.

    Raises:
        ConfigError: a line with another number of characters.
    """
    return tuple((name, _alphabet(config, value) if name == _ALPHABET else value) for name, value in head)


def _agreement(name: str, metric: str) -> MetricText:
    return MetricText(name=name) if name else MetricText(name="agreement_of", settings={"metric": metric})


def _check(call: MetricText) -> None:
    """Makes the metric once, so that wrong settings are found before any work."""
    plugin: Any = load_plugin("metric", call.name, metric_target(call.name))
    settings: Mapping[str, Value] = call.settings
    configured(f"The metric {call.name}", plugin, settings)


def _alphabet(config: Path, value: Value) -> Value:
    path = config.parent / str(value)
    try:
        if not path.is_file():
            return value
    except (OSError, ValueError):  # characters that no file may be called by
        return value
    lines = read_text(path, ConfigError, limit_bytes=SETTINGS_BYTES).split("\n")
    lines = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    wrong = next((i for i, line in enumerate(lines, start=1) if len(line) != 1), None)
    if wrong is not None:
        raise ConfigError(
            f"{config}: head.alphabet: line {wrong} of {path} has {len(lines[wrong - 1])} characters; expected one a "
            "line."
        )
    return "".join(lines)
