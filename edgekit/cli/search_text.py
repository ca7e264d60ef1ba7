"""A search in words and tables: every variant, what became of it, the Pareto front, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from edgekit.exporting.sentences import STATUS_WORDS, check_sentence, escape
from edgekit.searching.result import FATE_WORDS, Row, SearchResult, artifact_name
from edgekit.task.references import parse_reference
from edgekit.units import format_value

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_STYLES: Final = {"turned down": "dim", "left out": "dim", "dropped": "dim", "failed": "red"}
_SHOWN_REASONS: Final = 12
_MARK: Final = "*"
"""Before a row on the Pareto front."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchText:
    """Words for one search.

    Attributes:
        result: Result to show.
        folder: Where its files lie.
        config: The task file as the user named it, None where it was found.
        width: Columns to fill.
    """

    result: SearchResult
    folder: Path
    config: Path | None
    width: int = 100

    def verdict(self) -> Iterator[RenderableType]:
        """Yields the lines of `--quiet`."""
        best = self.result.recommended
        if best is None:
            yield f"[bold red]No variant[/] keeps every budget of {escape(self.result.device)}."
            return
        drop = best.measured.check("accuracy_drop") if best.measured else None
        words = [f"{self.result.metric} {_points(best.accuracy)}"]
        if drop is not None and drop.value is not None:
            words.append(f"{format_value(drop.value, 'pp')} below your model's float")
        words.append(_figure(best, "size"))
        if best.cost("latency") is not None:
            words.append(f"{_figure(best, 'latency')} predicted on {self.result.device}")
        yield f"[bold green]Recommended[/] {escape(best.title)}: {escape(', '.join(words))}"

    def story(self, *, verbose: bool) -> Iterator[RenderableType]:
        """Yields everything, in the order of the screen."""
        result = self.result
        yield f"{escape(result.device_title)} ({result.device}), {result.runtime} {result.recipe.name}"
        taken = "; ".join(f"{name}: {', '.join(roles)}" for name, roles in result.bindings.items())
        yield f"[dim]parameters go to {escape(taken)}[/]"
        yield ""
        yield self.table()
        yield (
            f"[dim]{_MARK} on the Pareto front of accuracy, latency and size; latency: predicted for the device; "
            "host x: on this machine, as a multiple of your model's artifact, timed in turn[/]"
        )
        yield from self._reasons(verbose=verbose)
        for note in result.notes:
            yield f"[yellow]note[/] {escape(note)}"
        yield ""
        yield from self.verdict()
        yield from self._advice()
        for row in result.kept:
            yield escape(f"{self.folder / row.name}.pt2  {self.folder / artifact_name(row)}")
        yield escape(f"One page with all of it: edgekit report {shlex.quote(str(self.folder))}")

    def table(self) -> Table:
        """Returns the table: your model, then the variants, the measured ones by accuracy."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        # A column for each parameter: names in every row would leave no room for the figures.
        for name in ("", *self.result.parameters, ""):
            table.add_column(escape(name), no_wrap=True)
        metric = self.result.metric
        metric = parse_reference(metric, "[data] metric").name if ":" in metric else metric
        for name in ("epochs", "held-out", metric, "drop", "size", "latency", "host x"):
            table.add_column(name, justify="right", no_wrap=True)
        front = {row.name for row in self.result.front}
        rows = sorted(self.result.rows, key=lambda row: (row.accuracy is None, -(row.accuracy or 0.0), -row.epochs))
        for row in (self.result.reference, *rows):
            is_best = row is self.result.recommended
            status, style = _status(row)
            table.add_row(
                _MARK if row.accuracy is not None and row.name in front else "",
                *(f"[bold]{escape(text)}[/]" if is_best else escape(text) for text in self._arguments(row)),
                f"[{style}]{status}[/]",
                str(row.epochs) if row.epochs else "-",
                _held_out(row),
                _points(row.accuracy),
                _drop(row),
                _figure(row, "size"),
                _figure(row, "latency"),
                _ratio(row),
            )
        return table

    def _arguments(self, row: Row) -> list[str]:
        """Returns the row's values of all parameters; your own model has none."""
        if row is self.result.reference:
            return ["yours", *[""] * (len(self.result.parameters) - 1)]
        return [str(row.arguments[name]) for name in self.result.parameters]

    def _reasons(self, *, verbose: bool) -> Iterator[RenderableType]:
        """Yields why variants were not measured, and which limits the measured ones miss."""
        # Of those that are left out, a note says it once.
        explained = [
            (row.title, row.fate, row.reason) for row in self.result.rows if row.reason and row.fate != "left out"
        ]
        shown = explained if verbose else explained[:_SHOWN_REASONS]
        for title, fate, reason in shown:
            yield f"[dim]{escape(f'{title}: {fate}: ' if fate != 'turned down' else f'{title}: ')}{escape(reason)}[/]"
        if len(explained) > len(shown):
            yield f"[dim]and {len(explained) - len(shown)} more: --verbose, or search.json[/]"
        for row in (self.result.reference, *self.result.measured):
            for check in row.measured.checks if row.measured else ():
                if check.fails_gate or (check.verdict == "inconclusive" and check.limit is not None):
                    word = check.shown_as
                    yield f"{escape(row.title)} [yellow]{word}[/]: {escape(check_sentence(check))}"

    def _advice(self) -> Iterator[RenderableType]:
        result = self.result
        best, reference = result.recommended, result.reference
        ahead = (reference.accuracy or 0.0) - (best.accuracy or 0.0 if best else 0.0)
        if reference.passed and ahead > 0:
            more = f" and is more accurate by {format_value(ahead, 'pp')}" if best else ""
            yield f"Your model keeps every budget as it is{more}."
        if best is None:
            trained = "train longer (--epochs), " if result.measured else ""
            yield f"To get one, {trained}give other values in \\[search], or loosen the limit that the nearest misses."
            return
        yield "Export it with techniques, other formats or its own report:"
        yield escape(f"  {self.next_command(best)}")

    def next_command(self, row: Row) -> str:
        """Returns the command that exports a variant with its own data."""
        named = ["-c", str(self.config)] if self.config is not None else []
        bound = [
            word
            for role, flag in (
                ("example_inputs", "--example-inputs"),
                ("calibration", "--calibration"),
                ("evaluation", "--evaluation"),
            )
            if "(" in row.references.get(role, "")
            for word in (flag, row.references[role])
        ]
        result = self.result
        form = ["--format", result.runtime, "--precision", result.recipe.name]
        model = str(self.folder / f"{row.name}.pt2")
        return shlex.join(["edgekit", "export", model, *named, "--device", result.device, *form, *bound])


