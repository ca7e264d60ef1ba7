"""`edgekit init`: a task file, a model and data that run as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.profiles.profile import find_profile
from edgekit.task.scaffold import scaffold_files, write_files
from edgekit.terminal.console import console


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to; made if missing.")] = Path(),
    device: Annotated[
        str, typer.Option("--device", "-d", help="Device to start with: a name, an alias or a TOML file.")
    ] = "pi4",
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="Print without colours; NO_COLOR does the same.")
    ] = False,
) -> None:
    """Write a task file, a small model and data that run as they are."""
    profile = find_profile(device, Path.cwd())
    files = scaffold_files(profile)
    write_files(folder, files, force=force)
    lines = [f"wrote {folder / name}" for name in files]
    inside = "" if folder.resolve() == Path.cwd() else f"cd {folder}\n  "
    lines += ["", f"Next:\n  {inside}edgekit plan --device {profile.name}", f"  edgekit export --device {profile.name}"]
    console(no_color=no_color).print(*lines, sep="\n", markup=False, soft_wrap=True)
