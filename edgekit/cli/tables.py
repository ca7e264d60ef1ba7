"""Words and tables for people, for a terminal and for a pipe. Only `edgekit.cli` prints what comes from here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from edgekit.artifact import Artifact
from edgekit.budget import cost_of
from edgekit.checks import Check
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.report import ExportReport
from edgekit.exporting.sentences import (
    NOT_MEASURED,
    SHOWN_NAMES,
    STATUS_WORDS,
    amount_text,
    band_text,
    escape,
    gate_lines,
    limit_text,
)
from edgekit.model import TensorSpec
from edgekit.units import format_bytes, format_value

if TYPE_CHECKING:
    from rich.table import Table


def export_table(report: ExportReport) -> Table:
    """Returns the table of an export: one row a format."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "format", "precision"):
        table.add_column(column, no_wrap=True)
    for column in ("size", "drop", "parity", "memory", "host latency"):
        table.add_column(column, justify="right", no_wrap=True)
    for result in report.results:
        word, style = _format_status(result)
        cells = [_cell(result, name) for name in ("size", "accuracy_drop", "parity", "memory")]
        table.add_row(f"[{style}]{word}[/]", result.runtime, result.precision, *cells, _host_cell(result))
    return table


def _format_status(result: FormatResult) -> tuple[str, str]:
    if result.error is not None:
        return STATUS_WORDS["fail"]
    if not result.passed():
        return STATUS_WORDS["fail"]
    open_checks = [check for check in result.checks if check.verdict == "inconclusive" and check.limit is not None]
    return STATUS_WORDS["inconclusive" if open_checks else "pass"]


def _cell(result: FormatResult, name: str) -> str:
    check = result.check(name)
    if check is None:
        return "-"
    if check.value is None:
        return NOT_MEASURED
    text = format_value(check.value, check.unit)
    return text if check.verdict in ("pass", "not_run") else f"[{STATUS_WORDS[check.shown_as][1]}]{text}[/]"


def _host_cell(result: FormatResult) -> str:
    ratio = result.host.get("ratio")
    median = result.host.get("median_ms")
    if median is None:
        return NOT_MEASURED
    text = format_value(median, "ms")
    return f"{text} ({ratio:.2f} x float)" if ratio is not None else text


