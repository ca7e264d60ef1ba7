"""What MkDocs makes of the code while it builds the site: a page for each device, a table of options for each command.

A hook of `mkdocs.yml`. Nothing that it makes lies in the repository, so nothing can go stale.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from edgekit.budget import COSTS, Limit
from edgekit.cli.app import COMMANDS
from edgekit.cli.options import flat
from edgekit.predict.latency import BAND_QUANTILE
from edgekit.profiles.profile import FACT_TITLES, DeviceProfile, read_profile, shipped_folder
from edgekit.units import format_value

OPTIONS_HERE: Final = "<!-- options -->"
"""In a command's page: where its table goes. Without it the table goes to the end."""

ORDER: Final = (
    "index.md",
    "first-export.md",
    "commands",
    "app.md",
    "api.md",
    "formats",
    "techniques",
    "devices",
    "guides",
    "ci.md",
    "task-file.md",
    "verdict.md",
    "limits.md",
    "records.md",
    "concepts",
    "pains.md",
    "style.md",
)
"""Files and folders of docs/ in the site's order; what is not named comes behind, in the order of names."""

DAY: Final = (
    "index",
    "init",
    "doctor",
    "devices",
    "plan",
    "export",
    "validate",
    "debug",
    "ladder",
    "search",
    "sweep",
    "bench",
    "gate",
    "baseline",
    "verify",
    "report",
    "cache",
)
"""The pages of docs/commands in the order of a user's day."""

SCHEMAS: Final = {
    "report": "edgekit.exporting.record_schema:ReportFile",
    "lock": "edgekit.exporting.record_schema:LockFile",
    "details": "edgekit.exporting.details_schema:DetailsFile",
    "baseline": "edgekit.gating.baseline_schema:BaselineFile",
    "plan": "edgekit.planner.plan_schema:PlanFileSchema",
    "search": "edgekit.searching.search_schema:SearchFile",
    "sweep": "edgekit.sweeping.sweep_schema:SweepFile",
    "sweep-baseline": "edgekit.sweeping.baseline_schema:SweepBaselineFile",
    "matrix": "edgekit.task.sweep_table:SweepTable",
    "measurement": "edgekit.measurements.measurement_file:MeasurementFile",
    "task": "edgekit.task.task_file:TaskFile",
    "profile": "edgekit.profiles.profile_file:ProfileFile",
}
"""Name of a file's JSON Schema to the model that reads the file."""

TITLES: Final = {
    "commands": "Commands",
    "formats": "Formats",
    "techniques": "Techniques",
    "devices": "Devices",
    "guides": "Guides",
    "concepts": "Concepts",
}

KINDS: Final = {
    "phone": "Phones",
    "watch": "Watches",
    "raspberry_pi": "Raspberry Pi",
    "jetson": "Jetson",
    "microcontroller": "Microcontrollers",
    "other": "Others",
}


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages of the devices, and the JSON Schemas of the records."""
    from mkdocs.structure.files import File

    for name, text in device_pages().items():
        files.append(File.generated(config, f"devices/{name}.md", content=text))
    for name in SCHEMAS:
        files.append(File.generated(config, f"schemas/{name}.json", content=schema_of(name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001  MkDocs calls by name
    """Puts the table of options into the page of a command, and the list of devices into theirs."""
    folder, _, name = page.file.src_uri.rpartition("/")
    command = name.removesuffix(".md")
    if folder == "commands" and command in COMMANDS:
        return with_options(markdown, command)
    if page.file.src_uri == "devices/index.md":
        return f"{markdown}\n{device_list()}"
    return markdown


def on_nav(nav: Any, config: Any, files: Any) -> Any:  # noqa: ARG001  MkDocs calls by name
    """Orders the sections, and the commands in theirs."""

    def place(item: Any) -> tuple[int, str]:
        pages = [item] if item.is_page else item.children
        first = pages[0].file.src_uri if pages and pages[0].is_page else ""
        name = first.partition("/")[0]
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)

    nav.items.sort(key=place)
    for item in nav.items:
        if item.is_section:
            item.title = TITLES.get(place(item)[1], item.title)
            if place(item)[1] == "commands":
                item.children.sort(key=lambda page: DAY.index(Path(page.file.src_uri).stem))
    return nav


def schema_of(name: str) -> str:
    """Returns the JSON Schema of one kind of file, one of SCHEMAS: made from what edgekit itself reads it with."""
    module, _, model = SCHEMAS[name].partition(":")
    schema = getattr(importlib.import_module(module), model).model_json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"


def with_options(markdown: str, command: str) -> str:
    """Returns a command's page with its table of options."""
    table = options_of(command)
    if OPTIONS_HERE in markdown:
        return markdown.replace(OPTIONS_HERE, table)
    return f"{markdown.rstrip()}\n\n## Options\n\n{table}"


