"""`edgekit baseline`: keep what an export measured, to hold later exports against."""

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
from edgekit.terminal.console import console, write_json
from edgekit.units import format_value

if TYPE_CHECKING:
    from edgekit.gating.baseline import Baseline

_BAR_WIDTH: Final = 30

app = typer.Typer(no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder that export wrote.")]
Output = Annotated[Path, option(OUTPUT, "--output", "-o", show_default=True, help="File of the baseline; commit it.")]
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
    output: Output = Path(BASELINE_NAME),
    keep_artifacts: Keep = False,
    reason: Reason = "",
    as_json: options.Json = False,
    no_color: options.NoColor = False,
) -> int:
    """Keep the figures of an export as the baseline of later ones. The export's records are checked first."""
    from edgekit.gating.baseline import write_baseline
    from edgekit.gating.gate import check_folder

    report = check_folder(folder)
    made = write_baseline(report, folder, output, keep_artifacts=keep_artifacts, reason=reason)
    _show(made, as_json=as_json, no_color=no_color, command="baseline set")
    return 0


@app.command(name="show", cls=PanelCommand)
def show_baseline(
    file: BaselineFile = Path(BASELINE_NAME), as_json: options.Json = False, no_color: options.NoColor = False
) -> int:
    """Show what a baseline holds, and how its figures have drifted."""
    from edgekit.gating.baseline import read_baseline

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
    return {
        "schema_version": 1,
        "command": command,
        "path": str(baseline.path),
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
