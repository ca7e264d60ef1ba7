"""`--why`: the operators that cost most, for each budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from edgekit.analysis.graph import Analysis, Operator
from edgekit.planner.plan import Plan
from edgekit.predict.operator_costs import alive_bytes, predicted_ms, stored_bytes
from edgekit.profiles.profile import DeviceProfile
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

_ROWS: Final = 10


def cost_tables(analysis: Analysis, plan: Plan, profile: DeviceProfile) -> Iterator[Table]:
    """Yields one table a budget: size (bytes in the chosen format), memory (alive), latency, work (MACs), accuracy.

    Latency is there where the device has a fitted model, accuracy where the layers were measured (`--effort default`).
    """
    sizes = stored_bytes(analysis, plan.chosen)
    total = sum(sizes.values()) or 1
    yield _table("size: the weights of", analysis, sizes.__getitem__, format_bytes, total)
    alive = alive_bytes(analysis, lambda name: analysis.tensors[name].size_bytes)
    peak = analysis.memory.live_peak_bytes or 1
    yield _table("memory: float activations alive at", analysis, alive.__getitem__, format_bytes, peak)
    macs = analysis.macs or 1
    spent = predicted_ms(analysis, plan.chosen, profile.latency_model)
    if spent:
        title = f"latency: predicted milliseconds on {profile.name} of"
        yield _table(title, analysis, spent.__getitem__, lambda ms: f"{ms:.3g} ms", sum(spent.values()) or 1)
    yield _table("work: the MACs of", analysis, lambda name: _by_name(analysis)[name].macs, _millions, macs)
    if plan.sensitivity:
        yield _loss_table(plan)


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