def _status(row: Row) -> tuple[str, str]:
    """Returns the word and the style for what became of a row."""
    if row.measured is None:
        return FATE_WORDS.get(row.fate, row.fate), _STYLES[row.fate]
    if not row.passed:
        return STATUS_WORDS["fail"]
    is_open = any(check.verdict == "inconclusive" and check.limit is not None for check in row.measured.checks)
    return STATUS_WORDS["inconclusive" if is_open else "pass"]


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def _held_out(row: Row) -> str:
    accuracy, loss = row.held_out.get("accuracy"), row.held_out.get("loss")
    if accuracy is not None:
        return f"{100 * accuracy:.1f} %"
    return "-" if loss is None else f"loss {loss:.3f}"


def _drop(row: Row) -> str:
    check = row.measured.check("accuracy_drop") if row.measured else None
    return "-" if check is None or check.value is None else format_value(check.value, "pp")


def _figure(row: Row, name: str) -> str:
    """Returns a cost; `~` before one that was predicted and could be measured."""
    value = row.cost(name)
    if value is None:
        return "-"
    unit = "ms" if name == "latency" else "bytes"
    return f"{'~' if row.measured is None and name != 'latency' else ''}{format_value(value, unit)}"


def _ratio(row: Row) -> str:
    found = row.measured.host.get("ratio_to_reference") if row.measured else None
    return "-" if found is None else f"{found:.2f}"
