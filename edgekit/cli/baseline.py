"""`edgekit baseline`: keep what an export or a sweep measured, to hold later ones against."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from edgekit.budget import cost_of
from edgekit.cli import options
from edgekit.cli.help import PanelCommand
from edgekit.cli.options import OUTPUT, option
from edgekit.gating.baseline import BASELINE_NAME
from edgekit.sweeping.folder import SWEEP_BASELINE_NAME, is_sweep_folder
from edgekit.terminal.console import console, write_json
from edgekit.units import format_value

if TYPE_CHECKING:
    from edgekit.gating.baseline import Baseline
    from edgekit.sweeping.baseline import SweepBaseline

_BAR_WIDTH: Final = 30
_SWEEP_FIGURES: Final = ("size", "latency", "accuracy_drop")

app = typer.Typer(no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder that export or sweep wrote.")]
Output = Annotated[
    Path | None,
    option(
        OUTPUT, "--output", "-o",
        help=f"File of the baseline; commit it (default: {BASELINE_NAME}, of a sweep {SWEEP_BASELINE_NAME}).",
    ),
]  # fmt: skip
Keep = Annotated[
    bool,
    option(
        OUTPUT,
        "--keep-artifacts",
        help="Copy the artifacts beside it: needed to judge a regression of latency on a host.",
    ),
]
Reason = Annotated[str, option(OUTPUT, "--reason", help="Why figures get worse; kept in the baseline's history.")]
BaselineFile = Annotated[Path, typer.Argument(help="File that baseline set wrote.")]


@app.command(name="set", cls=PanelCommand)
def set_baseline(
    folder: Folder,
    output: Output = None,
    keep_artifacts: Keep = False,
    reason: Reason = "",
    as_json: options.Json = False,
    no_color: options.NoColor = False,
) -> int:
    """Keep the figures of an export or a sweep as the baseline of later ones. The records are checked first."""
    if is_sweep_folder(folder):
        kept = _set_of_sweep(folder, output or Path(SWEEP_BASELINE_NAME), keep_artifacts=keep_artifacts, reason=reason)
        _show_sweep(kept, as_json=as_json, no_color=no_color, command="baseline set")
        return 0
    from edgekit.gating.baseline import write_baseline
    from edgekit.gating.gate import check_folder

    report = check_folder(folder)
    made = write_baseline(report, folder, output or Path(BASELINE_NAME), keep_artifacts=keep_artifacts, reason=reason)
    _show(made, as_json=as_json, no_color=no_color, command="baseline set")
    return 0


def _set_of_sweep(folder: Path, output: Path, *, keep_artifacts: bool, reason: str) -> SweepBaseline:
    from edgekit.errors import UsageError
    from edgekit.sweeping.baseline import write_sweep_baseline
    from edgekit.sweeping.request import read_sweep

    if keep_artifacts:
        raise UsageError(
            f"--keep-artifacts has no effect on the sweep {folder}, which keeps no artifacts. Leave it out."
        )
    return write_sweep_baseline(read_sweep(folder), output, reason=reason)


@app.command(name="show", cls=PanelCommand)
def show_baseline(
    file: BaselineFile = Path(BASELINE_NAME), as_json: options.Json = False, no_color: options.NoColor = False
) -> int:
    """Show what a baseline holds, and how its figures have drifted."""
    from edgekit.gating.baseline import read_baseline
    from edgekit.sweeping.baseline import is_sweep_baseline, read_sweep_baseline

    if is_sweep_baseline(file):
        _show_sweep(read_sweep_baseline(file), as_json=as_json, no_color=no_color, command="baseline show")
        return 0
    _show(read_baseline(file), as_json=as_json, no_color=no_color, command="baseline show")
    return 0


def _show(baseline: Baseline, *, as_json: bool, no_color: bool, command: str) -> None:
    if as_json:
        write_json(_to_json(baseline, command))
        return
    from edgekit.cli import tables
    from edgekit.exporting import sentences

    screen = console(no_color=no_color)
    name = baseline.model.get("name") or "artifact"
    screen.print(sentences.escape(f"{baseline.path}: {name} on {baseline.device}"))
    for record in baseline.formats:
        kept = "kept" if record.file else "not kept"
        screen.print()
        screen.print(f"[bold]{record.runtime} {record.precision}[/]  {record.sha256[:12]}, artifact {kept}")
        screen.print(tables.check_table(record.figures))
    for line in drift_lines(baseline):
        screen.print(sentences.escape(line))


def _show_sweep(baseline: SweepBaseline, *, as_json: bool, no_color: bool, command: str) -> None:
    """Shows a sweep's baseline: a line for each row, and how figures have drifted."""
    if as_json:
        rows = {
            point: {"title": row.title, "passed": row.passed, **_facts_json(row.baseline)}
            for point, row in baseline.rows.items()
        }
        write_json({"schema_version": 1, "command": command, "path": str(baseline.path), "rows": rows})
        return
    from rich.table import Table

    from edgekit.exporting.sentences import escape

    screen = console(no_color=no_color)
    passing = sum(row.passed for row in baseline.rows.values())
    screen.print(escape(f"{baseline.path}: {len(baseline.rows)} rows, {passing} pass"))
    table = Table(box=None, pad_edge=False)
    for name in ("row", "verdict", *_SWEEP_FIGURES):
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in baseline.rows.values():
        records = row.baseline.formats
        figures = [records[0].figure(name) if records else None for name in _SWEEP_FIGURES]
        cells = ["" if x is None or x.value is None else format_value(x.value, x.unit) for x in figures]
        table.add_row(escape(row.title), "pass" if row.passed else "fail", *cells)
    screen.print(table)
    for row in baseline.rows.values():
        drift = drift_lines(row.baseline)
        for line in [escape(row.title), *map(escape, drift)] if drift else []:
            screen.print(line)


def drift_lines(baseline: Baseline) -> list[str]:
    """Returns a picture of each figure that has moved since the baseline was first set: a bar for each time."""
    series: dict[tuple[str, str, str], list[tuple[str, float, str]]] = {}
    units: dict[tuple[str, str, str], str] = {}
    for change in baseline.history:
        for move in change.moves:
            key = (move.runtime, move.precision, move.name)
            units[key] = move.unit
            points = series.setdefault(key, [("before", move.old, "")])
            points.append((change.when[:10], move.new, change.reason or "no reason given"))
    lines: list[str] = []
    for key, points in series.items():
        runtime, precision, name = key
        lines += ["", f"{runtime} {precision}, {cost_of(name).title} over time"]
        largest = max(abs(value) for _, value, _ in points) or 1.0
        for when, value, reason in points:
            bar = "#" * max(1, round(_BAR_WIDTH * abs(value) / largest))
            lines.append(f"{when:<10}  {format_value(value, units[key]):>10}  {bar:<{_BAR_WIDTH}}  {reason}".rstrip())
    return lines


def _to_json(baseline: Baseline, command: str) -> dict[str, Any]:
    return {"schema_version": 1, "command": command, "path": str(baseline.path), **_facts_json(baseline)}


def _facts_json(baseline: Baseline) -> dict[str, Any]:
    return {
        "device": baseline.device,
        "model": dict(baseline.model),
        "data": dict(baseline.data),
        "formats": [
            {
                "runtime": record.runtime,
                "precision": record.precision,
                "sha256": record.sha256,
                "kept": record.file is not None,
                "figures": [check.to_json() for check in record.figures],
            }
            for record in baseline.formats
        ],
        "history": [asdict(change) for change in baseline.history],
    }
