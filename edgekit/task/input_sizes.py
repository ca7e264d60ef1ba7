"""Sizes of a model's inputs as a user gives them: `--input image=1x3x224x224`, `ids = "1x128:int32"` in `[inputs]`.

A size may be the name of a dimension, which the artifact leaves open: `image = "1x3xheightxwidth"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

from edgekit.errors import UsageError
from edgekit.files.faults import show_value
from edgekit.model import Dimension, TensorSpec
from edgekit.task.dimensions import FLAG as DIMENSION_FLAG
from edgekit.task.dimensions import NAME_FORM

FLAG: Final = "--input"

_FLAG_FORM: Final = re.compile(r"(?P<name>.+)=(?P<sizes>[^=]+)", re.DOTALL)
_SIZES_FORM: Final = re.compile(r"(?P<sizes>scalar|[^x:\W]+(x[^x:\W]+)*)(:(?P<dtype>[a-z]+\d*))?")
_TABLE_FORM: Final = (
    'expected sizes such as "1x3x224x224", "1x128:int64" or "scalar:int64", or a table such as '
    '{ shape = [1, 128], dtype = "int64" }'
)
_DTYPES: Final = (
    "float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool",
)  # fmt: skip
_USUAL_SIDE: Final = 224
_USUAL_LENGTH: Final = 128
"""What an example shows for a free size: the side of a picture, the length of anything else."""

_PICTURE_CHANNELS: Final = (1, 3, 4)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class InputSizes:
    """One input as the user describes it.

    Attributes:
        name: The input's name in the model.
        shape: All its sizes, the batch too; () for a scalar. An open one is the dimension's largest, 0 until that is
            known (see `with_dimensions`).
        dtype: NumPy's name, "" where the model says it.
        axes: For each axis the name of its dimension, "" for a fixed one; () where all are fixed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = ""
    axes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The flag's value that gives this."""
        words = [name or str(size) for name, size in zip(self.axes or ("",) * len(self.shape), self.shape, strict=True)]
        sizes = "x".join(words) or "scalar"
        return f"{self.name}={sizes}" + (f":{self.dtype}" if self.dtype else "")

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        axes = {"axes": list(self.axes)} if self.axes else {}
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, **axes}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> InputSizes:
        """Returns what `to_json` wrote."""
        axes = tuple(data.get("axes", ()))
        return InputSizes(name=data["name"], shape=tuple(data["shape"]), dtype=data["dtype"], axes=axes)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInput:
    """One input as a model file describes it.

    Attributes:
        name: The input's name.
        shape: Its sizes, None for a free one; None where the file does not even tell how many there are.
        dtype: NumPy's name.
        batch_axes: Axes that are the batch: free ones of them are 1 unless a user says otherwise.
        largest: The largest sizes that it takes, where the file tells them.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    batch_axes: frozenset[int] = frozenset()
    largest: tuple[int, ...] = ()

    @property
    def is_open(self) -> bool:
        """True where a size is free that somebody must give."""
        sizes = self.shape or ()
        return self.shape is None or any(s is None and axis not in self.batch_axes for axis, s in enumerate(sizes))

    @property
    def shape_text(self) -> str:
        """`(?, 3, ?, ?)`: `?` for a free size."""
        return shape_text(self.shape)

    def with_batch_one(self) -> tuple[int, ...]:
        """Returns the shape with 1 for every free size."""
        return tuple(size or 1 for size in self.shape or ())

    @staticmethod
    def from_spec(spec: TensorSpec) -> OpenInput:
        """Returns an artifact's input: its runtime says -1 for a free size. An integer with a scale takes floats."""
        shape = tuple(None if size == -1 else size for size in spec.shape)
        (item,) = with_batch_axes({spec.name: [size if size is not None else "" for size in shape]}, [spec.dtype])
        return replace(item, dtype=spec.dtype if spec.scale is None else "float32", largest=spec.largest)

    def example(self) -> InputSizes:
        """Returns sizes that such an input could have."""
        shape = self.shape if self.shape is not None else (1, None)
        is_picture = len(shape) == 4 and (shape[1] in _PICTURE_CHANNELS or shape[3] in _PICTURE_CHANNELS)
        usual = _USUAL_SIDE if is_picture else _USUAL_LENGTH
        sizes = tuple((1 if a in self.batch_axes else usual) if size is None else size for a, size in enumerate(shape))
        sizes = self.largest or sizes
        return InputSizes(name=self.name, shape=sizes, dtype="" if self.dtype == "float32" else self.dtype)