def commands_of(name: str) -> dict[str, Any]:
    """Returns a command, or those of a group, by what is typed: `export`, or `devices list`, `devices show` ..."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    loaded: Any = getattr(importlib.import_module(module), attribute)
    if isinstance(loaded, typer.Typer):
        app = loaded
    else:
        app = typer.Typer(add_completion=False)
        app.command(name=name)(flat(loaded))
    group: Any = typer.main.get_command(app)
    if hasattr(group, "commands"):
        return {f"{name} {key}": command for key, command in group.commands.items()}
    return {name: group}


def options_of(name: str) -> str:
    """Returns the tables of a command's arguments and options, from the same declarations as `--help`."""
    commands = commands_of(name)
    parts: list[str] = []
    for typed, command in commands.items():
        if len(commands) > 1:
            parts.append(f"### {typed}\n\n{_first_line(command.help)}\n")
        rows = [_option_row(option) for option in command.params if option.name != "help"]
        parts.append("\n".join(["| option | | default |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _option_row(option: Any) -> str:
    shown = " ".join(f"`{name}`" for name in option.opts) if option.param_type_name == "option" else f"`{option.name}`"
    default = option.default
    shown_default = "" if default is None or default is False or default in ([], ()) else f"`{default}`"
    return f"| {shown} | {_cell(option.help or '')} | {shown_default} |"


def _first_line(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def profiles() -> list[DeviceProfile]:
    """Returns edgekit's own profiles, by kind and name."""
    found = [read_profile(path, shipped=True) for path in sorted(shipped_folder().glob("*.toml"))]
    return sorted(found, key=lambda profile: (list(KINDS).index(profile.kind), profile.name))


def device_list() -> str:
    """Returns the tables of all devices, one for each kind."""
    parts: list[str] = []
    kind = ""
    for profile in profiles():
        if profile.kind != kind:
            kind = profile.kind
            header = "| name | device | runtimes | size | memory | latency |\n|---|---|---|---|---|---|"
            parts.append(f"\n## {KINDS[kind]}\n\n{header}")
        limits = [_limit(profile.budget.get(name)) for name in ("size", "memory", "latency")]
        cells = (f"[`{profile.name}`]({profile.name}.md)", profile.title, ", ".join(profile.runtimes), *limits)
        parts.append(f"| {' | '.join(cells)} |")
    return "\n".join([*parts, "", "A limit with ~ only warns.", ""])


def _limit(limit: Limit | None) -> str:
    if limit is None:
        return "-"
    return f"{'~' if limit.level == 'warn' else ''}{format_value(limit.value, COSTS[limit.name].unit)}"


def device_pages() -> dict[str, str]:
    """Returns the page of each device by name."""
    return {profile.name: device_page(profile) for profile in profiles()}


def device_page(profile: DeviceProfile) -> str:
    """Returns the page of one device: facts, limits with their reasons, latency models, sources."""
    facts = [f"| {FACT_TITLES[key]} | {_cell(text)} |" for key, text in profile.facts.items()]
    return "\n".join([
        f"# {profile.title}",
        "",
        *([profile.description, ""] if profile.description else []),
        f"`--device {profile.name}`" + (f", also {', '.join(profile.aliases)}" if profile.aliases else "") + ".",
        "",
        "| | |",
        "|---|---|",
        *facts,
        f"| runtimes | {', '.join(profile.runtimes)} (in order of preference) |",
        "",
        "## Limits of an app here",
        "",
        "From the profile, with the reason of each. Your task file or a flag wins over them.",
        "",
        "```toml",
        *_budget_lines(profile.path),
        "```",
        "",
        "## Latency predictions",
        "",
        *_latency_lines(profile),
        "",
        "## Sources",
        "",
        *(f"- `{key}`: {_linked(text)}" for key, text in profile.sources.items()),
        "",
    ])  # fmt: skip


def _budget_lines(path: Path) -> Iterator[str]:
    """Yields the `[budget]` table of a profile as the file has it: its comments say why each limit is what it is."""
    inside = False
    for line in path.read_text(encoding="utf-8").rstrip().splitlines():
        if line.startswith("["):
            inside = line.startswith(("[budget]", "[budget."))
        if inside and line.strip():
            yield line


def _latency_lines(profile: DeviceProfile) -> Iterator[str]:
    if not profile.latency_model:
        yield "This profile has none: a latency is *not run* until it was measured on the device."
        return
    yield "Rates were fitted on published measurements (`benchmarks/latency_fidelity`). The band holds 90 % of the"
    yield "published values of families that were left out of the fit. A prediction counts until the device is timed."
    yield ""
    yield "| runtime | precision | unit | published rows | band around a prediction |"
    yield "|---|---|---|---|---|"
    for runtime, tables in profile.latency_model.items():
        for precision, table in tables.items():
            factor = math.exp(BAND_QUANTILE * table["spread"])
            rows = f"none: scaled from {table['scaled_from']}" if table.get("scaled_from") else table["rows"]
            unit, name = table["unit"].replace("_", " "), precision.replace("_", "-")
            yield f"| {runtime} | {name} | {unit} | {rows} | x {1 / factor:.2f} to {factor:.2f} |"


def _linked(text: str) -> str:
    return re.sub(r"(https?://[^\s;,)]+)", r"<\1>", text)
