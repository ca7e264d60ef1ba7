"""A ladder in words and a table: the rungs, the cliff with its layers, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.checks import Check
from edgekit.cli.plan_text import labelled_line, limit_flags, preset_of
from edgekit.exporting import sentences
from edgekit.planner.cliff import worst_layers
from edgekit.task.request import Request, task_words
from edgekit.trials.ladder_rungs import Cliff, Ladder, Rung
from edgekit.units import format_value

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_SHOWN_LAYERS: Final = 5
_COLUMNS: Final = ("size", "download", "memory", "latency", "parity")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LadderText:
    """Words for one ladder.

    Attributes:
        ladder: Result to show.
        request: What was requested.
        exported: The recommended rung was exported.
        width: Columns to fill.
    """

    ladder: Ladder
    request: Request
    exported: bool = False
    width: int = 100

    def verdict(self) -> Iterator[RenderableType]:
        """Yields the one line of `--quiet`."""
        chosen = self.ladder.chosen
        where = f"{self.ladder.request.runtime} for {self.request.profile.name}"
        if chosen is None:
            yield self._line("No rung", f"of {where} keeps the budget: {self._misses()}", "bold red")
        else:
            yield self._line("Rung", f"{chosen.name}, {where}", "bold green")

    def story(self, *, verbose: bool) -> Iterator[RenderableType]:
        """Yields everything."""
        model, limit = self.ladder.request.model, self.ladder.limit
        yield self._line("Model", sentences.model_line(model))
        if model.embedded_default:
            yield self._line(
                "", sentences.DEFAULT_HINT.format(command="ladder", device=self.request.profile.name), "dim"
            )
        yield self._line("Device", f"{self.request.profile.title} ({self.request.profile.name})")
        yield self._line("Ladder", f"{self.ladder.request.runtime}, down to {self._limit_words()}")
        if self.ladder.request.techniques:
            yield self._line("", f"after {', '.join(step.technique for step in self.ladder.request.techniques)}")
        yield ""
        yield self._table()
        yield from self._remarks(verbose=verbose)
        yield ""
        yield from self._cliff_lines()
        yield from self.verdict()
        yield from self._advice(limit.value)

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        # A mixture's name is long: with one blank between columns all of it fits into 100.
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        table.add_column("rung", no_wrap=True)
        for title in ("size", "download", "memory", "latency*", "parity", "drop (95 %)"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("limit", no_wrap=True)
        for rung in self.ladder.rungs:
            drop = rung.check("accuracy_drop")
            cells = [_cell(rung, name) for name in _COLUMNS] if rung.measured else ["-"] * len(_COLUMNS)
            word, style = sentences.STATUS_WORDS[drop.shown_as if drop is not None else "not measured"]
            if not rung.measured:
                word, style = ("skipped", "dim") if rung.skipped else ("failed", "bold red")
            table.add_row(Text(rung.name), *cells, _drop_text(drop), Text(word, style=style))
        for name in self.ladder.left:
            table.add_row(Text(name), *["-"] * (len(_COLUMNS) + 1), Text("not tried", style="dim"))
        return table

    def _remarks(self, *, verbose: bool) -> Iterator[RenderableType]:
        """Yields what the table cannot hold: whose latency, why a rung is missing, what else a rung breaks."""
        yield self._line(
            "", f"* predicted for {self.request.profile.name}; all else was measured on this machine", "dim"
        )
        for rung in self.ladder.rungs:
            if rung.skipped:
                yield self._line("", f"{rung.name} was skipped: {rung.skipped}", "dim")
            if rung.error is not None:
                yield self._line("", f"{rung.name} failed: {rung.error.message.splitlines()[0]}", "red")
            for check in rung.checks:
                broken = check.verdict == "fail" and check.name != "accuracy_drop"
                if broken or (verbose and check.limit is not None):
                    warns = " (warning)" if check.level == "warn" else ""
                    yield self._line(
                        "", f"{rung.name}: {sentences.check_sentence(check)}{warns}", "red" if broken else "dim"
                    )

    def _cliff_lines(self) -> Iterator[RenderableType]:
        cliff = self.ladder.cliff
        if cliff is None:
            yield self._line("Cliff", "none: no rung that was measured breaks the limit")
            return
        fallen = next(rung for rung in self.ladder.rungs if rung.name == cliff.rung)
        yield self._line("Cliff", cliff_sentence(cliff, fallen), "bold")
        if cliff.layers:
            yield self._line("", layers_sentence(cliff))
        yield from (self._line("", words) for words in self._mixture_words(cliff))

    def _mixture_words(self, cliff: Cliff) -> Iterator[str]:
        """Yields what the mixtures at the cliff have shown."""
        mixtures = [rung for rung in self.ladder.rungs if rung.measured and rung.candidate.recipe.overrides]
        held = next((rung for rung in mixtures if rung.is_inside), None)
        if held is not None:
            drop = held.check("accuracy_drop")
            figure = format_value(drop.value, "pp") if drop is not None and drop.value is not None else "not known"
            names = ", ".join(cliff.kept[:_SHOWN_LAYERS])
            more = f" and {len(cliff.kept) - _SHOWN_LAYERS} more" if len(cliff.kept) > _SHOWN_LAYERS else ""
            yield f"{held.name}: the drop is {figure} again. Kept: {names}{more}"
        elif cliff.reason:
            yield f"no mixture: {cliff.reason}" if not mixtures else cliff.reason

    def _advice(self, limit: float) -> Iterator[RenderableType]:
        chosen = self.ladder.chosen
        if chosen is None:
            yield self._line("", "Techniques may move the cliff: --technique equalize, round_weights or qat", "dim")
            return
        size = chosen.check("size")
        drop = chosen.check("accuracy_drop")
        figures = [
            f"{format_value(check.value, check.unit)}{words}"
            for check, words in ((size, ""), (drop, f" drop of {format_value(limit, 'pp')} allowed"))
            if check is not None and check.value is not None
        ]
        yield self._line("", f"the smallest that keeps the budget: {', '.join(figures)}")
        if drop is not None and drop.verdict == "inconclusive":
            yield self._line(
                "",
                "its drop is inconclusive: the interval crosses the limit; more evaluation data decides it",
                "yellow",
            )
        for rung in self.ladder.smaller_but_inconclusive:
            words = f"{rung.name} is smaller and may do too: its drop is inconclusive; more evaluation data decides it"
            yield self._line("", words, "yellow")
        if not self.exported:
            yield self._line("Next", self.next_command(chosen), "bold")

    def next_command(self, chosen: Rung) -> str:
        """Returns the command that exports the rung. No preset spells a mixture: the ladder itself exports those."""
        candidate = chosen.candidate
        mixed = bool(candidate.recipe.overrides)
        named, data = task_words(self.request)
        words = ["edgekit", "ladder" if mixed else "export", *named]
        words += ["--device", self.request.profile.name, "--format", candidate.runtime]
        if not mixed:
            words += ["--precision", preset_of(candidate, self.ladder.request.model.family)]
        words += [word for step in candidate.techniques for word in ("--technique", str(step))]
        words += limit_flags(self.ladder.request.budget.limits)
        return shlex.join([*words, *data, "-o", "out"])

    def _limit_words(self) -> str:
        limit = self.ladder.limit
        return f"an accuracy drop of at most {format_value(limit.value, 'pp')} (set by {limit.source})"

    def _misses(self) -> str:
        measured = [rung for rung in self.ladder.rungs if rung.measured]
        words = [
            f"{rung.name}: {sentences.check_sentence(check)}"
            for rung in measured
            for check in rung.checks
            if check.fails_gate or (rung.falls(strict=self.ladder.request.strict) and check.name == "accuracy_drop")
        ]
        return "; ".join(words) or "no rung could be measured"

    def _line(self, label: str, words: str, style: str = "") -> Text:
        return labelled_line(label, words, style, width=self.width)


def cliff_sentence(cliff: Cliff, fallen: Rung) -> str:
    """Returns what the cliff is: `int4 is the cliff: accuracy drop 3.20 pp exceeds 1.00 pp by 2.20 pp (limit ...)`."""
    drop = fallen.check("accuracy_drop")
    return f"{cliff.rung} is the cliff: {sentences.check_sentence(drop) if drop else 'its drop was not measured'}"


def layers_sentence(cliff: Cliff) -> str:
    """Returns which layers make the error, with their shares; simulated, and says so."""
    worst = worst_layers(cliff.layers)
    named = ", ".join(f"{item.module or 'the model itself'} {100 * item.share:.0f} %" for item in worst[:_SHOWN_LAYERS])
    more = f" and {len(worst) - _SHOWN_LAYERS} more" if len(worst) > _SHOWN_LAYERS else ""
    share = 100 * sum(item.share for item in worst)
    layers = "1 layer makes" if len(worst) == 1 else f"{len(worst)} layers make"
    return (
        f"{layers} {share:.0f} % of its error, of {len(cliff.layers)} (each simulated alone on calibration data): "
        f"{named}{more}"
    )


def _cell(rung: Rung, name: str) -> str:
    check = rung.check(name)
    return sentences.NOT_MEASURED if check is None or check.value is None else format_value(check.value, check.unit)


def _drop_text(check: Check | None) -> str:
    """Returns a drop with its band: `1.51 pp (1.41 to 1.60)`."""
    if check is None:
        return "-"
    if check.value is None:
        return sentences.NOT_MEASURED
    band = "" if check.low is None or check.high is None else f" ({check.low:.2f} to {check.high:.2f})"
    return format_value(check.value, check.unit) + band
