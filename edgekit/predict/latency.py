"""How long one inference takes on a device, from the rates that its profile holds.

    latency = sum over operators, sum over kinds of work k:  ns_k(precision of the operator) * amount_k

`latency_features.py` counts the amounts. The rates are nanoseconds for one unit of each kind of work, fitted on
published measurements (`benchmarks/latency_fidelity`). The sum is additive, so every operator has a latency of its own
and a recipe may give each module another precision. The band holds 90 % of the published values of models that were
left out of the fit; where the profile's device has no published rows it is wide and the basis says from where the
rates were scaled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.analysis.graph import Analysis, Operator
from edgekit.analysis.operator_precisions import analysis_precisions
from edgekit.predict.latency_features import count_operator
from edgekit.recipe import Precision, Prediction, Recipe

NAMES: Final = ("latency", "latency_p95")
"""The costs that this module speaks of."""

BAND_QUANTILE: Final = 1.645
"""Standard deviations that hold 90 % of a normal distribution."""

_UNTESTED_SPREAD: Final = 0.8
"""Standard deviation (of the logarithm) of work that no fitted model had: a factor of 3.7 to either side."""

_STAND_IN_SPREAD: Final = 0.3
"""What a precision adds that has no rates of its own and borrows those of another one."""

_UNIT_WORDS: Final[Mapping[str, str]] = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU", "neural_engine": "Neural Engine"}

_OF_MATRICES: Final = ("linear",)
"""Kernels whose products are integers under precisions with ranges found at run time."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorLatency:
    """What one operator takes.

    Attributes:
        ms: Milliseconds.
        untested_ms: The part of them that is work of a kind that no fitted model had.
        stands_in: True where the operator's precision borrows the rates of another one.
        table: The precision whose rates were used.
    """

    ms: float
    untested_ms: float
    stands_in: bool
    table: Precision


def operator_latencies(
    analysis: Analysis, recipe: Recipe, tables: Mapping[str, Mapping[str, Any]]
) -> tuple[OperatorLatency, ...] | None:
    """Returns what each operator takes, in execution order; None where the profile cannot tell a precision's speed.

    Args:
        analysis: The model's costed graph.
        recipe: Precision of each module.
        tables: `DeviceProfile.latency_model[runtime]`: precision to rates.
    """
    found: list[OperatorLatency] = []
    precisions = analysis_precisions(analysis, recipe)
    for operator in analysis.operators:
        precision = precisions[operator.name]
        chosen = rates_for(operator, precision, tables)
        if chosen is None:
            return None
        found.append(_evaluate(analysis, operator, tables[chosen], chosen, stands_in=chosen != precision))
    return tuple(found)


def rates_for(operator: Operator, precision: Precision, tables: Mapping[str, Mapping[str, Any]]) -> Precision | None:
    """Returns whose rates an operator of a precision runs at, as converters realise it; None where nobody knows.

    Weights-only precisions widen before they compute. Ranges found at run time make integers of linear layers and leave
    the rest float; recurrent layers stay float everywhere. 16-bit activations have reference kernels only.
    """
    wishes: tuple[Precision, ...]
    if precision == "w8a16":
        return None
    if precision == "int8_static" and operator.kernel != "recurrent":
        wishes = ("int8_static", "fp16")
    elif precision in ("int8_dynamic", "int4_weights") and operator.kernel in _OF_MATRICES:
        wishes = ("int8_static", "fp32", "fp16")
    elif precision == "fp16":
        wishes = ("fp16", "fp32")
    elif precision == "fp32":
        wishes = ("fp32",)
    else:
        wishes = ("fp32", "fp16")
    return next((wish for wish in wishes if wish in tables), None)


def _evaluate(
    analysis: Analysis, operator: Operator, table: Mapping[str, Any], name: Precision, *, stands_in: bool
) -> OperatorLatency:
    rates: Mapping[str, float] = table["ns"]
    untested = frozenset(table.get("untested", ()))
    parts = {term: rates[term] * amount / 1e6 for term, amount in count_operator(analysis, operator).items()}
    if any(term in untested for term in parts if term.endswith("_macs")):
        untested |= {"first_macs"}  # the first of a kind of products are as unknown as the rest
    return OperatorLatency(
        ms=sum(parts.values()),
        untested_ms=sum(part for term, part in parts.items() if term in untested),
        stands_in=stands_in,
        table=name,
    )


