"""`edgekit sweep`: many models on many devices, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, final

import typer
from typer.core import TyperGroup

from edgekit.cli import options
from edgekit.cli.completion import complete_device, complete_format, complete_precision
from edgekit.cli.engine_options import Address, EngineName
from edgekit.cli.help import PanelCommand
from edgekit.cli.options import CHOICE, MODEL_AND_DATA, OUTPUT, RUNNING, option
from edgekit.terminal.console import console, write_json

RUN = "run"
"""The form that is meant where none is named."""


@final
class SweepGroup(TyperGroup):
    """`edgekit sweep MATRIX` is `edgekit sweep run MATRIX`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the form in front where none is named."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [RUN, *args])


app = typer.Typer(name="sweep", cls=SweepGroup, add_completion=False)
"""The command with its forms: `run`, `show`, `compact`."""

Matrix = Annotated[
    Path | None,
    typer.Argument(help="Matrix file; default: [sweep] of edgekit.toml here, and flags.", show_default=False),
]
Folder = Annotated[Path, typer.Argument(help="Folder that sweep wrote.")]
Models = Annotated[
    list[str] | None,
    option(MODEL_AND_DATA, "--model", "-m", help="A model, named as for export; repeat for more."),
]
Devices = Annotated[
    list[str] | None,
    option(
        MODEL_AND_DATA, "--device", "-d", help="Device profiles, several with commas; repeat for more.",
        autocompletion=complete_device,
    ),
]  # fmt: skip
Formats = Annotated[
    list[str] | None,
    option(
        CHOICE, "--format", "-f", autocompletion=complete_format,
        help="Formats, several with commas; all (the default) is what each device runs.",
    ),
]  # fmt: skip
Precisions = Annotated[
    list[str] | None,
    option(
        CHOICE, "--precision", "-p", autocompletion=complete_precision,
        help="Presets, several with commas; auto (the default) lets the planner choose for each device.",
    ),
]  # fmt: skip
Techniques = Annotated[
    list[str] | None,
    option(CHOICE, "--technique", "-t", help='A pipeline, such as "equalize round_weights"; repeat for more.'),
]
Efforts = Annotated[
    list[str] | None, option(CHOICE, "--effort", help="Efforts of the planning, several with commas; default: quick.")
]
Output = Annotated[
    Path, option(OUTPUT, "--output", "-o", show_default=True, help="Folder for the rows; an earlier sweep's goes on.")
]
DryRun = Annotated[bool, option(OUTPUT, "--dry-run", help="Print the matrix and what the folder holds; run nothing.")]
Time = Annotated[
    str | None, option(RUNNING, "--budget-time", help='Start nothing more after this time, such as "2 h".')
]
Count = Annotated[int | None, option(RUNNING, "--budget-jobs", min=1, help="Start no more jobs than these.")]
Where = Annotated[str | None, option(OUTPUT, "--where", help="SQL over the columns: \"device = 'pi4' and passed\".")]
Columns = Annotated[str | None, option(OUTPUT, "--columns", help="Columns to show, with commas.")]
Against = Annotated[
    Path | None, option(OUTPUT, "--against", help="Folder of an earlier sweep: show what has changed since.")
]


def run(
    matrix: Matrix = None,
    models: Models = None,
    devices: Devices = None,
    formats: Formats = None,
    precisions: Precisions = None,
    techniques: Techniques = None,
    efforts: Efforts = None,
    output: Output = Path("edgekit-sweep"),
    dry_run: DryRun = False,
    time: Time = None,
    budget_jobs: Count = None,
    engine: EngineName = "local",
    address: Address = None,
    jobs: options.Jobs = 0,
    *,
    limits: options.Limits,
    workers: options.Workers,
    strict: options.Strict = False,
    screen: options.Screen,
    verbose: options.Verbose = False,
) -> int:
    """Judge every combination of models, devices, formats, precisions, techniques and efforts.

    A model is captured once, an artifact is made and run once for all devices that share it. Each combination is a row
    in the output folder; the same command goes on where it was stopped. Exit code: 0 if every model has a combination
    that keeps every budget on each device, 1 if not, 2 wrong input, 3 this machine cannot.
    """
    from edgekit.cli.settings import pipeline_settings
    from edgekit.cli.sweep_text import show_dry_run, show_sweep
    from edgekit.sweeping import request as sweeping
    from edgekit.sweeping.matrix_file import SweepFlags, split

    flags = SweepFlags(
        models=tuple(models or ()),
        devices=split(devices or ()),
        formats=split(formats or ()),
        precisions=split(precisions or ()),
        techniques=tuple(techniques or ()),
        efforts=split(efforts or ()),
        time=time,
        jobs=budget_jobs,
    )
    requested = sweeping.SweepRequest.read(matrix, flags, output, limits.texts(), engine, address)
    out = console(no_color=screen.no_color)
    if dry_run:
        found = sweeping.dry_run(requested)
        if screen.as_json:
            write_json(dry_run_json(found))
        else:
            show_dry_run(out, found)
        return 0
    with pipeline_settings(screen, workers, jobs=jobs) as (settings, _):
        result = sweeping.run_sweep(requested, settings)
    if screen.as_json:
        write_json(result.to_json(strict=strict))
    else:
        show_sweep(out, result, strict=strict, quiet=screen.quiet, verbose=verbose)
    return 0 if result.passed(strict=strict) else 1


def dry_run_json(result: Any) -> dict[str, Any]:
    """Returns what `--dry-run --json` prints: the matrix, and which combinations have a row."""
    done = {row.point for row in result.rows}
    return {
        "schema_version": 1,
        "command": "sweep",
        "dry_run": True,
        "combinations": [{**point.axes(), "point": point.key, "has_row": point.key in done} for point in result.points],
        "omitted": [{"title": item.title, "reason": item.reason} for item in result.omitted],
    }


app.command(RUN, cls=PanelCommand)(options.flat(run))


@app.command("show", cls=PanelCommand)
def show(
    folder: Folder = Path("edgekit-sweep"),
    where: Where = None,
    columns: Columns = None,
    against: Against = None,
    as_json: options.Json = False,
    no_color: options.NoColor = False,
) -> int:
    """Show the rows of a sweep, also while it runs, or what has changed since another one."""
    from edgekit.cli.sweep_text import show_answer
    from edgekit.errors import UsageError
    from edgekit.sweeping.query import ask, compare
    from edgekit.sweeping.request import read_sweep

    if columns and against:
        raise UsageError("--columns has no effect with --against, which shows what has changed. Leave one of them out.")
    rows = read_sweep(folder).rows
    named = tuple(part.strip() for part in (columns or "").split(",") if part.strip())
    answer = compare(rows, read_sweep(against).rows, where) if against else ask(rows, where, named)
    if as_json:
        write_json({"schema_version": 1, "command": "sweep show", "rows": answer.to_json()})
    else:
        show_answer(console(no_color=no_color), answer)
    return 0


@app.command("compact", cls=PanelCommand)
def compact(folder: Folder = Path("edgekit-sweep"), as_json: options.Json = False) -> int:
    """Put the newest row of each combination into one file, in the place of a file each."""
    from edgekit.sweeping.request import read_sweep
    from edgekit.sweeping.rows import COMPACTED
    from edgekit.sweeping.rows import compact as compact_rows

    read_sweep(folder)
    count = compact_rows(folder)
    if as_json:
        write_json({"schema_version": 1, "command": "sweep compact", "rows": count, "file": str(folder / COMPACTED)})
    else:
        console().print(f"{count} rows are in {folder / COMPACTED}", soft_wrap=True, markup=False)
    return 0
