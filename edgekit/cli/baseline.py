"""`edgekit baseline`: keep what an export measured, to hold later exports against."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import options
from edgekit.cli.help import PanelCommand
from edgekit.cli.options import OUTPUT, option
from edgekit.gating.baseline import BASELINE_NAME
from edgekit.terminal.console import console, write_json

if TYPE_CHECKING:
    from edgekit.gating.baseline import Baseline

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
BaselineFile = Annotated[Path, typer.Argument(help="File that baseline set wrote.")]


@app.command(name="set", cls=PanelCommand)
def set_baseline(
    folder: Folder,
    output: Output = Path(BASELINE_NAME),
    keep_artifacts: Keep = False,
    as_json: options.Json = False,
    no_color: options.NoColor = False,
) -> int:
    """Keep the figures of an export as the baseline of later ones. The artifacts' hashes are checked first."""
    from edgekit.gating.baseline import write_baseline
    from edgekit.gating.gate import check_folder

    report = check_folder(folder)
    made = write_baseline(report, folder, output, keep_artifacts=keep_artifacts)
    _show(made, as_json=as_json, no_color=no_color, command="baseline set")
    return 0


@app.command(name="show", cls=PanelCommand)
def show_baseline(
    file: BaselineFile = Path(BASELINE_NAME), as_json: options.Json = False, no_color: options.NoColor = False
) -> int:
    """Show what a baseline holds."""
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
    }
