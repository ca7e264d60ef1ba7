"""`edgekit init`: a task file, a model and data that run as they are; or the task file for a model that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.completion import complete_device
from edgekit.cli.options import MODEL_AND_DATA, OUTPUT, option
from edgekit.errors import UsageError
from edgekit.profiles.profile import find_profile
from edgekit.task.scaffold import scaffold_files, write_files
from edgekit.terminal.console import console

Folder = Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to; made if missing.")]
Device = Annotated[
    str,
    option(
        MODEL_AND_DATA, "--device", "-d", show_default=True, autocompletion=complete_device,
        help="Device to start with: a name, an alias or a TOML file.",
    ),
]  # fmt: skip
From = Annotated[
    str | None,
    option(
        MODEL_AND_DATA, "--from",
        help="Write the task file for this model: model.py, model.py:build, net.onnx and so on; it is not run.",
    ),
]  # fmt: skip
TaskName = Annotated[
    str | None,
    option(MODEL_AND_DATA, "--task", help="With --from, what the model does: detection, segmentation and so on."),
]
Force = Annotated[bool, option(OUTPUT, "--force", help="Replace files that are there.")]


def init(
    folder: Folder = Path(),
    device: Device = "pi4",
    source: From = None,
    task: TaskName = None,
    force: Force = False,
    no_color: options.NoColor = False,
) -> None:
    """Write a task file, a small model and data that run as they are.

    With --from, write the task file for a model that is there.
    """
    profile = find_profile(device, Path.cwd())
    needs: tuple[str, ...] = ()
    if source is None and task is not None:
        raise UsageError("--task is about a model that is there: give --from too. The example without it classifies.")
    if source is None:
        files = scaffold_files(profile)
    else:
        from edgekit.task.scaffold_from import find_task, task_file_for

        found = find_task(source, folder)
        files, needs = {"edgekit.toml": task_file_for(found, profile, task)}, found.needs
    write_files(folder, files, force=force)
    lines = [*(f"wrote {folder / name}" for name in files), *needs]
    inside = "" if folder.resolve() == Path.cwd() else f"cd {folder}\n  "
    lines += ["", f"Next:\n  {inside}edgekit plan --device {profile.name}", f"  edgekit export --device {profile.name}"]
    console(no_color=no_color).print(*lines, sep="\n", markup=False, soft_wrap=True)
