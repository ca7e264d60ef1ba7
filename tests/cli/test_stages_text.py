"""The table by stage for a terminal: what is predicted, cached or missing is marked."""

from __future__ import annotations

from edgekit.cli.stages_text import stage_lines, stage_table
from edgekit.exporting.stage_table import StageRow, StageTable

FLOAT = StageRow(
    name="float model", kind="float", parameters=4_650_000, macs=386_000_000, size_bytes=18_600_000,
    download_bytes=17_000_000, size_basis="predicted as float32 onnx", value=70.0, drop=0.0, parity_db=200.0,
)  # fmt: skip
PRUNED = StageRow(
    name="prune_channels:ratio=0.5", kind="technique", parameters=2_000_000, macs=190_000_000, value=69.0, drop=1.0,
    low=0.6, parity_db=20.0, seconds=90.0, cached=True, size_basis="predicted as float32 onnx",
)  # fmt: skip
MADE = StageRow(
    name="onnx int8-static", kind="artifact", parameters=2_000_000, macs=190_000_000, size_bytes=2_100_000,
    download_bytes=1_900_000, size_basis="measured", value=None, drop=None, seconds=4.0, reason="no targets.",
)  # fmt: skip


def cells(table):
    return [list(column.cells) for column in table.columns]


def test_predicted_sizes_and_seconds_from_the_cache_are_marked():
    table = StageTable(techniques="prune_channels:ratio=0.5", metric="metrics.py:f1", stages=(FLOAT, PRUNED, MADE))
    made = cells(stage_table(table))
    assert made[0] == ["float model", "prune_channels", "onnx int8-static"]
    assert made[3] == ["~18.6 MB", "-", "2.1 MB"]
    assert made[6] == ["0.00 pp", "1.00 pp", "not measured"]
    assert made[7] == ["equal", "20.0 dB", "not measured"]
    assert made[8] == ["-", "90 s*", "4 s"]
    assert str(stage_table(table).columns[5].header) == "f1"


def test_the_marks_are_explained_and_the_costliest_stage_is_named():
    table = StageTable(techniques="t", metric="top1", stages=(FLOAT, PRUNED), warning="wiser: [b], a.")
    assert stage_lines(table) == [
        "[dim]~ predicted as float32 onnx[/]",
        "[dim]* found in the cache: what it took when it was made[/]",
        "prune_channels cost the most accuracy: 1.00 pp of top1.",
        "[yellow]wiser: \\[b], a.[/]",
    ]
