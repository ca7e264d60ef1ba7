"""`edgekit report`: one HTML file about an export, a search or a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.options import OUTPUT, option
from edgekit.terminal.console import console

Folder = Annotated[Path, typer.Argument(help="Folder that export, search or sweep wrote.", metavar="DIR")]
Output = Annotated[Path | None, option(OUTPUT, "--output", "-o", help="The HTML file (default: DIR/report.html).")]


def report(
    folder: Folder = Path("edgekit-out"),
    output: Output = None,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Write one self-contained HTML file about an export, a search or a sweep. It opens offline, in light and dark.

    It shows the verdict, budgets, all candidates, predictions beside measurements, layers, memory over time, where size
    and time go, slices, calibration data, environment and lock. Exit code 0 if the file was written, whatever the
    verdict is: edgekit gate is for CI.
    """
    from edgekit.exporting.sentences import escape
    from edgekit.html_report.page import write_report_page
    from edgekit.units import format_bytes

    target = write_report_page(folder, output)
    if not quiet:
        size = format_bytes(target.stat().st_size)
        console(no_color=no_color).print(f"{escape(str(target))}  {size}", soft_wrap=True)
    return 0
