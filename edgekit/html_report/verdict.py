"""The verdict, what decided it, and how much of each budget is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgekit.budget import cost_of
from edgekit.checks import Check
from edgekit.errors import ProfileError
from edgekit.exporting.sentences import NOT_MEASURED, amount_text, band_text, check_sentence, limit_text
from edgekit.gating.outputs.advice import advise
from edgekit.gating.outputs.measuring import Place, model_to_name
from edgekit.html_report import charts
from edgekit.html_report.parts import (
    UNKNOWN,
    Block,
    Cell,
    Chart,
    Column,
    Heading,
    Section,
    Sentence,
    Sources,
    Table,
    figure,
    name_of,
    word,
)
from edgekit.html_report.stages import stage_blocks
from edgekit.profiles.profile import find_profile

_SEVERITY: Final = ("fail", "not_run", "inconclusive", "pass")


def verdict_section(sources: Sources) -> Section:
    """Returns the table of artifacts, what did not pass and what to try, and how each artifact was made."""
    report = sources.report
    blocks: list[Block] = [_artifact_table(sources)]
    blocks += _open_points(sources)
    blocks += _remarks(sources)
    if made := _how_made(sources):
        blocks.append(made)
    blocks += stage_blocks(sources)
    if (report.get("model") or {}).get("embedded_default"):
        blocks.append(
            Sentence(
                text="No model was given: this is the embedded default, EfficientNet-Lite0 with ImageNet weights, "
                "judged by agreement with its float self on crops of photographs."
            )
        )
    return Section(name="verdict", title="Verdict", blocks=tuple(blocks))


def _artifact_table(sources: Sources) -> Table:
    columns = ("Format", "Verdict", "Size", "Download", "Accuracy drop", "Parity", "Peak memory", "Latency")
    rows: list[tuple[Cell, ...]] = []
    for entry in sources.formats:
        checks = checks_of(entry)
        status = "pass" if entry["passed"] else "fail"
        cells = [_figure_of(checks, name) for name in ("size", "download", "accuracy_drop", "parity", "memory")]
        rows.append(
            (word(name_of(entry)), Cell(text=status, order=status, status=status), *cells, _latency_cell(checks, entry))
        )
    return Table(
        caption="One row for each artifact",
        columns=tuple(Column(title=title, numeric=i > 1) for i, title in enumerate(columns)),
        rows=tuple(rows),
    )


def _figure_of(checks: Mapping[str, Check], name: str) -> Cell:
    check = checks.get(name)
    if check is None or check.value is None:
        return Cell(text=NOT_MEASURED if check else UNKNOWN, status="not_run" if check else "")
    return figure(check.value, check.unit, _status(check) if check.verdict != "pass" else "")


def _latency_cell(checks: Mapping[str, Check], entry: Mapping[str, Any]) -> Cell:
    """Returns the device's latency and how it is known; the host's own is no substitute and says whose it is."""
    check = checks.get("latency")
    if check is not None and check.value is not None:
        return Cell(text=f"{amount_text('latency', check.value)} ({check.basis})", order=check.value)
    median = (entry.get("host") or {}).get("median_ms")
    if median is None:
        return Cell(text=NOT_MEASURED, status="not_run")
    return Cell(text=f"not measured; this host {amount_text('latency', median)}", order=median, status="not_run")


def _open_points(sources: Sources) -> Iterator[Sentence]:
    """Yields each failure, then each open check, with what to try."""
    for entry in sources.formats:
        if entry["error"]:
            yield Sentence(text=f"{name_of(entry)}: {entry['error']['message']}", status="fail")
    found = [
        (check, entry)
        for entry in sources.formats
        for check in checks_of(entry).values()
        if check.verdict != "pass" and (check.limit is not None or check.verdict == "fail")
    ]
    for check, entry in sorted(found, key=lambda item: (item[0].level, _SEVERITY.index(item[0].verdict))):
        words = check.shown_as + (" (warns)" if check.level == "warn" and check.shown_as != "warn" else "")
        tip = advise(check, entry["precision"], place_of(sources, entry))
        text = f"{words}: {name_of(entry)}: {check_sentence(check)}.{' ' + tip if tip else ''}"
        yield Sentence(text=text, status=_status(check))


def place_of(sources: Sources, entry: Mapping[str, Any]) -> Place:
    """Returns the device and the artifact of one format; a profile that is not on this machine has no kind."""
    device, folder = str(sources.report["device"]), Path(sources.folder)
    try:
        profile = find_profile(device, Path.cwd())
        kind, runtimes = profile.kind, profile.runtimes
    except ProfileError:
        kind, runtimes = "", ()
    artifact = folder / entry["artifact"]["path"] if entry["artifact"] else folder
    return Place(
        device=device, kind=kind, runtimes=runtimes, runtime=entry["runtime"], artifact=artifact, target=folder,
        model=model_to_name(sources.report["model"]),
    )  # fmt: skip


def _how_made(sources: Sources) -> Table | None:
    """Returns the pipeline of each artifact, and what ran it; None where none was made."""
    rows = tuple(
        (
            word(name_of(entry)),
            word(entry["artifact"]["path"]),
            word(", then ".join(map(step_text, entry["steps"])) or "conversion alone"),
            word((entry.get("host") or {}).get("runtime") or UNKNOWN),
        )
        for entry in sources.formats
        if entry["artifact"] is not None
    )
    titles = ("Format", "File", "Made by", "Run by")
    return (
        Table(caption="How each was made", columns=tuple(Column(title=x) for x in titles), rows=rows) if rows else None
    )


def _remarks(sources: Sources) -> Iterator[Sentence]:
    """Yields what converters said, once for all formats that share it; operators that stay float are always shown."""
    notes: dict[str, list[str]] = {}
    for entry in sources.formats:
        for note in entry["notes"]:
            notes.setdefault(note, []).append(entry["runtime"])
        if entry["float_fallbacks"]:
            notes.setdefault(f"stays float: {', '.join(entry['float_fallbacks'])}", []).append(entry["runtime"])
    for note, runtimes in notes.items():
        yield Sentence(text=f"{', '.join(runtimes)}: {note}", status="remark")


def step_text(step: Mapping[str, Any]) -> str:
    """Returns a step with its settings: `quantize_static (ranges mse, per_channel True)`."""
    settings = ", ".join(f"{name} {value}" for name, value in step["settings"].items())
    return f"{step['technique']} ({settings})" if settings else str(step["technique"])


def budget_section(sources: Sources) -> Section:
    """Returns each budget with how much of it is used."""
    blocks: list[Block] = []
    judged = [(entry, tuple(checks_of(entry).values())) for entry in sources.formats if entry["checks"]]
    if not judged:
        reason = "Nothing was judged: no format has an artifact that could be run."
        blocks.append(Sentence(text=reason, status="not_run", command=sources.export_command))
    for number, (entry, checks) in enumerate(judged):
        if len(judged) > 1:
            blocks.append(Heading(text=name_of(entry)))
        if bars := [check for check in checks if _share(check)]:
            blocks.append(_budget_chart(bars, f"chart-budgets-{number}"))
        blocks.append(_check_table(checks, folded=len(judged) > 1))
    return Section(name="budgets", title="Budgets", blocks=tuple(blocks))


def _share(check: Check) -> tuple[float, float, float] | None:
    """Returns (figure, lower end, upper end) as percent of the limit; None where there is no such share.

    Where a figure must be at least the limit, the share is the other way round: over 100 % is always too much.
    """
    if check.value is None or not check.limit:
        return None
    at_most = cost_of(check.name).at_most
    ends = [end if end is not None else check.value for end in (check.value, check.low, check.high)]
    if not at_most and min(ends) <= 0:
        return None
    shares = [100 * (end / check.limit if at_most else check.limit / end) for end in ends]
    value, low, high = (max(0.0, share) for share in shares)
    return value, min(low, high), max(low, high)


def _budget_chart(bars: Sequence[Check], name: str) -> Chart:
    from bokeh.models import ColumnDataSource

    shares = [_share(check) or (0.0, 0.0, 0.0) for check in bars]
    labels = [cost_of(check.name).title for check in bars]
    longest = max(100.0, *(share[2] for share in shares))
    made = charts.rows_figure(labels, x_title="% of the budget used", x_range=(0, 1.05 * longest))
    source = ColumnDataSource(
        {
            "y": [-i for i in range(len(bars))],
            "used": [share[0] for share in shares],
            "low": [share[1] for share in shares],
            "high": [share[2] for share in shares],
            "colour": [charts.VERDICT_COLOURS[_status(check)] for check in bars],
            # Solid is measured, faint is predicted: a reader must not take one for the other.
            "alpha": [0.35 if check.basis == "predicted" else 0.9 for check in bars],
            "words": [_bar_words(check) for check in bars],
            "name": labels,
            "verdict": [check.shown_as for check in bars],
            "basis": [_basis_words(check) for check in bars],
            "set_by": [check.limit_from for check in bars],
            "band": [band_text(check) or "exact" for check in bars],
        }
    )
    drawn = made.hbar(
        y="y", right="used", height=0.62, color="colour", fill_alpha="alpha", line_width=1.5, source=source
    )
    made.segment(x0="low", x1="high", y0="y", y1="y", line_width=3, line_color=charts.BAND_COLOUR, source=source)
    charts.label_rows(made, [_bar_words(check) for check in bars])
    charts.line_at(made, 100, across=False, label="limit")
    rows = (
        ("budget", "name"), ("used", "words"), ("verdict", "verdict"), ("band", "band"), ("known by", "basis"),
        ("set by", "set_by"),
    )  # fmt: skip
    charts.add_tooltip(made, [drawn], rows)
    spoken = "; ".join(check_sentence(check) for check in bars)
    return Chart(
        name=name,
        title="Share of each budget that is used. Faint bars are predicted, solid ones measured or imported; "
        "the line through a bar's end is its band.",
        words=spoken,
        model=made,
    )


def _bar_words(check: Check) -> str:
    value = amount_text(check.name, check.value or 0.0)
    return f"{value} / {amount_text(check.name, check.limit or 0.0)}"


def _basis_words(check: Check) -> str:
    if check.measured_on.startswith(check.basis):
        return check.measured_on
    return f"{check.basis}, {check.measured_on}" if check.measured_on else check.basis


def _check_table(checks: Sequence[Check], *, folded: bool) -> Table:
    titles = ("Check", "Verdict", "Found", "Band", "Limit", "Set by", "Known by", "Detail")
    columns = [Column(title=title, numeric=title == "Found") for title in titles]
    rows: list[tuple[Cell, ...]] = []
    for check in checks:
        level = ", warns" if check.level == "warn" and check.limit is not None else ""
        rows.append(
            (
                word(cost_of(check.name).title),
                _verdict_cell(check),
                Cell(text=UNKNOWN if check.value is None else amount_text(check.name, check.value), order=check.value),
                word(band_text(check)),
                word(UNKNOWN if check.limit is None else limit_text(check.name, check.limit)),
                word(check.limit_from + level),
                word(_basis_words(check) if check.value is not None else NOT_MEASURED),
                word(check.detail),
            )
        )
    return Table(caption="Every check, with who set its limit", columns=tuple(columns), rows=tuple(rows), folded=folded)


def _verdict_cell(check: Check) -> Cell:
    if check.limit is None and check.verdict != "fail":
        return word("no limit")
    return Cell(text=check.shown_as, order=_SEVERITY.index(check.verdict), status=_status(check))


def _status(check: Check) -> str:
    """Returns the style of a check: a name in the page's style sheet."""
    return "warn" if check.shown_as == "warn" else check.verdict


def checks_of(entry: Mapping[str, Any]) -> dict[str, Check]:
    """Returns a format's checks by name."""
    return {check["name"]: Check.from_json(check) for check in entry["checks"]}
