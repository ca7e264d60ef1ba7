"""The form of a task file: which keys it has, what each accepts, and every fault at once."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from edgekit.budget import WAIVABLE, Limit, read_change_limit, read_limit
from edgekit.errors import InputError
from edgekit.files.faults import FAULT, find_faults, show_value
from edgekit.model import Dimension
from edgekit.recipe import PREFERENCES, Preference
from edgekit.registry import DEFAULT_FORMAT, metric_names
from edgekit.task.dimensions import read_dimensions_table
from edgekit.task.input_sizes import InputSizes, read_inputs_table
from edgekit.task.metric_text import metric_title
from edgekit.task.references import Value, parse_reference
from edgekit.task.sweep_table import SweepTable
from edgekit.task.task_kinds import TASKS

SCHEMA: Final = 1
FACTORY: Final = "factory"
"""Key of `[search]` that is no parameter where its value is text: the function that builds the variants."""

RESET_EVERY: Final = "reset_every"
"""Key of `[state]` that is no output: how many calls a sequence of the data has."""


def _fault(sentence: str) -> PydanticCustomError:
    # Braces would be taken for placeholders: the sentence travels as one.
    return PydanticCustomError(FAULT, "{sentence}", {"sentence": sentence})


def _parse_schema(value: object) -> int:
    if value != SCHEMA or isinstance(value, bool):
        raise _fault(f"{show_value(value)} was given; this edgekit reads schema {SCHEMA}")
    return SCHEMA


def _parse_metric(value: object) -> str:
    if isinstance(value, str) and metric_title(value) in metric_names():
        return value
    if isinstance(value, str) and ":" in metric_title(value):
        return _parse_function(value)
    raise _fault(
        f'{show_value(value)} was given; accepted are {", ".join(metric_names())}, or a function as "metrics.py:name"'
    )


def _parse_function(value: object) -> str:
    """Checks the form only: whether the function is there, the worker that runs user code finds."""
    if not isinstance(value, str):
        raise _fault(f"{show_value(value)} was given; expected {_FUNCTION}")
    try:
        parse_reference(value, "")
    except InputError as error:
        raise _fault(error.message.removeprefix(": ").removesuffix(".")) from None
    return value


def _parse_task(value: object) -> str:
    if value not in TASKS:
        raise _fault(f"{show_value(value)} was given; accepted are {', '.join(TASKS)}")
    return str(value)


def _parse_head(value: object) -> tuple[tuple[str, Value], ...]:
    """Returns the settings of a head; a list of numbers becomes their text, lists of lists separated by semicolons."""
    if not isinstance(value, dict):
        raise _fault(f'{show_value(value)} was given; expected a table of settings, such as decoder = "yolov8"')
    wrong = [
        f"{name}: {show_value(item)} was given; expected {_SETTING}"
        for name, item in value.items()
        if _setting(item) is None
    ]
    if wrong:
        raise _fault("; ".join(wrong))
    return tuple((str(name), _setting(item)) for name, item in value.items())


def _setting(item: Any) -> Any:
    """Returns a value of a setting as a reference can hold it, None for what is none."""
    if isinstance(item, list):
        inner = [_setting(one) for one in item]
        nested = any(isinstance(one, list) for one in item)
        return None if not item or None in inner else (";" if nested else ",").join(map(str, inner))
    return item if isinstance(item, (str, bool, int)) or (isinstance(item, float) and math.isfinite(item)) else None


def _parse_limits(value: object) -> tuple[tuple[str, object], ...]:
    return _parse_table(value, read_limit, "budget", 'size = "6 MB"')


def _parse_change_limits(value: object) -> tuple[tuple[str, object], ...]:
    return _parse_table(value, read_change_limit, "regression", 'size = "+5 %"')


def _parse_table(
    value: object, read: Callable[[str, object, str], Limit], table: str, example: str
) -> tuple[tuple[str, object], ...]:
    """Checks a table of limits; the limits are made later, when the file's name is known."""
    if not isinstance(value, dict):
        raise _fault(f"{show_value(value)} was given; expected a table of limits, such as {example}")
    sentences: list[str] = []
    for name, text in value.items():
        try:
            read(str(name), text, table)
        except InputError as error:
            sentences.append(error.message.removeprefix(f"{table}: "))
    if sentences:
        raise _fault("; ".join(sentences))
    return tuple(value.items())


