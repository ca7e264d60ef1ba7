"""The table by stage of an export with techniques, for a terminal and for a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.exporting import sentences
from edgekit.exporting.stage_table import StageRow, StageTable
from edgekit.html_report.parts import count_text
from edgekit.units import format_milliseconds, format_value
from edgekit.validators.output_statistics import LARGEST_DB

if TYPE_CHECKING:
    from rich.table import Table


def stage_table(stages: StageTable) -> Table:
    """Returns the table: one row a stage, held against the original float model."""
    from rich.table import Table

    table = Table(
        title="Stage by stage, against the original float model", title_justify="left", title_style="bold", box=None,
        pad_edge=False, header_style="bold",
    )  # fmt: skip
    table.add_column("stage", overflow="fold")
    for column in ("weights", "MACs", "size", "download", stages.metric.rpartition(":")[2], "drop", "parity", "took"):
        table.add_column(column, justify="right", no_wrap=True)
    for stage in stages.stages:
        # A technique's settings would take the table's width; the report has them.
        table.add_row(sentences.escape(stage.name.partition(":")[0]), *_cells(stage))
    return table


def stage_lines(stages: StageTable) -> list[str]:
    """Returns what the table's marks mean, which stage cost most, and whether another order would be wiser."""
    basis = next((stage.size_basis for stage in stages.stages if stage.size_basis != "measured"), "")
    lines = [f"[dim]~ {sentences.escape(basis)}[/]"] if basis else []
    if any(stage.cached for stage in stages.stages):
        lines.append("[dim]* found in the cache: what it took when it was made[/]")
    lines.append(sentences.escape(stages.sentence))
    return [*lines, *([f"[yellow]{sentences.escape(stages.warning)}[/]"] if stages.warning else [])]


def _cells(stage: StageRow) -> list[str]:
    mark = "" if stage.size_basis == "measured" else "~"
    sizes = ["-" if x is None else mark + format_value(x, "bytes") for x in (stage.size_bytes, stage.download_bytes)]
    value = "-" if stage.value is None else f"{stage.value:.2f}"
    drop = sentences.NOT_MEASURED if stage.drop is None else format_value(stage.drop, "pp")
    if stage.parity_db is None:
        parity = sentences.NOT_MEASURED
    else:
        parity = "equal" if stage.parity_db >= LARGEST_DB else format_value(stage.parity_db, "dB")
    took = "-" if stage.seconds is None else format_milliseconds(1000 * stage.seconds) + ("*" if stage.cached else "")
    return [count_text(stage.parameters), count_text(stage.macs), *sizes, value, drop, parity, took]
