"""A plan in words and tables: the model, the device, what to do, what it will cost, and what was rejected."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from edgekit.budget import COSTS, Limit
from edgekit.checks import Check
from edgekit.exporting.sentences import NOT_MEASURED, STATUS_WORDS
from edgekit.formats.table import find_format
from edgekit.model import Family
from edgekit.planner.float_heads import KeptHead
from edgekit.planner.plan import Plan
from edgekit.planner.recipes import resolve_precision
from edgekit.planner.technique_offers import needs_calibration
from edgekit.recipe import Candidate, Precision, Prediction, Rejection
from edgekit.task.request import Request, task_words
from edgekit.units import format_value

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_PRECISIONS: Final = {
    "fp32": "keep 32-bit float",
    "fp16": "store and compute in 16-bit float",
    "int8_static": "quantize weights (a scale per channel) and activations (calibrated ranges) to 8 bits",
    "int8_dynamic": "quantize weights to 8 bits, tables too, and activations at run time",
    "int8_hybrid": "quantize weights to 8 bits, activations of convolutions too (calibrated ranges), and of linear "
    "layers at run time",
    "int8_weights": "quantize weights to 8 bits, compute in float",
    "int4_weights": "quantize weights to 4 bits in groups of 32, tables in groups of 64",
    "w8a16": "quantize weights to 8 and activations to 16 bits",
}

_LABEL_WIDTH: Final = 8
_SHOWN_LAYERS: Final = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlanText:
    """Words for one plan.

    Attributes:
        plan: Result to show.
        request: What was requested.
        written: The file that the plan was written to, None if it was not.
        width: Columns to fill.
    """

    plan: Plan
    request: Request
    written: Path | None
    width: int = 100

    def verdict(self) -> Iterator[RenderableType]:
        """Yields the one line of `--quiet`."""
        plan = self.plan
        if plan.chosen is None:
            yield self._line("No plan", f"for {plan.device}: no format can be made from this model", "bold red")
        elif plan.feasible:
            yield self._line("Plan", f"{plan.chosen.title} for {plan.device}", "bold green")
        else:
            yield self._line(
                "No plan", f"for {plan.device}; nearest: {plan.chosen.title}: {'; '.join(plan.misses)}", "bold red"
            )

    def story(self, *, verbose: bool) -> Iterator[RenderableType]:
        """Yields everything, about 40 lines; with `verbose` every candidate in a row of its own."""
        yield from self._subject()
        yield ""
        yield from self._decision()
        if self.plan.checks:
            yield ""
            yield self._budget_table()
            yield from _reasons_for_not_measured(self.plan.checks)
        yield from self._others(verbose=verbose)
        yield from self._closing()

    def _line(self, label: str, words: str, style: str = "") -> Text:
        return labelled_line(label, words, style, width=self.width)

    def _subject(self) -> Iterator[RenderableType]:
        model, profile = self.plan.model, self.request.profile
        macs = f", {_count(model.macs)} MACs" if model.macs else ""
        yield self._line("Model", f"{model.name}: {_count(model.parameters)} parameters{macs}, {model.family}")
        yield self._line("", model.family_evidence, "dim")
        if model.embedded_default:
            yield self._line(
                "",
                "No model was given: this is the embedded default. "
                f"Yours: edgekit plan model.py:build -d {profile.name}",
            )
        facts = profile.facts
        features = ", ".join(profile.hardware.features) or "no vector features"
        yield self._line("Device", f"{profile.title} ({profile.name}): {facts.get('cpu', '')}; {features}")
        yield self._line("", f"runs {', '.join(profile.runtimes)}, the preferred first", "dim")

    def _decision(self) -> Iterator[RenderableType]:
        plan = self.plan
        if plan.chosen is None:
            yield self._line("No plan", "no format can be made from this model: see below", "bold red")
            return
        words = _pipeline_words(plan.chosen)
        if plan.feasible:
            yield self._line("Plan", words, "bold green")
        else:
            yield self._line("No plan", "keeps every budget", "bold red")
            yield self._line("Nearest", words)
            for miss in plan.misses:
                yield self._line("", miss, "red")
        for reason in plan.reasons:
            yield self._line("", f"- {reason}", "dim")
        for head in plan.heads:
            yield self._line("Head", head_words(head))
        for i, remedy in enumerate(plan.remedies):
            yield self._line("To fit" if i == 0 else "", remedy)
        if plan.feasible:
            yield self._line("Next", self.next_command(plan.chosen), "bold")

    def next_command(self, chosen: Candidate) -> str:
        """Returns the command that carries the plan out."""
        named, data = task_words(self.request)
        words = ["edgekit", "export", *named]
        if self.written is not None:
            words += ["--plan", str(self.written)]
        elif chosen.recipe.overrides:
            # No preset spells a precision for each layer: the export plans again, from what the cache holds.
            words += [
                "--device",
                self.request.profile.name,
                "--effort",
                self.plan.effort,
                *limit_flags(self.plan.limits),
            ]
        else:
            words += ["--device", self.request.profile.name, "--format", chosen.runtime]
            words += ["--precision", preset_of(chosen, self.plan.model.family)]
            words += [word for step in chosen.techniques for word in ("--technique", str(step))]
            words += limit_flags(self.plan.limits)
        if self.request.task.calibration is None and needs_calibration(chosen):
            data = [*data, "--calibration", "YOUR_DATA"]
        return shlex.join([*words, *data, "-o", "out"])

    def _budget_table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for title, justify in (
            ("budget", "left"), ("limit", "right"), ("set by", "left"), ("float today", "right"),
            ("predicted", "right"), ("90 % band", "left"), ("verdict", "left"),
        ):  # fmt: skip
            table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # Rich's Literal
        today = {item.name: item for item in self.plan.baseline}
        for check in self.plan.checks:
            word, style = STATUS_WORDS[check.shown_as]
            if check.limit is None:
                word, style = "no limit", "dim"
            elif check.level == "warn" and check.shown_as != "warn":
                word += " (warns)"
            table.add_row(
                Text(COSTS[check.name].title),
                "-" if check.limit is None else _limit(check),
                Text(check.limit_from or "-"),
                _value(today.get(check.name)),
                _found(check),
                _band(check),
                Text(word, style=style),
            )
        return table

    def _others(self, *, verbose: bool) -> Iterator[RenderableType]:
        plan = self.plan
        if plan.runners_up:
            yield ""
            yield self._heading("Would do too, in this order:")
            for other in plan.runners_up:
                costs = _costs(other.candidate.predictions)
                yield self._line("", f"- {other.candidate.title} ({costs}): {other.reason}")
        if plan.rejected:
            yield ""
            yield self._heading("Rejected:")
            rows = plan.rejected if verbose else _grouped(plan.rejected)
            for item in rows:
                yield self._line("", f"- {item.candidate}: {item.reason}")

    def _heading(self, words: str) -> Text:
        from rich.text import Text

        return Text(words, style="bold")

    def _closing(self) -> Iterator[RenderableType]:
        for i, warning in enumerate(self.plan.warnings):
            if i == 0:
                yield ""
            yield self._line("Warning", warning, "yellow")
        if self.plan.effort == "quick" and self.plan.chosen is not None:
            yield ""
            yield self._line(
                "More",
                "quick: nothing was run. --effort default simulates the recipes on calibration data, measures every "
                "layer and mixes precisions (minutes); thorough exports and validates the best three too",
                "dim",
            )
        if self.written is not None:
            yield ""
            yield self._line("Written", str(self.written))


def head_words(head: KeptHead) -> str:
    """Returns what stays float at an output, why, and what it costs."""
    what = f"{head.output} and {', '.join(head.layers)}" if head.layers else head.output
    if head.latency_ms is None:
        cost = "its latency cannot be predicted here"
    else:
        share = f", {head.latency_share:.1%} of all" if head.latency_share is not None else ""
        cost = f"predicted cost {format_value(head.latency_ms, 'ms')}{share}"
    return f"the head of {what} stays float: {head.why}; {cost}"


def labelled_line(label: str, words: str, style: str = "", *, width: int) -> Text:
    """Returns a labelled line whose words wrap under themselves. Without trailing blanks: it also goes to logs.

    Args:
        label: What it is about; "Next" is not wrapped, for a command is there to be copied.
        words: The text.
        style: Style of the words.
        width: Columns to fill.
    """
    from rich.text import Text

    hanging = 2 if words.startswith("- ") else 0
    blank = " " * (_LABEL_WIDTH + 1 + hanging)
    room = max(width - 1, 40)
    wrapped = (
        words
        if label == "Next"
        else textwrap.fill(
            words, room, initial_indent=" " * (_LABEL_WIDTH + 1), subsequent_indent=blank, break_on_hyphens=False
        )
    )
    text = Text(f"{label:<{_LABEL_WIDTH}} ", style="bold")
    return text.append(wrapped.lstrip() if label != "Next" else wrapped, style=style or "not bold")


def limit_flags(limits: Iterable[Limit]) -> list[str]:
    """Returns the limits that flags have set, as flags."""
    return [
        word
        for limit in limits
        if limit.source.startswith("--")
        for word in (limit.source, _quantity(limit.value, COSTS[limit.name].unit))
    ]


def _pipeline_words(chosen: Candidate) -> str:
    """Returns the pipeline in words: techniques, precision, layers that differ, format."""
    recipe = chosen.recipe
    techniques = [step.technique.replace("_", " ") for step in chosen.techniques]
    parts = [*techniques, _PRECISIONS[recipe.default]]
    differing: dict[Precision, list[str]] = {}
    for module, precision in recipe.overrides:
        if precision != recipe.default:
            differing.setdefault(precision, []).append(module)
    for precision, modules in differing.items():
        rest = f" and {len(modules) - _SHOWN_LAYERS} more" if len(modules) > _SHOWN_LAYERS else ""
        parts.append(f"give {', '.join(modules[:_SHOWN_LAYERS])}{rest} {precision}")
    return ", then ".join(parts) + f", export as {find_format(chosen.runtime).title}"


def _count(number: int) -> str:
    """Returns 4.63 M for 4631000."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {letter}"
    return str(number)