def _parse_numbers(value: object) -> tuple[float, ...]:
    numbers: list[Any] = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in numbers):
        raise _fault(f"{show_value(value)} was given; expected a number, or a list with one a channel, in pixel units")
    return tuple(float(x) for x in numbers)


def _parse_divisors(value: object) -> tuple[float, ...]:
    numbers = _parse_numbers(value)
    if not all(number > 0 for number in numbers):
        raise _fault(f"{show_value(value)} was given; expected numbers above 0: pixels are divided by them")
    return numbers


def _parse_color(value: object) -> str:
    if value not in ("rgb", "bgr"):
        raise _fault(f'{show_value(value)} was given; accepted are "rgb" and "bgr", the order of the channels')
    return str(value)


def _parse_steps(value: object) -> tuple[str, ...]:
    steps: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(step, str) for step in steps):
        raise _fault(
            f'{show_value(value)} was given; expected a list of techniques, such as ["equalize", "round_weights"]'
        )
    return tuple(steps)


def _parse_search(value: object) -> tuple[str | None, tuple[tuple[str, tuple[Value, ...]], ...]]:
    """Returns (the factory of the variants or None, parameter names with their values)."""
    if not isinstance(value, dict) or not value:
        raise _fault(
            f"{show_value(value)} was given; expected a table of parameters with their values, such as width = [8, 16]"
        )
    factory = value.get(FACTORY) if not isinstance(value.get(FACTORY), list) else None
    table = {name: values for name, values in value.items() if name != FACTORY or factory is None}
    sentences: list[str] = []
    if factory is not None:
        try:
            _parse_function(factory)
        except PydanticCustomError as fault:
            sentences.append(f"{FACTORY}: {fault.message()}")
    sentences += [sentence for name, values in table.items() for sentence in _search_faults(str(name), values)]
    if not table:
        sentences.append("no parameter is named; expected at least one with its values, such as width = [8, 16]")
    if sentences:
        raise _fault("; ".join(sentences))
    return factory, tuple((name, tuple(values)) for name, values in table.items())


def _search_faults(name: str, values: object) -> list[str]:
    """Returns what is wrong with one parameter of `[search]`, sentences."""
    faults: list[str] = []
    if not name.isidentifier() or keyword.iskeyword(name):
        faults.append(f'"{name}" is no name of a parameter')
    if not isinstance(values, list) or not values:
        faults.append(f"{name}: {show_value(values)} was given; expected a list of values, such as [8, 12, 16]")
    elif wrong := [item for item in values if not _is_search_value(item)]:
        faults.append(f"{name}: {show_value(wrong[0])} is in the list; expected numbers, text, true or false")
    elif double := [item for item in values if [(type(x), x) for x in values].count((type(item), item)) > 1]:
        faults.append(f"{name}: {show_value(double[0])} is in the list twice")
    return faults


def _is_search_value(item: object) -> bool:
    return isinstance(item, (int, str)) or (isinstance(item, float) and math.isfinite(item))


