"""`edgekit cache`: what the cache of finished work holds, its removal, a check of all its entries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import typer

from edgekit.cli import options
from edgekit.cli.help import PanelCommand
from edgekit.errors import UsageError
from edgekit.terminal.console import console, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit.workers.cache_upkeep import StoredEntry

JSON_SCHEMA: Final = 1
_DAY_S: Final = 86400.0

app = typer.Typer(invoke_without_command=True)


@app.callback()
def cache(context: typer.Context, as_json: options.Json = False, no_color: options.NoColor = False) -> None:
    """Show, check or clear the cache of finished work. Without a command: show it."""
    if context.invoked_subcommand is None:
        show(as_json, no_color)
    elif as_json or no_color:
        form = f"edgekit cache {context.invoked_subcommand}"
        raise UsageError(f"--json and --no-color go behind the command: {form} --json")


@app.command(name="show", cls=PanelCommand)
def show(as_json: options.Json = False, no_color: options.NoColor = False) -> int:
    """Show what lies in the cache, by kind, and the largest size that it may have."""
    from edgekit.units import format_bytes
    from edgekit.workers.cache_upkeep import cache_limit_bytes, stored_entries, total_bytes

    root = _root()
    entries, limit = stored_entries(root), cache_limit_bytes()
    kinds = [_describe(kind, list(of_it)) for kind, of_it in groupby(_by_kind(entries), lambda entry: entry.kind)]
    total = total_bytes(entries)
    if as_json:
        write_json({**_head("cache show", root), "size_bytes": total, "limit_bytes": limit, "kinds": kinds})
        return 0
    screen = console(no_color=no_color)
    screen.print(f"{root}: {format_bytes(total)} of {format_bytes(limit)}", markup=False, soft_wrap=True)
    for kind in kinds:
        noun = "entry" if kind["entries"] == 1 else "entries"
        size, days = format_bytes(kind["size_bytes"]), kind["unused_days"]
        screen.print(f"  {kind['kind']:<12} {kind['entries']:>5} {noun:<7} {size:>8}, unused for up to {days} days")
    return 0


@app.command(name="clear", cls=PanelCommand)
def clear(as_json: options.Json = False, no_color: options.NoColor = False) -> int:
    """Remove everything from the cache, but not what a process that runs now has used."""
    from edgekit.units import format_bytes
    from edgekit.workers.cache_upkeep import remove_beyond, stored_entries, tidy, total_bytes

    root = _root()
    removed = remove_beyond(root, 0) if root.is_dir() else ()
    if root.is_dir():
        tidy(root, now=True)
    kept = stored_entries(root)
    if as_json:
        write_json({**_head("cache clear", root), "removed": len(removed), "freed_bytes": total_bytes(removed),
                    "kept": len(kept)})  # fmt: skip
        return 0
    in_use = f"; {len(kept)} in use by a running process stay" if kept else ""
    text = f"{root}: {len(removed)} entries removed, {format_bytes(total_bytes(removed))} freed{in_use}"
    console(no_color=no_color).print(text, markup=False, soft_wrap=True)
    return 0


@app.command(name="check", cls=PanelCommand)
def check(as_json: options.Json = False, no_color: options.NoColor = False) -> int:
    """Read every entry, compare it with its digests, and remove the damaged ones: they are made anew when needed."""
    from edgekit.workers.cache_upkeep import remove_damaged, stored_entries

    root = _root()
    checked = sum(entry.is_finished for entry in stored_entries(root))
    damaged = remove_damaged(root)
    if as_json:
        found = [{"kind": entry.kind, "key": entry.folder.name, "damage": why} for entry, why in damaged]
        write_json({**_head("cache check", root), "checked": checked, "damaged": found})
        return 0
    screen = console(no_color=no_color)
    for entry, why in damaged:
        screen.print(f"removed {entry.kind} {entry.folder.name}: {why}", markup=False, soft_wrap=True)
    screen.print(f"{root}: {checked} entries checked, {len(damaged)} damaged", markup=False, soft_wrap=True)
    return 0


def _root() -> Path:
    from edgekit.workers.cache import Cache, cache_folder

    return Cache(root=cache_folder()).place()


def _by_kind(entries: Sequence[StoredEntry]) -> list[StoredEntry]:
    return sorted(entries, key=lambda entry: entry.kind)


def _describe(kind: str, entries: Sequence[StoredEntry]) -> dict[str, Any]:
    unused_s = time.time() - min(entry.used for entry in entries)
    size = sum(entry.size_bytes for entry in entries)
    return {"kind": kind, "entries": len(entries), "size_bytes": size, "unused_days": int(unused_s / _DAY_S)}


def _head(command: str, root: Path) -> dict[str, Any]:
    return {"schema_version": JSON_SCHEMA, "command": command, "folder": str(root)}
