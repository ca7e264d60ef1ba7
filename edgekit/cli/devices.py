"""`edgekit devices`: which devices are known, and what is known about one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from edgekit.budget import COSTS, Limit
from edgekit.cli import options
from edgekit.cli.calibrate import NameArgument, calibrate
from edgekit.cli.help import PanelCommand
from edgekit.errors import ProfileError, UsageError
from edgekit.profiles.profile import FACT_TITLES, USER_FOLDER, DeviceProfile, find_profile, read_catalogue
from edgekit.terminal.console import console, write_json
from edgekit.units import format_value

if TYPE_CHECKING:
    from rich.table import Table

JSON_SCHEMA: Final = 1

_KIND_TITLES: Final[Mapping[str, str]] = {
    "phone": "phones",
    "watch": "watches",
    "raspberry_pi": "Raspberry Pi",
    "jetson": "Jetson",
    "microcontroller": "microcontrollers",
    "other": "others",
}

app = typer.Typer(
    name="devices",
    help="The devices that edgekit knows, and what each offers and may cost.",
    no_args_is_help=False,
    add_completion=False,
)
"""The command with its two forms, `list` and `show`."""


@app.callback(invoke_without_command=True)
def devices(context: typer.Context, as_json: options.Json = False, no_color: options.NoColor = False) -> None:
    """The devices that edgekit knows, and what each offers and may cost."""
    if context.invoked_subcommand is None:
        devices_list(as_json, no_color)
    elif as_json or no_color:
        form = f"edgekit devices {context.invoked_subcommand}"
        raise UsageError(f"--json and --no-color go behind the form: {form} --json")


@app.command("list", cls=PanelCommand)
def devices_list(as_json: options.Json = False, no_color: options.NoColor = False) -> None:
    """List the devices, with the limits that an app on each should keep."""
    catalogue = read_catalogue(Path.cwd())
    if as_json:
        write_json({
            "schema_version": JSON_SCHEMA,
            "command": "devices",
            "profiles": [profile_json(profile) for profile in catalogue.profiles],
            "faults": list(catalogue.faults),
        })  # fmt: skip
    else:
        _print_list(catalogue.profiles, no_color=no_color)
    if catalogue.faults:
        # Not raised: the list is still worth printing, and --json has said it already.
        for fault in catalogue.faults:
            console(no_color=no_color, stderr=True).print(fault, markup=False, soft_wrap=True)
        raise typer.Exit(ProfileError.exit_code)


@app.command("show", cls=PanelCommand)
def devices_show(name: NameArgument, as_json: options.Json = False, no_color: options.NoColor = False) -> None:
    """Show what is known about one device: facts with their sources, runtimes, limits."""
    profile = find_profile(name, Path.cwd())
    if as_json:
        write_json({"schema_version": JSON_SCHEMA, "command": "devices", "profile": profile_json(profile)})
    else:
        _print_profile(profile, no_color=no_color)


app.command("calibrate", cls=PanelCommand)(calibrate)


def profile_json(profile: DeviceProfile) -> dict[str, Any]:
    """Returns the JSON form of a profile: figures in base units, named by them."""
    hardware = profile.hardware
    return {
        "name": profile.name,
        "title": profile.title,
        "description": profile.description,
        "aliases": list(profile.aliases),
        "kind": profile.kind,
        "runtimes": list(profile.runtimes),
        "hardware": {
            "soc": hardware.soc,
            "cpu": [{"cores": x.cores, "core": x.core, "clock_ghz": x.clock_ghz} for x in hardware.cpu],
            "features": list(hardware.features),
            "gpu": hardware.gpu,
            "accelerator": hardware.accelerator,
            "ai_peak_tops": hardware.ai_peak_tops,
            "ram_bytes": hardware.ram_bytes,
            "ram_free_bytes": hardware.ram_free_bytes,
            "app_memory_limit_bytes": hardware.app_memory_limit_bytes,
            "memory_bandwidth_bytes_per_s": hardware.memory_bandwidth_bytes_per_s,
            "memcpy_bandwidth_bytes_per_s": hardware.memcpy_bandwidth_bytes_per_s,
        },
        "budget": [_limit_json(limit) for limit in profile.budget.limits],
        "export": {runtime: dict(chosen) for runtime, chosen in profile.options.items()},
        "latency_model": {runtime: dict(tables) for runtime, tables in profile.latency_model.items()},
        "sources": dict(profile.sources),
        "path": str(profile.path),
        "shipped": profile.shipped,
        "replaces_shipped": profile.replaces_shipped,
    }


def _limit_json(limit: Limit) -> dict[str, Any]:
    return {
        "name": limit.name,
        "limit": limit.value,
        "unit": COSTS[limit.name].unit,
        "level": limit.level,
        "limit_from": limit.source,
    }


def _print_list(profiles: Iterable[DeviceProfile], *, no_color: bool) -> None:
    profiles = list(profiles)
    table = _table("name", "device", "first", "size", "memory", "latency", numbers=3)
    for kind, title in _KIND_TITLES.items():
        rows = [profile for profile in profiles if profile.kind == kind]
        if rows:
            table.add_row(title, style="dim")
        for profile in rows:
            costs = (_limit_text(profile.budget.get(cost)) for cost in ("size", "memory", "latency"))
            name = profile.name if profile.shipped else f"{profile.name} *"
            _add_row(table, name, profile.title, profile.runtimes[0], *costs)
    lines = [f"* {_whose(profile)}: {profile.path}" for profile in profiles if not profile.shipped]
    out = console(no_color=no_color)
    out.print(table)
    out.print("", *lines, sep="\n", markup=False, soft_wrap=True)
    out.print("first: the runtime that is preferred there. Limits with ~ only warn.", markup=False)
    out.print("Everything about one: edgekit devices show NAME", markup=False)


def _whose(profile: DeviceProfile) -> str:
    return f"{profile.name} is yours" + (", in place of edgekit's own" if profile.replaces_shipped else "")


def _print_profile(profile: DeviceProfile, *, no_color: bool) -> None:
    out = console(no_color=no_color)
    out.print(f"{profile.title} ({profile.name})", markup=False, style="bold")
    if profile.description:
        out.print(profile.description, markup=False)
    if profile.replaces_shipped:
        out.print("Yours, in place of edgekit's own.")
    out.print()
    out.print(_pairs(_facts(profile)))
    out.print()
    out.print(_budget_table(profile))
    if profile.sources:
        out.print("\nsources", style="bold")
        for key, source in profile.sources.items():
            out.print(f"{key}: {source}", markup=False, soft_wrap=True)
    out.print(f"\nfile: {profile.path}", markup=False, soft_wrap=True)
    out.print("Its comments say why each limit is what it is.", markup=False)
    if profile.shipped:
        out.print(f"For a device of your own, copy it to ./{USER_FOLDER}/NAME.toml and change it.", markup=False)


def _facts(profile: DeviceProfile) -> dict[str, str]:
    rows = {FACT_TITLES[key]: text for key, text in profile.facts.items()}
    rows["runtimes"] = f"{', '.join(profile.runtimes)} (in order of preference)"
    for runtime, chosen in profile.options.items():
        rows[f"{runtime} export"] = ", ".join(f"{key} = {_toml_text(value)}" for key, value in chosen.items())
    rows["latency model"] = _latency_text(profile) or "none: latency is not predicted"
    if profile.aliases:
        rows["also called"] = ", ".join(profile.aliases)
    return rows


def _latency_text(profile: DeviceProfile) -> str:
    """Returns one line for each table: what it is for, on how many rows, and its 90 % band as a factor."""
    from edgekit.predict.latency import BAND_QUANTILE  # with the graph's classes, which the list does not need

    lines: list[str] = []
    for runtime, tables in profile.latency_model.items():
        for precision, table in tables.items():
            rows = table.get("scaled_from") or f"{table['rows']} rows"
            error = f", {table['error']:.0%} median error on families left out" if "error" in table else ""
            factor = math.exp(BAND_QUANTILE * table["spread"])
            title = f"{runtime} {precision.replace('_', '-')} ({table['unit'].replace('_', ' ')})"
            lines.append(f"{title}: {rows}{error}, band x {1 / factor:.2f} to {factor:.2f}")
    return "\n".join(lines)


def _budget_table(profile: DeviceProfile) -> Table:
    table = _table("budget", "limit", "when missed", "set by")
    for limit in profile.budget.limits:
        cost = COSTS[limit.name]
        sign = "at most" if cost.at_most else "at least"
        missed = "fails the gate" if limit.level == "error" else "warns"
        _add_row(table, cost.title, f"{sign} {format_value(limit.value, cost.unit)}", missed, limit.source)
    if not profile.budget.limits:
        _add_row(table, "none", "", "", "")
    return table


def _limit_text(limit: Limit | None) -> str:
    if limit is None:
        return "-"
    sign = "~" if limit.level == "warn" else ""
    return sign + format_value(limit.value, COSTS[limit.name].unit)


def _toml_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pairs(rows: Mapping[str, str]) -> Table:
    table = _table("", "")
    table.show_header = False
    for title, text in rows.items():
        _add_row(table, title, text)
    return table


def _add_row(table: Table, *cells: str) -> None:
    """Adds a row of plain text: square brackets in a user's file are no markup. The first cell stands out."""
    from rich.text import Text

    first, *rest = cells
    table.add_row(Text(first, style="bold"), *map(Text, rest))


def _table(*headers: str, numbers: int = 0) -> Table:
    """Returns an empty table without rules, which reads as well in a log; its last `numbers` columns hold numbers."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for i, header in enumerate(headers):
        is_number = i >= len(headers) - numbers
        table.add_column(header, justify="right" if is_number else "left", no_wrap=is_number or i == 0, overflow="fold")
    return table
