"""`edgekit debug`: where an artifact departs from its float model, layer by layer, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from edgekit.cli import options
from edgekit.cli.completion import complete_device
from edgekit.cli.options import MODEL_AND_DATA, option
from edgekit.debugging.request import SAMPLES, request_debug
from edgekit.task.input_sizes import read_input_sizes
from edgekit.terminal.console import console, write_json

if TYPE_CHECKING:
    from edgekit.debugging.report import DebugReport

Samples = Annotated[
    int, option(MODEL_AND_DATA, "--samples", "-n", min=1, show_default=True, help="How many samples to run.")
]
DataName = Annotated[
    str | None,
    option(MODEL_AND_DATA, "--data", help="calibration or evaluation; default: the first that the task has."),
]
Device = Annotated[
    str | None,
    option(
        MODEL_AND_DATA, "--device", "-d", autocompletion=complete_device,
        help="For the commands that are shown; default: report.json's.",
    ),
]  # fmt: skip


def debug(
    artifact: options.Artifact,
    model: options.FloatModel = None,
    config: options.Config = None,
    *,
    sources: options.Data,
    data: DataName = None,
    samples: Samples = SAMPLES,
    device: Device = None,
    workers: options.Workers,
    no_cache: options.NoCache = False,
    screen: options.Screen,
    verbose: options.Verbose = False,
) -> int:
    """Compare an artifact with its float model inside, tensor by tensor, and name the layer that breaks it.

    The artifact runs in its own runtime with its inner tensors laid open; they are matched with the float model's by
    content. Exit code 0 if the comparison could be made, whatever it says: a verdict is gate's business.
    """
    request = request_debug(
        artifact,
        model=model,
        config=config,
        overrides=sources.overrides(),
        input_sizes=read_input_sizes(sources.inputs or ()),
        data=data,
        samples=samples,
        device=device,
    )
    from edgekit.cli.settings import pipeline_settings
    from edgekit.debugging.debug import debug as compare

    with pipeline_settings(screen, workers, no_cache=no_cache, jobs=1) as (settings, _):
        report = compare(request, settings)
    if screen.as_json:
        write_json(report.to_json())
    else:
        _show(report, quiet=screen.quiet, verbose=verbose, no_color=screen.no_color)
    return 0


def _show(report: DebugReport, *, quiet: bool, verbose: bool, no_color: bool) -> None:
    from rich.table import Table

    from edgekit.cli.debug_text import story, suspect_lines

    out = console(no_color=no_color)
    parts = suspect_lines(report) if quiet else story(report, verbose=verbose)
    for part in parts:
        if isinstance(part, Table):
            out.print(part)
        else:
            # A command to copy must not be wrapped.
            out.print(part, soft_wrap=True)