def _quantity(value: float, unit: str) -> str:
    """Returns a limit as a flag takes it, exactly."""
    if unit != "bytes":
        return f"{value:g} {unit}"
    factor, name = (1e6, "MB") if value >= 1e6 else (1.0, "B")
    return f"{value / factor:.12g} {name}"


def _limit(check: Check) -> str:
    return "-" if check.limit is None else format_value(check.limit, check.unit)


def _value(prediction: Prediction | None) -> str:
    if prediction is None or prediction.value is None:
        return NOT_MEASURED
    return format_value(prediction.value, prediction.unit)


def _found(check: Check) -> str:
    if check.value is None:
        return NOT_MEASURED
    return format_value(check.value, check.unit) + (" measured" if check.basis == "measured" else "")


def _band(check: Check) -> str:
    if check.low is None or check.high is None:
        return ""
    low, high = format_value(check.low, check.unit), format_value(check.high, check.unit)
    unit = high.rpartition(" ")[2]
    # One unit is enough where both ends have the same: the table must fit into 100 columns.
    return f"{low.removesuffix(f' {unit}')} to {high}"


def _costs(predictions: Iterable[Prediction]) -> str:
    known = (item for item in predictions if item.name in ("size", "memory") and item.value is not None)
    return ", ".join(f"{item.name} {_value(item)}" for item in known) or "costs not known"