def _parse_state(value: object) -> tuple[tuple[tuple[str, str], ...], int | None]:
    """Returns (pairs of an output and the input that takes its value at the next call, calls in a sequence or None)."""
    example = f'"h_out" = "h_in", and {RESET_EVERY} = 16'
    if not isinstance(value, dict):
        raise _fault(f"{show_value(value)} was given; expected a table of outputs with their inputs, such as {example}")
    sentences: list[str] = []
    every: Any = value.get(RESET_EVERY)
    if every is not None and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
        sentences.append(f"{RESET_EVERY}: {show_value(every)} was given; expected the calls of a sequence, at least 1")
    pairs = {str(name): source for name, source in value.items() if name != RESET_EVERY}
    sentences += [
        f'"{name}": {show_value(source)} was given; expected the name of an input, such as {example}'
        for name, source in pairs.items()
        if not isinstance(source, str)
    ]
    texts = [str(source) for source in pairs.values()]
    sentences += [f'the input "{name}" is named twice' for name in dict.fromkeys(texts) if texts.count(name) > 1]
    if sentences:
        raise _fault("; ".join(sentences))
    return tuple(zip(pairs, texts, strict=True)), every


def _parse_inputs(value: object) -> tuple[InputSizes, ...]:
    if not isinstance(value, dict) or not value:
        raise _fault(f'{show_value(value)} was given; expected a table of inputs, such as image = "1x3x224x224"')
    found, faults = read_inputs_table(value)
    if faults:
        raise _fault("; ".join(faults))
    return found


def _parse_dimensions(value: object) -> tuple[Dimension, ...]:
    if not isinstance(value, dict) or not value:
        raise _fault(f"{show_value(value)} was given; expected a table of dimensions, such as length = {{ max = 512 }}")
    found, faults = read_dimensions_table(value)
    if faults:
        raise _fault("; ".join(faults))
    return found


def _parse_without(value: object) -> tuple[str, ...]:
    names: list[Any] = value if isinstance(value, list) else [value]
    if wrong := [name for name in names if not isinstance(name, str) or name not in WAIVABLE]:
        raise _fault(f"{show_value(wrong[0])} was given; accepted are {', '.join(WAIVABLE)}")
    return tuple(names)


def _parse_formats(value: object) -> tuple[str, ...]:
    names: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        raise _fault(f'{show_value(value)} was given; expected a format or a list, such as "{DEFAULT_FORMAT}"')
    return tuple(names)


_Head = Annotated[tuple[tuple[str, Value], ...], PlainValidator(_parse_head)]
_Limits = Annotated[tuple[tuple[str, object], ...], PlainValidator(_parse_limits)]
_ChangeLimits = Annotated[tuple[tuple[str, object], ...], PlainValidator(_parse_change_limits)]
_Numbers = Annotated[tuple[float, ...], PlainValidator(_parse_numbers)]
_Divisors = Annotated[tuple[float, ...], PlainValidator(_parse_divisors)]
_Search = Annotated[tuple[str | None, tuple[tuple[str, tuple[Value, ...]], ...]], PlainValidator(_parse_search)]
_State = Annotated[tuple[tuple[tuple[str, str], ...], int | None], PlainValidator(_parse_state)]
_Inputs = Annotated[tuple[InputSizes, ...], PlainValidator(_parse_inputs)]
_Dimensions = Annotated[tuple[Dimension, ...], PlainValidator(_parse_dimensions)]
_Color = Annotated[Literal["rgb", "bgr"], PlainValidator(_parse_color)]
_Function = Annotated[str, PlainValidator(_parse_function)]
_DATA = 'a function as "data.py:name", an .npz file, a folder of images, or annotated images'
_SETTING: Final = "text, a number, true, false, or a list of numbers"
_FUNCTION = 'a function as "file.py:name" or "module:name"'


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ModelTable(_Table):
    """`[model]`."""

    source: str = Field(description='a model as text, such as "model.py:build" or "net.onnx"')
    example_inputs: _Function | None = Field(default=None, description=_FUNCTION)
    name: str | None = Field(default=None, description="a short name as text")
    signature: str | None = Field(default=None, description="the name of a function of an artifact that has several")
    labels: str | None = Field(default=None, description="the path of a text file with one label a line")
    score_calibration: str | None = Field(
        default=None, description="the path of a text file with scale, slope and offset of each label, one a line"
    )
    split_outputs: bool = Field(default=False, description="true or false")