def with_batch_axes(shapes: Mapping[str, Sequence[int | str] | None], dtypes: Sequence[str]) -> list[OpenInput]:
    """Returns a file's inputs with the axes that surely are the batch.

    A free size is the batch where it is in front of an input of several axes and on no other axis of that input (there
    it counts nodes, unless its name says batch); a size of the same name is the batch wherever else it stands. A free
    first size of an input without other axes may be a length: nobody can tell, unless the name does.

    Args:
        shapes: Sizes of each input by its name: a number, or what a free size is called, "" where it has no name. None
            where not even their number is known.
        dtypes: NumPy's name for each.
    """
    fronts = [(shape[0], shape[1:]) for shape in shapes.values() if shape and isinstance(shape[0], str)]
    counts = {name for name, rest in fronts if name in rest}
    batches = {name for name, rest in fronts if _says_batch(name) or (rest and name and name not in counts)}
    found: list[OpenInput] = []
    for (name, shape), dtype in zip(shapes.items(), dtypes, strict=True):
        if shape is None:
            found.append(OpenInput(name=name, shape=None, dtype=dtype))
            continue
        axes = {axis for axis, size in enumerate(shape) if size in batches}
        axes |= {0} if len(shape) > 1 and shape[0] == "" else set()
        sizes = tuple(size if isinstance(size, int) else None for size in shape)
        found.append(OpenInput(name=name, shape=sizes, dtype=dtype, batch_axes=frozenset(axes)))
    return found


def _says_batch(name: str) -> bool:
    return "batch" in name.lower() or name in ("N", "B")


def read_input_sizes(texts: Sequence[str]) -> tuple[InputSizes, ...]:
    """Returns the inputs that the values of `--input` describe.

    Raises:
        UsageError: a value that is not of the form, or a name that is given twice.
    """
    found: dict[str, InputSizes] = {}
    for text in texts:
        match = _FLAG_FORM.fullmatch(text.strip())
        sizes = sizes_in(match["name"], match["sizes"]) if match is not None else None
        if sizes is None:
            raise UsageError(
                f'{FLAG} "{text}" is not understood. Expected NAME=SIZES or NAME=SIZES:DTYPE, such as '
                f"{FLAG} image=1x3x224x224 or {FLAG} ids=1x128:int64; {FLAG} rate=scalar:int64 for a single number."
            )
        if fault := _fault_of(sizes):
            raise UsageError(f'{FLAG} "{text}": {fault}.')
        if sizes.name in found:
            raise UsageError(f'{FLAG} names the input "{sizes.name}" twice. Give each input once.')
        found[sizes.name] = sizes
    return tuple(found.values())


def read_inputs_table(table: Mapping[str, Any]) -> tuple[tuple[InputSizes, ...], tuple[str, ...]]:
    """Returns the inputs that `[inputs]` of a task file describes, and one sentence for each fault.

    Args:
        table: Input names to `"1x3x224x224"`, `"1x128:int32"`, or tables with shape and dtype.
    """
    found: list[InputSizes] = []
    faults: list[str] = []
    for name, value in table.items():
        sizes = sizes_in(name, value) if isinstance(value, str) else _sizes_of_table(name, value)
        fault = _fault_of(sizes) if sizes is not None else _TABLE_FORM
        if sizes is None or fault:
            faults.append(f"{name}: {show_value(value)} was given; {fault}")
        else:
            found.append(sizes)
    return tuple(found), tuple(faults)


def sizes_in(name: str, text: str) -> InputSizes | None:
    """Returns what `1x128:int32` says about an input; None where it is not of that form."""
    match = _SIZES_FORM.fullmatch(text.strip())
    if match is None:
        return None
    words = [] if match["sizes"] == "scalar" else match["sizes"].split("x")
    return named_sizes(name, [int(word) if word.isdecimal() else word for word in words], match["dtype"] or "")


def named_sizes(name: str, sizes: Sequence[int | str], dtype: str = "") -> InputSizes | None:
    """Returns an input of these sizes, numbers or names of dimensions; None where one can be neither."""
    if any(isinstance(size, str) and not NAME_FORM.fullmatch(size) for size in sizes):
        return None
    shape = tuple(size if isinstance(size, int) else 0 for size in sizes)
    axes = tuple(size if isinstance(size, str) else "" for size in sizes)
    return InputSizes(name=name, shape=shape, dtype=dtype, axes=axes if any(axes) else ())


def with_dimensions(sizes: Sequence[InputSizes], dimensions: Sequence[Dimension]) -> tuple[InputSizes, ...]:
    """Returns the inputs with the largest size of each dimension that they name.

    Raises:
        UsageError: a name that no dimension has, or a dimension that no input names.
    """
    largest = {item.name: item.max for item in dimensions}
    for item in sizes:
        if unknown := [name for name in item.axes if name and name not in largest]:
            spelled = (
                f' A name with an "x" in it is written in a list: {item.name} = {{ shape = [1, "{unknown[0]}x"] }}.'
                if any("x" in name for name in largest)
                else ""
            )
            raise UsageError(
                f'The input "{item.name}" names the dimension "{unknown[0]}", which is not described. Give its sizes: '
                f"{DIMENSION_FLAG} {unknown[0]}=1..512, or [dimensions] {unknown[0]} = {{ min = 1, max = 512 }} in the "
                f"task file.{spelled}"
            )
    named = {name for item in sizes for name in item.axes}
    if idle := [name for name in largest if name not in named]:
        raise UsageError(
            f'The dimension "{idle[0]}" is a size of no input. Name it where it stands: '
            f'{FLAG} image=1x3x{idle[0]}x224, or [inputs] image = "1x3x{idle[0]}x224" in the task file.'
        )
    return tuple(
        replace(
            item,
            shape=tuple(largest[name] if name else size for name, size in zip(item.axes, item.shape, strict=True)),
        )
        if item.axes
        else item
        for item in sizes
    )