def prediction_tables(report: ExportReport) -> Iterator[Table]:
    """Yields one table for each artifact that was predicted: predicted beside measured, with the error."""
    from rich.table import Table

    for result in report.results:
        rows = result.comparisons()
        if not rows:
            continue
        table = Table(
            title=f"{result.runtime} {result.precision}: predicted beside measured", title_justify="left",
            title_style="bold", box=None, pad_edge=False, header_style="bold",
        )  # fmt: skip
        table.add_column("", no_wrap=True)
        for column in ("predicted", "90 % band", "measured", "error"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for row in rows:
            band = ""
            if row.low is not None and row.high is not None:
                band = f"{format_value(row.low, row.unit)} to {format_value(row.high, row.unit)}"
            share = row.error_share
            error = f"{100 * share:+.1f} %" if share is not None else f"{row.error:+.2f} {row.unit}"
            place = {True: "in the band", False: "[yellow]outside the band[/]", None: ""}[row.in_band]
            if row.in_band is False and row.overlaps:
                place = "[yellow]outside, its interval overlaps[/]"
            figures = (format_value(row.predicted, row.unit), band, format_value(row.measured, row.unit), error)
            table.add_row(cost_of(row.name).title, *figures, place)
        yield table


def check_table(checks: Iterable[Check], *, title: str | None = None, with_detail: bool = True) -> Table:
    """Returns the table of all checks: verdict, what was found and its band, the limit and who set it."""
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold",
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("basis", no_wrap=True)
    table.add_column("band", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("set by", overflow="fold")
    if with_detail:
        table.add_column("", overflow="fold")
    for check in checks:
        word, style = STATUS_WORDS[check.shown_as]
        if check.limit is None and check.verdict == "pass":
            word, style = "-", "dim"
        found = NOT_MEASURED if check.value is None else amount_text(check.name, check.value)
        limit = "-" if check.limit is None else limit_text(check.name, check.limit)
        level = " (warns)" if check.level == "warn" and check.limit is not None else ""
        detail = (escape(check.detail),) if with_detail else ()
        basis = "" if check.value is None else check.basis
        cells = (cost_of(check.name).title, found, basis, escape(band_text(check)), limit, check.limit_from + level)
        table.add_row(f"[{style}]{word}[/]", *cells, *detail)
    return table


def verdict_lines(report: ExportReport, *, strict: bool = False) -> list[str]:
    """Returns what decided an export: failures first, then what is open, then one line with the verdict itself."""
    checks = [check for result in report.results for check in result.checks]
    failures = [
        f"{result.runtime} {result.precision}: {result.error.message}"
        for result in report.results
        if result.error is not None
    ]
    made = sum(result.artifact is not None for result in report.results)
    lines = gate_lines(checks, failures, device=report.device, good=report.passed(strict=strict))
    if report.command != "export":
        return lines
    return [*lines[:-1], f"{lines[-1]}: {made} of {len(report.results)} artifacts made"]


def note_lines(report: ExportReport, *, verbose: bool) -> list[str]:
    """Returns what a person should know about how the artifacts were made and measured.

    A note that several formats share is shown once. Operators that stay float are always shown: a silent downgrade is
    the thing that users of other tools complain about most.
    """
    notes: dict[str, list[str]] = {}
    for result in report.results:
        for note in result.notes(of_interest=not verbose):
            notes.setdefault(note, []).append(result.runtime)
        if result.conversion is not None and result.conversion.float_fallbacks:
            names = result.conversion.float_fallbacks
            shown = ", ".join(names[:SHOWN_NAMES]) + (
                f" and {len(names) - SHOWN_NAMES} more" if names[SHOWN_NAMES:] else ""
            )
            notes.setdefault(f"stays float: {shown}", []).append(result.runtime)
    lines = [escape(line) for line in state_lines(report)]
    lines += [f"[dim]{', '.join(runtimes)}: {escape(note)}[/]" for note, runtimes in notes.items()]
    lines += [
        f"[yellow]calibration:[/] {escape(finding['message'])}"
        for finding in (report.calibration or {}).get("findings", ())
    ]
    lines += [f"[dim]{escape(line)}[/]" for result in report.results if (line := _imported_line(result))]
    lines += [
        f"[dim]run with the inputs {escape(str(r.host['inputs']))}[/]" for r in report.results if "inputs" in r.host
    ]
    lines += [f"{r.runtime}: {escape(str(r.host['pairing']))}" for r in report.results if r.host.get("pairing")]
    compared = {str(r.host["compared_on"]) for r in report.results if r.host.get("compared_on")}
    lines += [f"outputs were compared on {rows}: there is no evaluation data" for rows in sorted(compared)]
    evaluators = {str(r.host.get("runtime")) for r in report.results if "evaluator" in str(r.host.get("runtime", ""))}
    lines += [f"[dim]coreml: run by the {escape(name)}[/]" for name in sorted(evaluators)]
    if any(result.host.get("median_ms") is not None for result in report.results):
        lines.append("[dim]host latency is this machine's; it is never taken for the device's[/]")
    return [*lines, ""] if lines else []


def state_lines(report: ExportReport) -> list[str]:
    """Returns how each artifact has what goes from call to call, and on how long sequences it was judged."""
    ways: dict[str, list[str]] = {}
    for result in report.results:
        states = result.artifact.states if result.artifact else ()
        held = [state.buffer or state.name for state in states if state.held]
        fed = [f"{state.output} -> {state.input}" for state in states if not state.held]
        if held:
            ways.setdefault(f"kept by the file itself: {', '.join(held)}", []).append(result.runtime)
        if fed:
            ways.setdefault(f"the app feeds it back: {', '.join(fed)}", []).append(result.runtime)
    lines = [f"state, {', '.join(runtimes)}: {way}" for way, runtimes in ways.items()]
    data = report.data.get("evaluation") or {}
    if lines and "sequences" in data:
        lines.append(
            f"state: carried from call to call over {data['sequences']} sequences of up to {data['longest_sequence']} "
            "calls, in the artifact and in the float model"
        )
    return lines


def _imported_line(result: FormatResult) -> str:
    """Returns one line about the figures that were imported from the device, "" where there are none."""
    imported = [check for check in result.checks if check.basis == "imported" and check.value is not None]
    figures = ", ".join(f"{cost_of(x.name).title} {format_value(x.value or 0.0, x.unit)}" for x in imported)
    return f"{result.runtime}: measured on {imported[0].measured_on} and imported: {figures}" if imported else ""


def artifact_lines(report: ExportReport) -> list[str]:
    """Returns one line for each artifact: its path and size."""
    return [
        f"{result.artifact.path}  {format_bytes(result.artifact.size_bytes)}"
        for result in report.results
        if result.artifact is not None
    ]


def embedded_lines(artifact: Artifact) -> list[str]:
    """Returns what an artifact says about itself: origin, inputs and outputs, preprocessing, labels."""
    from edgekit.pipeline.artifact_metadata import labels_line, origin_line, read_embedded
    from edgekit.task.preprocessing import describe_preprocessing, image_input

    embedded = read_embedded(artifact.metadata)
    steps = embedded.preprocessing
    return [
        origin_line(embedded),
        *([f"signature {artifact.signature}, of {', '.join(artifact.signatures)}"] if artifact.signature else []),
        *(f"input {_tensor_text(spec)}" for spec in artifact.inputs),
        *(f"output {_tensor_text(spec)}" for spec in artifact.outputs),
        "preprocessing: "
        + (describe_preprocessing(steps, image_input(artifact.inputs)) if steps else "the file does not say"),
        "labels: " + (labels_line(embedded.labels) if embedded.labels else "none in the file"),
    ]


def _tensor_text(spec: TensorSpec) -> str:
    """Returns a tensor for people: `image: int8 (1, 3, 32, 32) NCHW, real = 0.0123 x (stored + 3)`."""
    shape = "(" + ", ".join(map(str, spec.shape)) + ")"
    layout = f" {spec.layout}" if spec.layout else ""
    zero = spec.zero_point or 0
    grid = "" if spec.scale is None else f", real = {spec.scale:.6g} x (stored {'+' if zero < 0 else '-'} {abs(zero)})"
    return f"{spec.name}: {spec.dtype} {shape}{layout}{grid}"
