"""`edgekit doctor`: what is installed here, and which formats work."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

import edgekit
from edgekit.cli import options
from edgekit.cli.options import RUNNING, option
from edgekit.errors import MachineError
from edgekit.formats.table import find_format
from edgekit.registry import DEFAULT_FORMAT
from edgekit.terminal.console import console, write_json
from edgekit.units import format_bytes
from edgekit.workers.installation import (
    FormatState,
    MachineState,
    Package,
    find_formats,
    find_machine,
    find_packages,
    try_imports,
)

if TYPE_CHECKING:
    from rich.table import Table

JSON_SCHEMA: Final = 1


def doctor(
    deep: Annotated[
        bool,
        option(RUNNING, "--deep", help="Import every framework in a process of its own: some fail only then."),
    ] = False,
    as_json: options.Json = False,
    no_color: options.NoColor = False,
) -> None:
    """Show what is installed and which formats work here. Exits with 3 where none does."""
    packages = find_packages()
    if deep:
        err = console(no_color=no_color, stderr=True)
        packages = try_imports(packages, lambda name: err.print(f"importing {name}", style="dim", markup=False))
    formats = find_formats(packages)
    machine = find_machine()
    works = any(state.works for state in formats)
    if as_json:
        _write(packages, formats, machine, deep=deep, works=works)
    else:
        _print(packages, formats, machine, no_color=no_color)
    if not works:
        raise typer.Exit(MachineError.exit_code)


def install_command(extra: str) -> str:
    """Returns the command that installs an extra from the checkout."""
    return f"pip install -e '.[{extra}]'"


def _write(
    packages: Sequence[Package], formats: Sequence[FormatState], machine: MachineState, *, deep: bool, works: bool
) -> None:
    write_json({
        "schema_version": JSON_SCHEMA,
        "command": "doctor",
        "passed": works,
        "deep": deep,
        "edgekit": {"version": edgekit.__version__, "path": _home()},
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "packages": [
            asdict(package) | {"install": install_command(package.extra) if package.extra else None}
            for package in packages
        ],
        "formats": [asdict(state) | {"works": state.works} for state in formats],
        "machine": asdict(machine) | {"cache": str(machine.cache)},
    })  # fmt: skip


def _print(
    packages: Sequence[Package], formats: Sequence[FormatState], machine: MachineState, *, no_color: bool
) -> None:
    out = console(no_color=no_color)
    lines = (
        f"edgekit {edgekit.__version__}  {_home()}",
        f"Python {platform.python_version()}  {sys.executable}",
        f"{machine.system}, {machine.cores} cores",
        f"memory  {format_bytes(machine.memory_free_bytes)} free of {format_bytes(machine.memory_bytes)}",
        f"cache   {machine.cache}: {format_bytes(machine.cache_bytes)}",
        f"disk    {format_bytes(machine.disk_free_bytes)} free where the cache lies",
        f"EDGEKIT_SHARED  {_shared(machine)}",
        "",
    )
    out.print(*lines, sep="\n", markup=False, soft_wrap=True)
    table = _table("package", "version", "used for")
    for package in packages:
        _add_row(table, package.name, _state(package), package.purpose)
    out.print(table)
    failures = [package for package in packages if package.failure]
    if failures:
        out.print("\n".join(f"\n{package.failure}" for package in failures), markup=False, soft_wrap=True)
    out.print()
    table = _table("format", "export", "validate", "what to do")
    for state in formats:
        advice = "" if state.works else state.install
        _add_row(table, state.name, _yes(state.export_obstacles), _yes(state.validate_obstacles), advice)
    out.print(table)
    if not any(state.works for state in formats):
        out.print(
            f"\nNo format can be exported and validated here. Start with: {find_format(DEFAULT_FORMAT).install}",
            markup=False,
        )


def _home() -> str:
    return str(Path(edgekit.__file__).parent)


def _shared(machine: MachineState) -> str:
    if not machine.shared:
        return "not set: benchmarks look for their data in ../shared"
    return machine.shared if machine.shared_exists else f"{machine.shared}: no such folder"


def _state(package: Package) -> str:
    if not package.version:
        return f"missing: {install_command(package.extra)}" if package.extra else "missing: pip install -e ."
    if package.failure:
        return f"{package.version}, does not import"
    return package.version + (f", imports in {package.import_s:.1f} s" if package.import_s is not None else "")


def _yes(obstacles: Sequence[str]) -> str:
    return f"no: {', '.join(obstacles)}" if obstacles else "yes"


def _table(*headers: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _add_row(table: Table, *cells: str) -> None:
    from rich.text import Text

    table.add_row(*map(Text, cells))
