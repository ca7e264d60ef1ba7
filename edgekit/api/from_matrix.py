"""What starts from a matrix of models and devices: sweep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from typing_extensions import Unpack

from edgekit.api.calls import texts_of
from edgekit.errors import UsageError
from edgekit.in_memory.options import Limits, PathText
from edgekit.in_memory.session import session
from edgekit.in_memory.task import as_path
from edgekit.results.outcomes import SweepOutcome


def sweep(
    matrix: PathText | None = None,
    *,
    models: str | Iterable[str] = (),
    devices: str | Iterable[str] = (),
    formats: str | Iterable[str] = (),
    precisions: str | Iterable[str] = (),
    techniques: str | Iterable[str] = (),
    efforts: str | Iterable[str] = (),
    output: PathText = "edgekit-sweep",
    budget_time: str | None = None,
    budget_jobs: int | None = None,
    dry_run: bool = False,
    strict: bool = False,
    **more: Unpack[Limits],
) -> SweepOutcome:
    """Judges every combination of models, devices, formats, precisions, techniques and efforts.

    Models are files and functions, as text, because worker processes read them. A model is captured once, an artifact
    is made and run once for all devices that share it. The same call goes on where an earlier one was stopped.

    Args:
        matrix: Matrix file; None takes `[sweep]` of the task file in the working folder, where there is one.
        models: Models, as the command line names them; with them, the matrix's do not count. So for all axes.
        devices: Names of device profiles.
        formats: Names of formats; `"all"` is what each device runs.
        precisions: Presets; `"auto"` lets the planner choose for each device.
        techniques: Pipelines of techniques, each a text such as `"equalize round_weights"`.
        efforts: Efforts of the planning.
        output: Folder for the rows; an earlier sweep's goes on.
        budget_time: Nothing more is started after this time, such as `"2 h"`.
        budget_jobs: No more jobs than these are started.
        dry_run: Only the matrix, with the rows that the folder holds.
        strict: Inconclusive checks and warnings fail too.
        **more: Limits and how to run (see `Limits` and `Running`).

    Returns:
        The rows, and the best choice for each model on each device.

    Raises:
        InputError: what was given is wrong.
        MachineError: this machine cannot.
    """
    from edgekit.sweeping import request as sweeping
    from edgekit.sweeping.matrix_file import SweepFlags, split

    with session("sweep", more) as run:
        if not more.get("cache", True):
            raise UsageError(
                "cache=False has no effect on a sweep, whose jobs share their work through the cache. "
                "Leave it out, and give another output folder to judge everything again."
            )
        flags = SweepFlags(
            models=texts_of(models),
            devices=split(texts_of(devices)),
            formats=split(texts_of(formats)),
            precisions=split(texts_of(precisions)),
            techniques=texts_of(techniques),
            efforts=split(texts_of(efforts)),
            time=budget_time,
            jobs=budget_jobs,
        )
        settings = run.settings
        requested = sweeping.SweepRequest.read(
            as_path(matrix), flags, Path(output), run.limits, settings.engine, settings.address
        )
        made = sweeping.dry_run(requested) if dry_run else sweeping.run_sweep(requested, settings)
        return SweepOutcome(made, strict=strict)
