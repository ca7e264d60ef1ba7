"""Words and the table of a debug report: at most 40 lines, read from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.debugging.report import CLEAN_DB, DebugReport, LayerReport, Suspect
from edgekit.exporting.sentences import escape
from edgekit.task.metric_text import metric_title

if TYPE_CHECKING:
    from rich.table import Table

_ROWS: Final = 14
_NAME_WIDTH: Final = 34
_SOUND_DB: Final = 20.0
"""SQNR of the outputs from which INT8 models usually keep their accuracy."""


def story(report: DebugReport, *, verbose: bool) -> Iterator[str | Table]:
    """Yields what a person reads: where the values come from, the verdict, the layers, the suspects."""
    title = f"{Path(report.artifact).name} ({report.runtime} {report.precision}) against {report.model}"
    yield escape(f"{title}, {report.samples} {report.samples_from} samples")
    yield escape(f"Inside: {report.how}{_agreement(report.inside_agreement_db)}")
    yield escape(_verdict(report))
    for note in report.notes:
        yield escape(f"Note: {note}")
    yield ""
    yield _table(report, report.layers if verbose else _worst(report))
    shown = len(report.layers) if verbose else min(_ROWS, len(report.layers))
    fused = f"; {len(report.unmatched)} nodes are fused away in the artifact" if report.unmatched else ""
    yield escape(f"{shown} of {len(report.layers)} matched layers{'' if verbose else ' (all: --verbose)'}{fused}")
    yield ""
    yield from suspect_lines(report)


def suspect_lines(report: DebugReport) -> Iterator[str]:
    """Yields the suspects, each with its remedy."""
    first = report.first_departure
    if first is None:
        yield "[bold]No layer is broken:[/] none departs further than sound rounding makes it."
    else:
        yield f"[bold]First layer that departs:[/] {escape(_name(first))}"
    seen: set[str] = set()
    for number, suspect in enumerate(report.suspects, 1):
        layer = report.layer(suspect.node)
        share = "" if layer.error_share is None else f", {layer.error_share:.0%} of the final error"
        word = "[bold red]suspect[/]" if suspect.is_fault else "[yellow]largest[/]"
        yield f"{word} {number}: {escape(_name(layer))}{share}"
        yield escape(f"  {_why(suspect)}")
        # Several layers often share one remedy: it is said once.
        if suspect.remedy not in seen:
            seen.add(suspect.remedy)
            yield escape(f"  {suspect.remedy}")
            if suspect.command:
                yield f"  [cyan]{escape(suspect.command)}[/]"


def _why(suspect: Suspect) -> str:
    share = f" (explains {suspect.explained_share:.0%} of its error)" if suspect.is_fault else ""
    return f"{suspect.cause.replace('_', ' ')}: {suspect.sentence}{share}"


def _verdict(report: DebugReport) -> str:
    level = "close to the float model" if report.final_sqnr_db >= _SOUND_DB else "far from the float model"
    text = f"Outputs: SQNR {_db(report.final_sqnr_db)}, {level}"
    if report.metric_points is not None:
        text += f"; {metric_title(report.metric)} loses {report.metric_points:.2f} pp on these samples"
    if report.explained is not None:
        text += f"; the layers' contributions add up to {report.explained:.2f} x the measured error"
    return text


def _agreement(decibels: float | None) -> str:
    """Returns how far the run that shows the insides is the artifact's own."""
    if decibels is None:
        return ""
    if decibels >= CLEAN_DB:
        return "; its outputs are exactly the artifact's own"
    return f"; its outputs differ from the artifact's own by rounding ({_db(decibels)})"


def _worst(report: DebugReport) -> Sequence[LayerReport]:
    """Returns the layers that matter most, in order of execution: departing ones, then the largest shares."""
    first = report.first_departure
    ranked = sorted(
        report.layers,
        key=lambda layer: (layer is not first, -(layer.error_share or 0.0), layer.own_sqnr_db),
    )
    return sorted(ranked[:_ROWS], key=lambda layer: layer.position)


def _table(report: DebugReport, layers: Sequence[LayerReport]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", no_wrap=True, overflow="ellipsis", max_width=_NAME_WIDTH)
    for title in ("SQNR dB", "own dB", "of error", "clipped", "dead", "grid", "seen"):
        table.add_column(title, justify="right", no_wrap=True)
    first = report.first_departure
    worst = min(report.layers, key=lambda layer: layer.sqnr_db, default=None)
    for layer in layers:
        mark = "> " if layer is first else ("* " if layer.departs else "  ")
        style = "bold red" if layer.departs else ("yellow" if layer is worst else None)
        table.add_row(
            mark + escape(_row_name(layer)),
            _figure(layer.sqnr_db),
            _figure(layer.own_sqnr_db),
            "-" if layer.error_share is None else _percent(layer.error_share),
            _percent(layer.saturated_share) if layer.saturated_share else "-",
            f"{layer.dead_channels}/{layer.channels}" if layer.dead_channels else "-",
            "float" if layer.grid is None else _range(layer.grid),
            _range(layer.seen),
            style=style,
        )
    return table


def _name(layer: LayerReport) -> str:
    """Returns `_blocks.3._expand_conv (conv2d+hardtanh)`: the module, or the node where it came from none."""
    return f"{layer.module or layer.node} ({layer.operator})"


def _row_name(layer: LayerReport) -> str:
    """Returns a layer's name for the table: its end where it is too long, because names differ there."""
    name, width = layer.module or layer.node, _NAME_WIDTH - 2
    last = layer.operator.rpartition("+")[2]
    text = f"{name} {last}" if "+" in layer.operator else name
    return text if len(text) <= width else f"..{text[-(width - 2) :]}"


def _range(pair: tuple[float, float]) -> str:
    return f"{_short(pair[0])}..{_short(pair[1])}"


def _short(value: float) -> str:
    """Returns two significant digits at least, and no exponent for ordinary values."""
    return f"{value:.0f}" if 10 <= abs(value) < 1e5 else f"{value:.2g}"


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _figure(decibels: float) -> str:
    return "exact" if decibels >= CLEAN_DB else f"{decibels:.1f}"


def _db(value: float) -> str:
    """Returns `23.4 dB`."""
    return f"{value:.1f} dB"
