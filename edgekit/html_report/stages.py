"""The table by stage of an export with techniques: size and quality after each one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgekit.html_report.parts import (
    Block,
    Cell,
    Column,
    Sentence,
    Sources,
    Table,
    band,
    count_cell,
    figure,
    figure_text,
    word,
)

_TITLES = (
    "Stage",
    "Weights",
    "MACs",
    "Size",
    "Download",
    "Known by",
    "Metric",
    "Drop",
    "95 % interval",
    "Parity",
    "Took",
)
_WORDS = ("Stage", "Known by", "95 % interval")


def stage_blocks(sources: Sources) -> Iterator[Block]:
    """Yields a table for each pipeline of techniques, with what it says; nothing where no technique was used."""
    for table in sources.report.get("stages", ()):
        yield Table(
            caption=f"Stage by stage, against the original float model (metric: {table['metric']})",
            columns=tuple(Column(title=title, numeric=title not in _WORDS) for title in _TITLES),
            rows=tuple(_row(stage) for stage in table["stages"]),
        )
        yield Sentence(text=table["sentence"])
        if table["warning"]:
            yield Sentence(text=table["warning"], status="remark")


def _row(stage: Mapping[str, Any]) -> tuple[Cell, ...]:
    value = stage["value"]
    return (
        word(stage["name"]),
        count_cell(stage["parameters"]),
        count_cell(stage["macs"]),
        figure(stage["size_bytes"], "bytes"),
        figure(stage["download_bytes"], "bytes"),
        word(stage["size_basis"]),
        Cell(text="not measured" if value is None else f"{value:.2f}", order=value),
        figure(stage["drop"], "pp"),
        word(band(stage["low"], stage["high"], "pp")),
        figure(stage["parity_db"], "dB"),
        _took(stage),
    )


def _took(stage: Mapping[str, Any]) -> Cell:
    """Returns how long the stage took; of one from the cache, how long it took when it was made."""
    if stage["seconds"] is None:
        return figure(None, "ms")
    text = figure_text(1000 * stage["seconds"], "ms")
    return Cell(text=f"{text} (from the cache)" if stage["cached"] else text, order=stage["seconds"])
