"""The form of a sweep's matrix: a file of its own, or `[sweep]` in the task file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from edgekit.errors import InputError
from edgekit.files.faults import FAULT, find_faults, show_value
from edgekit.recipe import EFFORTS, PRESETS
from edgekit.registry import format_names
from edgekit.units import parse_duration

PLANNED: Final = "auto"
"""The precision that the planner chooses."""

AXES: Final = ("model", "device", "format", "precision", "technique", "effort")
"""What a rule of `include` and `exclude` may name."""


def _fault(sentence: str) -> PydanticCustomError:
    return PydanticCustomError(FAULT, "{sentence}", {"sentence": sentence})


def _texts(value: object, accepted: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Returns one text or a list of them; of `accepted` only, where it names any."""
    listed: list[Any] = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(item, str) and item.strip() for item in listed):
        raise _fault(f"{show_value(value)} was given; expected a list of texts, such as {_example(accepted)}")
    if wrong := [item for item in listed if accepted and item not in accepted]:
        raise _fault(f"{show_value(wrong[0])} was given; accepted are {', '.join(accepted)}")
    return tuple(dict.fromkeys(listed))


def _example(accepted: tuple[str, ...]) -> str:
    return f'["{accepted[0]}"]' if accepted else '["pi4", "pixel8"]'


def _parse_formats(value: object) -> tuple[str, ...]:
    return _texts(value, (*format_names(), "all"))


def _parse_precisions(value: object) -> tuple[str, ...]:
    return _texts(value, (PLANNED, *PRESETS))


def _parse_efforts(value: object) -> tuple[str, ...]:
    return _texts(value, EFFORTS)


def _parse_pipelines(value: object) -> tuple[tuple[str, ...], ...]:
    """Returns pipelines of techniques: each a text, or a list of texts; an empty one changes nothing."""
    listed: list[Any] = value if isinstance(value, list) else [value]
    pipelines = [item if isinstance(item, list) else [item] if item else [] for item in listed]
    if not pipelines or not all(isinstance(step, str) and step for steps in pipelines for step in steps):
        raise _fault(
            f"{show_value(value)} was given; expected a list of pipelines, each a technique or a list of them, such as "
            '["", "equalize", ["equalize", "round_weights"]]'
        )
    return tuple(dict.fromkeys(tuple(steps) for steps in pipelines))


def _parse_rules(value: object) -> tuple[Mapping[str, str], ...]:
    if not isinstance(value, list) or not all(isinstance(rule, dict) and rule for rule in value):
        raise _fault(f'{show_value(value)} was given; expected a list of tables, such as [{{device = "pi4"}}]')
    for rule in value:
        for axis, text in rule.items():
            if axis not in AXES:
                raise _fault(f'"{axis}" is no axis; accepted are {", ".join(AXES)}')
            if not isinstance(text, str):
                raise _fault(
                    f"{axis}: {show_value(text)} was given; expected a text, in which * and ? stand for others"
                )
    return tuple(value)


def _parse_time(value: object) -> float:
    try:
        return parse_duration(str(value), "time")
    except InputError as error:
        raise _fault(error.message.removeprefix("time ").rstrip(".")) from None


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SweepModel(_Table):
    """A model with a task of its own."""

    source: str = Field(min_length=1, description='a model, such as "net.onnx" or "model.py:build(width=8)"')
    name: str | None = Field(default=None, min_length=1, description="a short name for tables, in quotes")
    config: str | None = Field(default=None, min_length=1, description="a task file, in quotes")
    example_inputs: str | None = Field(default=None, min_length=1, description="a function, in quotes")
    calibration: str | None = Field(default=None, min_length=1, description="calibration data, in quotes")
    evaluation: str | None = Field(default=None, min_length=1, description="evaluation data, in quotes")
    metric: str | None = Field(default=None, min_length=1, description="a metric, in quotes")


def _parse_models(value: object) -> tuple[SweepModel, ...]:
    listed: list[Any] = value if isinstance(value, list) else [value]
    if not listed:
        raise _fault('a list of no model was given; expected at least one, such as ["net.onnx"]')
    made: list[SweepModel] = []
    for item in listed:
        try:
            made.append(SweepModel.model_validate({"source": item} if isinstance(item, str) else item))
        except ValidationError as error:
            raise _fault("; ".join(find_faults(error, SweepModel))) from None
    return tuple(made)


class SweepBudget(_Table):
    """`[sweep.budget]`: after what nothing more is started."""

    time: Annotated[float | None, PlainValidator(_parse_time)] = None
    jobs: int | None = Field(default=None, ge=1, description="a whole number above 0")


class SweepTable(_Table):
    """The whole matrix."""

    config: str | None = Field(
        default=None, min_length=1, description="the task file of models that name none, in quotes"
    )
    models: Annotated[tuple[SweepModel, ...], PlainValidator(_parse_models)] = ()
    devices: Annotated[tuple[str, ...], PlainValidator(_texts)] = ()
    formats: Annotated[tuple[str, ...], PlainValidator(_parse_formats)] = ("all",)
    precisions: Annotated[tuple[str, ...], PlainValidator(_parse_precisions)] = (PLANNED,)
    techniques: Annotated[tuple[tuple[str, ...], ...], PlainValidator(_parse_pipelines)] = ((),)
    efforts: Annotated[tuple[str, ...], PlainValidator(_parse_efforts)] = ("quick",)
    include: Annotated[tuple[Mapping[str, str], ...], PlainValidator(_parse_rules)] = ()
    exclude: Annotated[tuple[Mapping[str, str], ...], PlainValidator(_parse_rules)] = ()
    budget: SweepBudget = Field(default=SweepBudget(), description="a table with time or jobs")


def check_sweep_table(data: Mapping[str, Any]) -> tuple[SweepTable | None, tuple[str, ...]]:
    """Returns (the checked matrix, no faults) or (None, one sentence for each fault)."""
    try:
        return SweepTable.model_validate(dict(data)), ()
    except ValidationError as error:
        return None, find_faults(error, SweepTable)