def _sizes_of_table(name: str, value: object) -> InputSizes | None:
    if not isinstance(value, dict) or not {"shape"} <= set(value) <= {"shape", "dtype"}:
        return None
    shape, dtype = value["shape"], value.get("dtype", "")
    if not isinstance(shape, list) or any(type(size) not in (int, str) for size in shape) or not isinstance(dtype, str):
        return None
    return named_sizes(name, shape, dtype)


def _fault_of(sizes: InputSizes) -> str:
    """Returns what is wrong with sizes of the right form, "" where nothing is."""
    if sizes.dtype and sizes.dtype not in _DTYPES:
        return f'"{sizes.dtype}" is no dtype: accepted are {", ".join(_DTYPES)}'
    fixed = [size for size, name in zip(sizes.shape, sizes.axes or ("",) * len(sizes.shape), strict=True) if not name]
    if any(size < 1 for size in fixed):
        return f"a size is {min(fixed)}; every size must be at least 1"
    return ""


def merged_sizes(file: Sequence[InputSizes], flags: Sequence[InputSizes]) -> tuple[InputSizes, ...]:
    """Returns the sizes of both; those of the flags take the place of the file's."""
    return tuple({item.name: item for item in (*file, *flags)}.values())


def flags_of(inputs: Sequence[OpenInput]) -> str:
    """Returns the flags that would give every open input a size: `--input x=1x3x224x224`."""
    return " ".join(f"{FLAG} {_quoted(item.example().text)}" for item in inputs if item.is_open)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def code_of(inputs: Sequence[OpenInput]) -> str:
    """Returns the expression that a function of example inputs would return: `(torch.zeros(1, 3, 224, 224),)`."""
    calls: list[str] = []
    for item in inputs:
        sizes = item.example()
        dtype = f", dtype=torch.{item.dtype}" if item.dtype != "float32" else ""
        shape = ", ".join(map(str, sizes.shape)) if sizes.shape else "()"
        calls.append(f"torch.zeros({shape}{dtype})")
    return f"({', '.join(calls)}{',' if len(calls) == 1 else ''})"


def chosen_sizes(inputs: Sequence[OpenInput], given: Sequence[InputSizes], title: str) -> list[InputSizes]:
    """Returns the sizes of all inputs, in the model's order: given by name, and the model's own for the others.

    Args:
        inputs: What the model says.
        given: What the user says.
        title: The model, for messages.

    Raises:
        UsageError: an input that the model does not have, sizes that it does not take, or an open input without sizes.
    """
    pairs = [pair for sizes in given if sizes.axes for pair in zip(sizes.axes, sizes.shape, strict=True)]
    if named := [name for name, size in pairs if name and not size]:
        raise UsageError(
            f'{FLAG}: {title} runs at one size, and "{named[0]}" is a name. Give a number in its place: its sizes at '
            "which the app will run."
        )
    names = [item.name for item in inputs]
    for sizes in given:
        if sizes.name not in names:
            raise UsageError(
                f'{FLAG} {sizes.text}: {title} has no input "{sizes.name}"; its inputs are {", ".join(names)}.'
            )
    by_name = {sizes.name: sizes for sizes in given}
    return [_chosen(item, by_name.get(item.name), title) for item in inputs]


def _chosen(item: OpenInput, sizes: InputSizes | None, title: str) -> InputSizes:
    if sizes is None:
        if item.is_open or item.shape is None:
            raise UsageError(
                f'The input "{item.name}" of {title} has the shape {shape_text(item.shape)} with free sizes, and no '
                f"{FLAG} gives them. Add {flags_of([item])}"
            )
        return InputSizes(name=item.name, shape=item.with_batch_one(), dtype=item.dtype)
    wanted = item.shape
    if wanted is not None and (
        len(wanted) != len(sizes.shape)
        or any(want not in (None, have) for want, have in zip(wanted, sizes.shape, strict=True))
    ):
        raise UsageError(
            f'{FLAG} {sizes.text}: the input "{item.name}" of {title} takes the shape {shape_text(wanted)}. '
            f"Give sizes of that form: {FLAG} {_quoted(item.example().text)}"
        )
    if sizes.dtype and sizes.dtype != item.dtype:
        raise UsageError(
            f'{FLAG} {sizes.text}: the input "{item.name}" of {title} takes {item.dtype}. '
            f"Leave the type out, or give {item.dtype}."
        )
    return InputSizes(name=item.name, shape=sizes.shape, dtype=item.dtype)


def shape_text(shape: Sequence[int | None] | None) -> str:
    """Returns `(1, 3, ?, ?)`: `?` for a free size."""
    if shape is None:
        return "(any)"
    sizes = ", ".join("?" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"