def predict_latency(
    analysis: Analysis, recipe: Recipe, runtime: str, models: Mapping[str, Mapping[str, Any]], device: str
) -> tuple[Prediction, ...]:
    """Returns the predictions of the latency costs, in ms.

    Args:
        analysis: The model's costed graph.
        recipe: Precision of each part.
        runtime: What runs it.
        models: The profile's `latency_model`: runtime to precision to rates.
        device: The profile's name, for the basis.
    """
    p95 = _unknown("latency_p95", "not measured: published measurements give medians; measure it on the device")
    tables = models.get(runtime)
    if not tables:
        reason = f"not measured: {device} has no fitted latency model for {runtime}; measure it on the device"
        return _unknown("latency", reason), p95
    operators = operator_latencies(analysis, recipe, tables)
    if operators is None:
        reason = (
            f"not measured: {device}'s latency model for {runtime} knows {', '.join(tables)} and not {recipe.name}; "
            "measure it on the device"
        )
        return _unknown("latency", reason), p95
    total = sum(item.ms for item in operators)
    table = tables[_main_table(operators, tables)]
    width = BAND_QUANTILE * log_spread(operators, table["spread"])
    return (
        Prediction(
            name="latency",
            value=total,
            low=total * math.exp(-width),
            high=total * math.exp(width),
            unit="ms",
            basis=_basis(table, recipe, runtime, device, stands_in=_stand_in_words(operators, recipe)),
        ),
        p95,
    )


def log_spread(operators: tuple[OperatorLatency, ...], spread: float) -> float:
    """Returns the standard deviation of the logarithm of a model's latency.

    Args:
        operators: What each operator takes.
        spread: Spread of models like those that were fitted.
    """
    total = sum(item.ms for item in operators)
    if total == 0:
        return spread
    untested = sum(item.untested_ms for item in operators) / total
    borrowed = sum(item.ms for item in operators if item.stands_in) / total
    return math.sqrt(spread**2 + (untested * _UNTESTED_SPREAD) ** 2 + (borrowed * _STAND_IN_SPREAD) ** 2)


def _main_table(operators: tuple[OperatorLatency, ...], tables: Mapping[str, Any]) -> str:
    """Returns the precision at whose rates most of the time is spent."""
    spent = {name: sum(item.ms for item in operators if item.table == name) for name in tables}
    return max(spent, key=lambda name: spent[name])


def _stand_in_words(operators: tuple[OperatorLatency, ...], recipe: Recipe) -> str:
    """Returns `; int8-dynamic has no timings of its own: it borrows those of fp32`, or ""."""
    borrowed = sorted({item.table for item in operators if item.stands_in})
    if not borrowed:
        return ""
    names = " and ".join(name.replace("_", "-") for name in borrowed)
    return f"; {recipe.name} has no timings of its own here and borrows those of {names}"


def _basis(table: Mapping[str, Any], recipe: Recipe, runtime: str, device: str, *, stands_in: str) -> str:
    """Returns where the value comes from, a sentence without a full stop."""
    threads = table.get("threads")
    unit = _UNIT_WORDS[table["unit"]] + (f", {threads} thread{'s' if threads > 1 else ''}" if threads else "")
    head = f"predicted for {device}'s {unit}: {runtime} {recipe.name}"
    if "scaled_from" in table:
        origin = f"scaled from {table['scaled_from']}"
    elif table["rows"]:
        origin = f"fitted on {table['rows']} published rows of {table['models']} models ({table['timed']})"
    else:
        origin = f"no published row of this runtime here: this device's speed in other engines times {table['timed']}"
    error = f"; {table['error']:.0%} median error on families left out" if "error" in table else ""
    sources = table.get("sources", ())
    named = f"; from {', '.join(source.removeprefix('https://') for source in sources[:2])}" if sources else ""
    more = f" and {len(sources) - 2} more" if len(sources) > 2 else ""
    return f"{head}; {origin}{error}{stands_in}{named}{more}"


def _unknown(name: str, reason: str) -> Prediction:
    return Prediction(name=name, value=None, low=None, high=None, unit="ms", basis=reason)
