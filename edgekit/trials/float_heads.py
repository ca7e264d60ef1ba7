"""Which heads of a model must stay float: found in its graph, and judged on its calibration data where it has any."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgekit.analysis.graph import Analysis
from edgekit.analysis.output_heads import Head, analysis_operators, find_heads
from edgekit.errors import ConversionError, ModelError
from edgekit.metrics.metric_function import MetricFunction
from edgekit.metrics.table import classifies
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.planner.float_heads import FloatHead
from edgekit.simulation.head_ranges import JUDGE_HEADS, HeadRequest, JudgedHead, JudgedHeads, by_structure
from edgekit.task.task import Task
from edgekit.trials.simulation_data import ready_to_simulate
from edgekit.workers.structure import read_value, write_value

_JUDGED: Final = "heads.json"

_CHEAP_LAYERS: Final = 0.05
"""Share of the model's multiply-accumulates that layers before heads may take to stay float."""

_FEW_VALUES: Final = 16
"""Values of an output (1, N) that are quantities of their own, each with its range; more are scores or an embedding."""


def find_float_heads(task: Task, model: CapturedModel, analysis: Analysis, settings: Settings) -> tuple[FloatHead, ...]:
    """Returns the heads that integers would ruin, none for most models.

    Args:
        task: For its calibration data and its metric.
        model: The captured model.
        analysis: Its costed graph.
        settings: How to run. Only models whose graph has something to judge are run.

    Raises:
        EdgekitError: the calibration data is wrong.
    """
    heads = find_heads(analysis_operators(analysis), analysis.outputs)
    if not any(head.joins or head.decodes or _has_quantities(head, task, analysis) for head in heads):
        return ()
    judged = _judge(task, model, settings) if task.calibration is not None else None
    found = judged.heads if judged is not None else tuple(map(by_structure, heads))
    return tuple(head for item in found if (head := _float_head(item, model, analysis)) is not None)


def _has_quantities(head: Head, task: Task, analysis: Analysis) -> bool:
    """Returns True for an output whose channels may be different quantities: no class scores, no embedding."""
    if not isinstance(task.metric, MetricFunction) and classifies(task.metric):
        return False
    shape = [size for size in analysis.tensors[head.output].shape[1:] if size != 1]
    return len(shape) > 1 or (len(shape) == 1 and 1 < shape[0] <= _FEW_VALUES)


def _judge(task: Task, model: CapturedModel, settings: Settings) -> JudgedHeads | None:
    """Returns what structure and data say, from the cache where they are known; None where torch cannot run it.

    The formats that start from torch then say so themselves; the others are made with what the structure says.
    """
    ready = ready_to_simulate(task, model, settings)
    if isinstance(ready, str):
        return None
    request = HeadRequest(model=ready[0], samples=ready[1])

    def build(place: Path) -> None:
        made = settings.run("judging of the heads", JUDGE_HEADS, request, settings.stage("heads"))
        write_value(place / _JUDGED, made.value)

    try:
        folder = settings.cache.make("heads", JUDGE_HEADS.key(request), build)
    except (ConversionError, ModelError):
        return None
    return read_value(folder / _JUDGED, JudgedHeads)


def _float_head(judged: JudgedHead, model: CapturedModel, analysis: Analysis) -> FloatHead | None:
    layers = _cheap(judged.layers, analysis)
    if not judged.stays_float and not layers:
        return None
    return FloatHead(
        position=judged.position,
        output=model.outputs[judged.position].name,
        decodes=judged.stays_float,
        layers=layers,
        why=_why(judged, layers),
    )


def _cheap(layers: tuple[str, ...], analysis: Analysis) -> tuple[str, ...]:
    """Returns the layers, none where they do much of the model's work, or where the costed graph has other names."""
    work = dict.fromkeys(layers, 0)
    for operator in analysis.operators:
        if operator.module in work:
            work[operator.module] += operator.macs
    known = all(work.values())
    return layers if known and sum(work.values()) <= _CHEAP_LAYERS * analysis.macs else ()


def _why(judged: JudgedHead, layers: tuple[str, ...]) -> str:
    clauses: list[str] = []
    if judged.decodes:
        clauses.append("it decodes what the layers give (sigmoid, softmax, exponential, box arithmetic)")
    if judged.joints:
        joints = "1 joint" if judged.joints == 1 else f"{judged.joints} joints"
        widths = [f"{width:.3g}" for width in judged.widths]
        apart = f" of members whose ranges are {widths[0]} and {widths[1]} wide" if widths else ""
        clauses.append(f"it has {joints}{apart}")
    if layers:
        clauses.append(f"channels of {', '.join(layers)} have ranges that one grid cannot hold")
    return ", and ".join(clauses)
