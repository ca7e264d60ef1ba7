"""What was predicted beside what was measured, and how often they agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, final

from subjects import has_real_weights

COSTS: Final = ("size", "download", "memory", "accuracy_drop")
"""Figures of a plan that this host can measure. Latency is the device's: latency_fidelity/ holds it against rows."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One figure of one plan, predicted and measured.

    Attributes:
        cost: Its name.
        unit: Unit of the value.
        predicted: Predicted value, None where the plan had none.
        low: Lower end of the predicted band.
        high: Upper end.
        measured: What the export measured.
        again: What `validate` measured in a run of its own, None where it did not.
        said: The plan's verdict.
        found: The export's verdict.
    """

    cost: str
    unit: str
    predicted: float | None
    low: float | None
    high: float | None
    measured: float
    again: float | None
    said: str
    found: str

    @property
    def agrees(self) -> bool | None:
        """Whether the predicted verdict came true; None where one of them does not decide."""
        if self.said not in ("pass", "fail") or self.found not in ("pass", "fail"):
            return None
        return self.said == self.found


def compare(pair: dict[str, Any]) -> Iterator[Compared]:
    """Yields every figure of the pair that has a limit or a prediction and was measured."""
    plan, entry = pair["plan"]["said"], pair["export"]["said"]["formats"][0]
    planned = {check["name"]: check for check in plan["checks"]}
    second = pair["validate"]["said"]["formats"][0]["checks"] if "validate" in pair else []
    again = {check["name"]: check["value"] for check in second}
    for check in entry["checks"]:
        name = check["name"]
        if name not in COSTS or check["basis"] != "measured" or check["value"] is None:
            continue
        if name == "accuracy_drop" and not has_real_weights(pair["model"]):
            continue
        said = planned[name]
        yield Compared(
            cost=name, unit=check["unit"], predicted=said["value"], low=said["low"], high=said["high"],
            measured=check["value"], again=again.get(name), said=_verdict(said), found=_verdict(check),
        )  # fmt: skip


def _verdict(check: dict[str, Any]) -> str:
    return check["verdict"] if check["limit"] is not None else "no limit"


def agreement_tables(pairs: list[dict[str, Any]]) -> list[str]:
    """Returns the tables of the pairs that were carried out, and the shares that agree."""
    lines = [
        "## Plans carried out: `--effort default`, then export, then validate",
        "",
        "| model | device | choice | figure | predicted [band] | plan | measured | export | validated | error | band |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    found: list[tuple[dict[str, Any], list[Compared]]] = [(pair, list(compare(pair))) for pair in pairs]
    for pair, figures in found:
        plan = pair["plan"]["said"]
        name = f"{plan['runtime']} {Path(str(pair['export']['said']['formats'][0]['precision'])).name}"
        lines += [_row(f"| {pair['model']} | {pair['device']} | {name} ", item) for item in figures]
    return [*lines, "", *_shares(found), "", *_errors(found), "", *_times(pairs)]


def _row(start: str, item: Compared) -> str:
    band = "" if item.low is None or item.high is None else f" [{_show(item.low, item)} to {_show(item.high, item)}]"
    inside = "-"
    if item.low is not None and item.high is not None:
        inside = "inside" if item.low <= item.measured <= item.high else "outside"
    predicted = "not run" if item.predicted is None else _show(item.predicted, item) + band
    again = "-" if item.again is None else _show(item.again, item)
    cells = (item.cost, predicted, item.said, _show(item.measured, item), item.found, again, _error_text(item), inside)
    return start + "| " + " | ".join(cells) + " |"


def _show(value: float, item: Compared) -> str:
    return f"{value:.2f} pp" if item.unit == "pp" else f"{value / 1e6:.2f} MB"


def _error(item: Compared) -> float | None:
    """Returns the error: relative for bytes, in points for accuracy."""
    if item.predicted is None:
        return None
    return item.predicted - item.measured if item.unit == "pp" else item.predicted / item.measured - 1


def _error_text(item: Compared) -> str:
    error = _error(item)
    if error is None:
        return "-"
    return f"{error:+.2f} pp" if item.unit == "pp" else f"{error:+.1%}".replace("%", " %")


def _shares(found: list[tuple[dict[str, Any], list[Compared]]]) -> list[str]:
    decided = [item for _, figures in found for item in figures if item.agrees is not None]
    right = sum(bool(item.agrees) for item in decided)
    plans = [[item.agrees for item in figures if item.agrees is not None] for _, figures in found]
    plans = [verdicts for verdicts in plans if verdicts]
    true = sum(all(verdicts) for verdicts in plans)
    undecided = [
        f"{pair['model']} on {pair['device']}: {item.cost} ({item.said}, then {item.found})"
        for pair, figures in found for item in figures
        if item.agrees is None and "no limit" not in (item.said, item.found)
    ]  # fmt: skip
    text = (
        f"**Plans whose measured checks all agree with the predicted verdict: {true} of {len(plans)} "
        f"({true / max(1, len(plans)):.0%}); checks: {right} of {len(decided)} ({right / max(1, len(decided)):.0%}).** "
        "Goal: 97 %. Counted are checks with a limit on which both the plan and the measurement decided."
    )
    lines = [text]
    if undecided:
        lines += ["", "Left open by the plan or by the measurement: " + "; ".join(undecided) + "."]
    return lines


def _errors(found: list[tuple[dict[str, Any], list[Compared]]]) -> list[str]:
    lines = ["| figure | n | median error | largest error | inside the band |", "|---|---|---|---|---|"]
    for cost in COSTS:
        items = [item for _, figures in found for item in figures if item.cost == cost and item.predicted is not None]
        if not items:
            continue
        errors = [abs(_error(item) or 0.0) for item in items]
        banded = [item for item in items if item.low is not None and item.high is not None]
        inside = sum((item.low or 0.0) <= item.measured <= (item.high or 0.0) for item in banded)
        form = "{:.2f} pp" if cost == "accuracy_drop" else "{:.1%}"
        middle, most = (form.format(value).replace("%", " %") for value in (median(errors), max(errors)))
        lines.append(f"| {cost} | {len(items)} | {middle} | {most} | {inside} of {len(banded)} |")
    return lines


def _times(pairs: list[dict[str, Any]]) -> list[str]:
    seconds = sorted(pair["plan"]["cpu"] for pair in pairs)
    text = f"Processor time of a default plan: median {median(seconds):.0f} s, most {seconds[-1]:.0f} s."
    return [text + " Plans of one model share what was simulated; the first pays for it."]
