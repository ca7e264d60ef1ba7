"""`edgekit gate --why`: the layers that cost most where a budget was missed, and the slices that lose most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import EdgekitError, ModelError
from edgekit.exporting.sentences import NAMING, check_sentence
from edgekit.terminal.console import console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgekit.checks import Check
    from edgekit.gating.gate import GateResult
    from edgekit.model import CapturedModel
    from edgekit.task.request import Request
    from edgekit.task.task import Task

_TABLES: Final = {"size": "size", "download": "size", "memory": "memory", "latency": "work", "latency_p95": "work"}
"""Check to the first word of the table that explains it."""

_SLICES_SHOWN: Final = 10


def show_why(result: GateResult, request: Request, *, no_color: bool) -> None:
    """Prints the tables that explain the checks that did not pass; all of them where every check did."""
    screen = console(no_color=no_color)
    missed = {
        check.name.removesuffix("_change") for check in result.checks if check.verdict in ("fail", "inconclusive")
    }
    for entry in result.report["formats"]:
        if entry["artifact"] is None:
            continue
        title = f"{entry['runtime']} {entry['precision']}"
        if not missed or missed & {*NAMING, "accuracy", "accuracy_drop", "parity", "latency"}:
            _show_downgrades(screen, entry, result.checks, title)
        if not missed or missed & {"accuracy", "accuracy_drop", "slice_drop", "parity"}:
            _show_losses(screen, entry, title)
    wanted = {_TABLES[name] for name in missed if name in _TABLES} if missed else set(_TABLES.values())
    if wanted:
        _show_costs(screen, result, request, wanted)


def _show_downgrades(screen: Console, entry: Mapping[str, Any], checks: Iterable[Check], title: str) -> None:
    """Prints what runs otherwise than requested, each of this format's checks in its own words."""
    from rich.text import Text

    if entry["float_fallbacks"]:
        screen.print(Text(f"{title}: stays float: {', '.join(entry['float_fallbacks'])}"), soft_wrap=True)
    for check in checks:
        if check.runtime == entry["runtime"] and check.name in NAMING and check.value is not None:
            screen.print(Text(f"{title}: {check_sentence(check)}. {check.detail}"), soft_wrap=True)


def _show_losses(screen: Console, entry: Mapping[str, Any], title: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from edgekit.units import format_points

    slices = [item for item in entry["host"].get("slices") or () if item["drop"] is not None]
    if not slices:
        return
    table = Table(title=Text(f"{title}: slices that lose most"), title_justify="left", box=None, pad_edge=False)
    for header in ("slice", "items", "drop", "band"):
        table.add_column(header, justify="left" if header == "slice" else "right")
    for item in sorted(slices, key=lambda item: -item["drop"])[:_SLICES_SHOWN]:
        known = item["low"] is not None and item["high"] is not None
        band = f"{format_points(item['low'])} to {format_points(item['high'])}" if known else ""
        table.add_row(Text(item["name"]), str(item["count"]), format_points(item["drop"]), band)
    screen.print(table)


def _show_costs(screen: Console, result: GateResult, request: Request, wanted: set[str]) -> None:
    from edgekit.exporting.sentences import escape

    try:
        model, tables = _tables(result, request)
    except EdgekitError as error:
        screen.print(f"[yellow]--why needs the float model:[/] {escape(error.message)}", soft_wrap=True)
        return
    recorded = (result.report.get("model") or {}).get("digest")
    if recorded not in (None, model.digest):
        screen.print("[yellow]The float model has changed since the export; these are its layers now.[/]")
    for table in tables:
        if str(table.title).partition(":")[0] in wanted:
            screen.print(table)


def _tables(result: GateResult, request: Request) -> tuple[CapturedModel, Iterable[Table]]:
    """Captures the task's model and returns its costs in the first format that was made."""
    from edgekit.cli.cost_tables import cost_tables
    from edgekit.pipeline.analysis import analyze_model
    from edgekit.pipeline.capture import capture_model
    from edgekit.pipeline.settings import Settings
    from edgekit.planner.plan import ModelFacts, Plan
    from edgekit.recipe import Candidate, Recipe

    settings = Settings()
    model = capture_model(_task(result, request), settings)
    entry = next(entry for entry in result.report["formats"] if entry["artifact"] is not None)
    plan = Plan(
        model=ModelFacts(**{name: getattr(model, name) for name in ModelFacts.__dataclass_fields__}),
        device=result.device,
        device_title=request.profile.title,
        limits=request.budget.limits,
        feasible=False,
        chosen=Candidate(runtime=entry["runtime"], recipe=Recipe.from_json(entry["recipe"])),
    )
    return model, cost_tables(analyze_model(model, settings), plan, request.profile)


def _task(result: GateResult, request: Request) -> Task:
    """Returns the task whose model's layers explain the artifact: its float model's, else the file's own.

    Raises:
        ModelError: no float model was given, and this format's files do not name their layers.
    """
    from edgekit.task.task import default_task, model_task

    model = result.report.get("model")
    if model is not None:
        return default_task(Path.cwd()) if model.get("embedded_default") else request.task
    entry = next(entry for entry in result.report["formats"] if entry["artifact"] is not None)
    path = result.folder / entry["artifact"]["path"]
    if path.suffix.lower() not in (".onnx", ".tflite"):
        raise ModelError(
            f"{path.name} does not show what its layers cost. Name the model that it was made from, with --model."
        )
    return model_task(str(path.absolute()), Path.cwd())