class PreprocessingTable(_Table):
    """`[data.preprocessing]`: how images become inputs, those of a folder here and those of the app later."""

    resize: int | None = Field(default=None, gt=0, description="the short side in pixels, a whole number above 0")
    mean: _Numbers = (0.0,)
    std: _Divisors = (255.0,)
    color: _Color = "rgb"
    letterbox: bool = Field(default=False, description="true or false")
    image_input: bool | None = Field(default=None, description="true or false")


class DataTable(_Table):
    """`[data]`."""

    calibration: str | None = Field(default=None, description=_DATA)
    evaluation: str | None = Field(default=None, description=_DATA)
    task: Annotated[str | None, PlainValidator(_parse_task)] = None
    metric: Annotated[str | None, PlainValidator(_parse_metric)] = None
    images: str | None = Field(default=None, description="the folder of the pictures of a COCO file")
    preprocessing: PreprocessingTable = Field(
        default=PreprocessingTable(), description="a table with resize, letterbox, mean, std, color and image_input"
    )


class TrainingTable(_Table):
    """`[training]`."""

    batches: _Function = Field(description=_FUNCTION)
    loss: _Function = Field(description=_FUNCTION)
    epochs: int = Field(default=1, gt=0, description="a whole number above 0")
    held_out: _Function | None = Field(default=None, description=_FUNCTION)


class TechniquesTable(_Table):
    """`[techniques]`."""

    steps: Annotated[tuple[str, ...], PlainValidator(_parse_steps)] = ()


class ChecksTable(_Table):
    """`[checks]`."""

    without: Annotated[tuple[str, ...], PlainValidator(_parse_without)] = ()


class DeviceTable(_Table):
    """`[devices.NAME]`."""

    format: Annotated[tuple[str, ...], PlainValidator(_parse_formats)] = ()
    budget: _Limits = ()
    regression: _ChangeLimits = ()


class TaskFile(_Table):
    """The whole file."""

    # "schema" is a method of BaseModel: the key needs another attribute name.
    file_schema: Annotated[int, PlainValidator(_parse_schema)] = Field(default=SCHEMA, alias="schema")
    device: str | None = Field(default=None, min_length=1, description="the name of a device, in quotes")
    prefer: Preference | None = Field(default=None, description=" or ".join(f'"{name}"' for name in PREFERENCES))
    model: ModelTable = Field(description='a table with at least source = "model.py:build"')
    inputs: _Inputs = ()
    dimensions: _Dimensions = ()
    data: DataTable = Field(default=DataTable(), description="a table")
    state: _State = ((), None)
    head: _Head = ()
    training: TrainingTable | None = Field(default=None, description="a table with batches and loss")
    techniques: TechniquesTable = Field(default=TechniquesTable(), description="a table with steps")
    search: _Search | None = None
    sweep: SweepTable | None = Field(default=None, description="a table with devices")
    budget: _Limits = ()
    regression: _ChangeLimits = ()
    checks: ChecksTable = Field(default=ChecksTable(), description="a table with without")
    devices: dict[str, DeviceTable] = Field(default={}, description="a table of device names")


def check_task_file(data: Mapping[str, Any]) -> tuple[TaskFile | None, tuple[str, ...]]:
    """Returns (the checked file, no faults) or (None, one sentence for each fault)."""
    try:
        return TaskFile.model_validate(dict(data)), ()
    except ValidationError as error:
        return None, find_faults(error, TaskFile)


def read_limits(table: tuple[tuple[str, object], ...], source: str) -> tuple[Limit, ...]:
    """Returns the limits of a checked budget table; `source` is who set them."""
    return tuple(read_limit(name, value, source) for name, value in table)


def read_change_limits(table: tuple[tuple[str, object], ...], source: str) -> tuple[Limit, ...]:
    """Returns the limits of a checked regression table; `source` is who set them."""
    return tuple(read_change_limit(name, value, source) for name, value in table)
