"""`--why`: the operators that cost most, for each budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.analysis.graph import Analysis, Operator
from edgekit.planner.plan_result import Plan
from edgekit.predict.latency import operator_latencies
from edgekit.predict.storage import store, weight_uses
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

_ROWS: Final = 10


def cost_tables(analysis: Analysis, plan: Plan, latency_models: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """Yields one table a budget: size (bytes in the chosen format), memory (alive), work (MACs), latency, accuracy.

    Latency is there where the device has a fitted model, accuracy where the layers were measured (`--effort default`).

    Args:
        analysis: The model's costed graph.
        plan: For the chosen format and precisions, and for what the layers lose.
        latency_models: `DeviceProfile.latency_model`.
    """
    sizes = stored_bytes(analysis, plan)
    total = sum(sizes.values()) or 1
    yield _table("size: the weights of", analysis, sizes.__getitem__, format_bytes, total)
    alive = alive_bytes(analysis)
    peak = analysis.memory.live_peak_bytes or 1
    yield _table("memory: float activations alive at", analysis, alive.__getitem__, format_bytes, peak)
    macs = analysis.macs or 1
    yield _table("work: the MACs of", analysis, lambda name: _by_name(analysis)[name].macs, _millions, macs)
    yield from _latency_table(analysis, plan, latency_models)
    if plan.sensitivity:
        yield _loss_table(plan)


def _latency_table(analysis: Analysis, plan: Plan, latency_models: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """Yields the operators that are predicted to take longest in the chosen format and precision on the device."""
    tables = latency_models.get(plan.chosen.runtime) if plan.chosen else None
    found = operator_latencies(analysis, plan.chosen.recipe, tables) if plan.chosen and tables else None
    if found is None:
        return
    milliseconds = {operator.name: item.ms for operator, item in zip(analysis.operators, found, strict=True)}
    total = sum(milliseconds.values()) or 1
    title = f"latency on {plan.device}: the milliseconds of"
    yield _table(title, analysis, milliseconds.__getitem__, lambda value: f"{value:.2f} ms", total)


def _loss_table(plan: Plan) -> Table:
    """Returns the layers whose precision adds most to the error of the outputs."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text("accuracy: the output noise of one layer alone"),
        title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False, title_style="bold",
    )  # fmt: skip
    table.add_column("module", overflow="fold")
    table.add_column("precision")
    for header in ("SQNR", "share of all noise", "expected loss"):
        table.add_column(header, justify="right")
    by_precision: dict[str, float] = {}
    for item in plan.sensitivity:
        by_precision[item.precision] = by_precision.get(item.precision, 0.0) + item.noise
    for item in sorted(plan.sensitivity, key=lambda item: -item.noise)[:_ROWS]:
        table.add_row(
            Text(item.module),
            item.precision,
            f"{-10 * math.log10(item.noise):.1f} dB" if item.noise > 0 else "none",
            f"{100 * item.noise / (by_precision[item.precision] or 1):.1f} %",
            "-" if item.points is None else f"{item.points:.2f} pp",
        )
    return table


def stored_bytes(analysis: Analysis, plan: Plan) -> dict[str, float]:
    """Returns operator name to the bytes of its weights in the chosen format; tied ones count where first used."""
    sizes: dict[str, float] = {}
    seen: set[str] = set()
    uses = weight_uses(analysis, plan.chosen.recipe) if plan.chosen else {}
    for operator in analysis.operators:
        total = 0.0
        for name in operator.weights:
            if name in seen:
                continue
            seen.add(name)
            weight = analysis.weights[name]
            stored = store(weight, uses[name], plan.chosen.runtime, plan.chosen.recipe) if plan.chosen else None
            total += stored.values_bytes + stored.scales_bytes if stored else weight.size_bytes
        sizes[operator.name] = total
    return sizes


def alive_bytes(analysis: Analysis) -> dict[str, float]:
    """Returns operator name to the bytes of all activations that are alive while it runs."""
    from edgekit.analysis.liveness import buffers, live_bytes

    items = buffers(
        analysis.operators, analysis.inputs, analysis.outputs, lambda name: analysis.tensors[name].size_bytes
    )
    alive = live_bytes(items, len(analysis.operators))
    return {operator.name: bytes_ for operator, bytes_ in zip(analysis.operators, alive, strict=True)}


def _by_name(analysis: Analysis) -> dict[str, Operator]:
    return {operator.name: operator for operator in analysis.operators}


def _millions(value: float) -> str:
    return f"{value / 1e6:.3g} M"


def _table(
    title: str,
    analysis: Analysis,
    cost: Callable[[str], float],
    words: Callable[[float], str],
    total: float,
) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title), title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False, title_style="bold"
    )
    for header, justify in (
        ("operator", "left"),
        ("module", "left"),
        ("output", "left"),
        ("cost", "right"),
        ("share", "right"),
    ):
        table.add_column(header, justify=justify, overflow="fold")  # type: ignore[arg-type]  # Rich's Literal
    for operator in _dearest(analysis.operators, cost):
        value = cost(operator.name)
        shape = "x".join(map(str, analysis.tensors[operator.outputs[0]].shape)) if operator.outputs else ""
        kind = "+".join([operator.type, *(name for name in operator.fused if name != operator.type)])
        table.add_row(Text(kind), Text(_short(operator.module)), shape, words(value), f"{100 * value / total:.1f} %")
    return table


def _short(module: str) -> str:
    """Returns the first of the names that TensorFlow's converter joins where it fuses operators."""
    return module.split(";", maxsplit=1)[0]


def _dearest(operators: Sequence[Operator], cost: Callable[[str], float]) -> list[Operator]:
    ranked = sorted(operators, key=lambda operator: -cost(operator.name))
    return [operator for operator in ranked[:_ROWS] if cost(operator.name) > 0]