def _reasons_for_not_measured(checks: Sequence[Check]) -> Iterator[Text]:
    """Yields why something was not measured, each reason once."""
    from rich.text import Text

    reasons: dict[str, list[str]] = {}
    for check in checks:
        if check.value is None:
            reasons.setdefault(check.detail.removeprefix(f"{NOT_MEASURED}: "), []).append(COSTS[check.name].title)
    for reason, titles in reasons.items():
        yield Text(f"Not measured: {', '.join(titles)}: {reason}", style="dim")


def _grouped(rejected: Sequence[Rejection]) -> list[Rejection]:
    """Returns one row for all recipes of all formats that were rejected for the same reason."""
    titles: dict[str, list[str]] = {}
    for item in rejected:
        titles.setdefault(item.reason, []).append(item.candidate)
    return [Rejection(candidate=_join_titles(names), reason=reason) for reason, names in titles.items()]


def _join_titles(titles: Sequence[str]) -> str:
    """Returns `onnx fp32, fp16; executorch fp32` for onnx fp32, onnx fp16, executorch fp32."""
    recipes: dict[str, list[str]] = {}
    for title in titles:
        head, _, recipe = title.rpartition(" ") if ", " not in title else title.partition(" ")
        recipes.setdefault(head, []).append(recipe)
    return "; ".join(f"{runtime} {', '.join(names)}" for runtime, names in recipes.items())


def preset_of(chosen: Candidate, family: Family) -> str:
    """Returns what `--precision` calls a recipe: plain `int8` where that means the same for this model."""
    usual = resolve_precision("int8", family, chosen.runtime)
    return "int8" if chosen.recipe.default == usual.default else chosen.recipe.name.removesuffix("+mixed")
