"""`edgekit verify`: are the artifacts those of the lock, and do the same inputs still give the same bytes?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from edgekit.cli import options
from edgekit.cli.options import RUNNING, option
from edgekit.task.request import make_task
from edgekit.terminal.console import console, write_json

if TYPE_CHECKING:
    from edgekit.exporting.verification import Verified

Target = Annotated[Path, typer.Argument(help="Folder that export wrote, or its edgekit.lock.")]
Rebuild = Annotated[bool, option(RUNNING, "--rebuild", help="Make the artifacts once more and compare the bytes.")]

_STYLES: Final = {"ok": ("pass", "green"), "failed": ("FAIL", "bold red"), "note": ("note", "yellow")}


def verify(
    target: Target = Path("edgekit-out"),
    rebuild: Rebuild = False,
    model: options.FloatModel = None,
    config: options.Config = None,
    *,
    workers: options.Workers,
    screen: options.Screen,
) -> int:
    """Check artifacts against edgekit.lock, offline: exit code 0 if every byte is as it was, 1 if not.

    Tools of another version are reported and do not fail. With --rebuild the model and the data are checked too.
    """
    from edgekit.exporting.lock import find_lock, read_lock
    from edgekit.exporting.verification import passed, verify_files

    path = find_lock(target)
    lock = read_lock(path)
    items = verify_files(lock, path.parent)
    if rebuild:
        items += _rebuild(lock, model, config, workers, screen)
    good = passed(items)
    if screen.as_json:
        shown = {"schema_version": 1, "command": "verify", "passed": good, "lock": str(path)}
        write_json({**shown, "checks": [item.to_json() for item in items]})
    else:
        _show(items, path, good=good, quiet=screen.quiet, no_color=screen.no_color)
    return 0 if good else 1


def _rebuild(
    lock: dict[str, Any],
    model: str | None,
    config: Path | None,
    workers: options.Workers,
    screen: options.Screen,
) -> tuple[Verified, ...]:
    from edgekit.cli.settings import pipeline_settings
    from edgekit.exporting.rebuild import verify_rebuild

    task = make_task(model, config, {}, Path.cwd())
    with pipeline_settings(screen, workers, no_cache=True) as (settings, _):
        return verify_rebuild(lock, task, settings)


def _show(items: tuple[Verified, ...], path: Path, *, good: bool, quiet: bool, no_color: bool) -> None:
    from edgekit.exporting.sentences import escape

    screen = console(no_color=no_color)
    for item in items:
        word, style = _STYLES[item.verdict]
        if not quiet or item.verdict == "failed":
            screen.print(f"[{style}]{word}[/] {escape(item.name)}: {escape(item.detail)}", soft_wrap=True)
    screen.print(
        f"[bold green]PASS[/] {escape(str(path))}" if good else f"[bold red]FAIL[/] {escape(str(path))}",
        soft_wrap=True,
    )
