"""Data: turns what a task names (a function, an .npz file, a folder of images) into sample folders.

User code runs here, so it runs in a worker process. What comes out is checked once, and everything behind reads files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, final, runtime_checkable

from edgekit.annotations.reader import kind_of, read_annotations
from edgekit.errors import DataError
from edgekit.model import OpenSizes, TensorSpec, with_free_axes
from edgekit.samples import SAMPLES_NAME, Samples, SampleWriter
from edgekit.task.annotated_items import annotated_items
from edgekit.task.array_file import read_npz
from edgekit.task.item_inputs import item_calls, to_numpy
from edgekit.task.metric_text import targets_of_kind, targets_of_metric
from edgekit.task.picture_items import PictureItems
from edgekit.task.pictures import one_image
from edgekit.task.task import ImagePreprocessing
from edgekit.workers.request_key import Place
from edgekit.workers.worker import Job, Progress, silent

Purpose = Literal["calibration", "evaluation", "sample", "example"]
"""What the rows are for; only evaluation data has targets, only calibration data must vary, and example inputs are one
item."""

_FROM: Final[Mapping[Purpose, str]] = {"sample": "--data", "example": "[model] example_inputs"}
"""Where a user names a function, where it is not the data of that name."""

_TARGET_NAMES: Final = ("target", "targets", "label", "labels")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """Which data to read, and where to.

    Attributes:
        reference: `data.py:function`, an .npz file or a folder of images.
        base: Folder that relative paths start from.
        purpose: What the rows are for.
        inputs: What the model takes.
        metric: The task's: some keep the rows of an item together.
        preprocessing: For a folder of images, and for annotated ones.
        images: Folder of the pictures of a COCO file; None looks near it.
        labels: The model's labels, by which classes of annotations are numbered; () without.
        folder: Where the samples go.
        sequences: The model has states: items are calls that follow each other, and a None among them starts anew.
        reset_every: The states begin anew after so many calls; None for nowhere but at a None.
        open_sizes: Sizes of the inputs that may differ from item to item; `inputs` has the largest.
        most_bytes: Rows of more than so many bytes are not kept, but read anew whenever a model runs; None keeps all.
    """

    reference: str
    base: Place
    purpose: Purpose
    inputs: tuple[TensorSpec, ...]
    metric: str
    preprocessing: ImagePreprocessing
    folder: Place
    images: str | None = None
    labels: tuple[str, ...] = ()
    sequences: bool = False
    reset_every: int | None = None
    open_sizes: OpenSizes | None = None
    most_bytes: int | None = None


def materialize(request: DataRequest, progress: Progress) -> Samples:
    """Writes one data set of a task to a sample folder: the entry of a worker process.

    Raises:
        DataError: missing, empty, or not what the model takes.
    """
    items = open_items(request)
    return write_items(
        items,
        request.inputs,
        request.folder,
        purpose=request.purpose,
        metric=request.metric,
        title=request.reference,
        progress=progress,
        sequences=request.sequences,
        reset_every=request.reset_every,
        open_sizes=request.open_sizes,
        most_bytes=request.most_bytes,
    )


MATERIALIZE: Final = Job(work=materialize)


def write_items(
    items: Iterable[Any],
    specs: tuple[TensorSpec, ...],
    folder: Path,
    *,
    purpose: Purpose,
    metric: str,
    title: str,
    progress: Progress = silent,
    sequences: bool = False,
    reset_every: int | None = None,
    open_sizes: OpenSizes | None = None,
    most_bytes: int | None = None,
) -> Samples:
    """Writes items to a sample folder, each checked against the model's inputs; returns the opened samples.

    Args:
        items: Input tuples; for evaluation (input tuple, target) or (input tuple, target, slice name).
        specs: The model's inputs.
        folder: Where to; made if it is missing.
        purpose: What the items are for.
        metric: The task's: it decides whether the rows of an item belong together.
        title: What the data is called, for messages.
        progress: Callback that gets the number of samples so far.
        sequences: See `DataRequest`.
        reset_every: See `DataRequest`.
        open_sizes: See `DataRequest`.
        most_bytes: See `DataRequest`.

    Raises:
        DataError: empty, or not what the model takes.
    """
    names = [spec.name for spec in specs]
    largest = None if open_sizes is None else [spec.shape for spec in specs]
    # A log shows only the first words of a stage: they must not be a count that goes on.
    progress("reading the samples" if purpose == "sample" else f"reading the {purpose} data", None)
    with SampleWriter(
        folder, names, sequences=sequences, reset_every=reset_every, largest=largest, most_bytes=most_bytes
    ) as writer:
        index = -1
        for index, item in enumerate(items):
            if item is None and sequences:
                writer.start_sequence()
                continue
            inputs, target, slice_name = split_item(item, purpose, title, index)
            _add(writer, inputs, target, slice_name, specs, metric, f"{purpose} data {title}, item {index}", open_sizes)
            progress(f"{writer.count} {'' if purpose == 'sample' else purpose + ' '}samples", None)
        if writer.count == 0:
            raise DataError(
                f"The {purpose} data {title} is empty: it yielded no item. Expected at least one; 100 to 500 are usual."
            )
        writer.indexed = isinstance(items, Indexed) and writer.count == index + 1
    samples = Samples.open(folder)
    if purpose == "calibration":
        check_varies(samples, specs, title)
    return samples


def check_varies(samples: Samples, specs: tuple[TensorSpec, ...], reference: str) -> None:
    """Refuses calibration data whose float inputs hold one value only, such as all zeros: no range comes of them.

    Integer inputs may be constant: an attention mask of ones is.

    Raises:
        DataError: a float input is constant.
    """
    for spec, array in zip(specs, samples.arrays(), strict=True):
        value = array.flat[0]
        if array.dtype.kind == "f" and all((row == value).all() for row in array):
            raise DataError(
                f'The calibration data {reference} holds only the value {value:g} in the input "{spec.name}", in all '
                f"{samples.count} samples. Ranges need real data: give samples like those that the model will see."
            )


@runtime_checkable
class Indexed(Protocol):
    """Data whose items can be had one by one, in any order: a list, a torch `Dataset`, a folder of images."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def open_items(request: DataRequest) -> Iterable[object]:
    """Returns the items that a request names, as the user has them; `Indexed` where they can be had one by one.

    Raises:
        DataError: there is no such data, or it is of no form that is known.
    """
    reference, base, purpose, specs = request.reference, request.base, request.purpose, request.inputs
    path = base / reference
    if path.suffix.lower() == ".npz":
        return _npz_items(path, purpose, specs)
    if (path / SAMPLES_NAME).is_file():
        return _sample_items(Samples.open(path), purpose)
    kind = kind_of(path) if targets_of_kind(request.metric) is not None else None
    if kind is not None and (path.exists() or ":" not in reference):
        images = base / request.images if request.images else None
        return annotated_items(
            read_annotations(path, images, request.labels),
            targets_of_kind(request.metric) if purpose == "evaluation" else None,
            one_image(specs, f"The data {path}"),
            request.preprocessing,
        )
    if path.is_dir():
        return PictureItems(path, purpose, specs, request.preprocessing)
    if ":" not in reference:
        raise DataError(
            f'The {purpose} data "{reference}" is neither a function ("data.py:{purpose}"), nor an .npz file, '
            f"nor a folder of images in {base}."
        )
    from edgekit.task.user_code import load_object

    function: Any = load_object(reference, base, _FROM.get(purpose, f"[data] {purpose}"))
    made: Any = function()
    if purpose == "example":
        return (made,)
    if not isinstance(made, Iterable) or isinstance(made, (str, bytes, Mapping)):
        raise DataError(
            f"The function {reference} returned {type(made).__name__}; "
            f"expected an iterable of {'input tuples' if purpose != 'evaluation' else '(input tuple, target)'}."
        )
    return made


def is_picture_folder(request: DataRequest) -> bool:
    """Returns whether the data are the pictures of a folder, without annotations: files tell all about them."""
    path = request.base / request.reference
    annotated = targets_of_kind(request.metric) is not None and kind_of(path) is not None
    return path.is_dir() and not annotated and not (path / SAMPLES_NAME).is_file()


def split_item(item: object, purpose: Purpose, reference: str, index: int) -> tuple[object, object, str | None]:
    """Returns (inputs, target, slice name) of one item as the user's function yields it."""
    if purpose != "evaluation":
        return item, None, None
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
        came = (
            f"{type(item).__name__} of length {len(item)}" if isinstance(item, (tuple, list)) else type(item).__name__
        )
        raise DataError(
            f"Item {index} of the evaluation data {reference} is a {came}; "
            "expected (input tuple, target) or (input tuple, target, slice name)."
        )
    inputs, target, *rest = item
    return inputs, target, rest[0] if rest else None


def _add(
    writer: SampleWriter,
    inputs: object,
    target: object,
    slice_name: str | None,
    specs: tuple[TensorSpec, ...],
    metric: str,
    where: str,
    open_sizes: OpenSizes | None,
) -> None:
    """Checks one item against the model's inputs and writes its rows.

    An item of several rows whose target has one entry a row is that many items; otherwise, and always where the metric
    compares the rows of an item, they belong together. A table or a text is the target of one row, whatever its length.
    """
    import numpy as np

    calls = item_calls(inputs, specs if open_sizes is None else with_free_axes(specs, open_sizes.inputs), where)
    if open_sizes is not None:
        _check_sizes([array.shape for array in calls[0]], specs, open_sizes, where)
    count = len(calls)
    belongs = targets_of_metric(metric)
    if belongs == "table" and target is not None:
        target = [target] if count == 1 else target
        label: Any = [np.asarray(to_numpy(one)) for one in _as_sequence(target, count, where)]
    else:
        label = None if target is None else np.asarray(to_numpy(target))
    separate = belongs == "table" or (belongs == "row" and (label is None or (label.ndim > 0 and len(label) == count)))
    first = writer.items
    for i, call in enumerate(calls):
        writer.add(call, item=first + i if separate else first)
        if separate:
            writer.add_item(None if label is None else label[i], slice_name)
    if not separate:
        writer.add_item(label, slice_name)


def _check_sizes(
    shapes: Sequence[tuple[int, ...]], specs: Sequence[TensorSpec], open_sizes: OpenSizes, where: str
) -> None:
    """Checks that the open sizes of an item are in range, and the same wherever a dimension stands.

    Raises:
        DataError: they are not.
    """
    known = {item.name: item for item in open_sizes.dimensions}
    had: dict[str, int] = {}
    for spec, shape, names in zip(specs, shapes, open_sizes.inputs, strict=True):
        for name, size in zip(names, shape, strict=True):
            if not name:
                continue
            fault = known[name].why_not(size)
            if not fault and had.setdefault(name, size) != size:
                fault = f"{name} is {had[name]} in one place and {size} in another"
            if fault:
                raise DataError(
                    f'The {where} has shape {shape} for the input "{spec.name}": {fault}. '
                    "Give items of such sizes, or widen the dimension."
                )


def _as_sequence(target: object, count: int, where: str) -> Sequence[object]:
    """Returns the targets of an item of several rows, one a row.

    Raises:
        DataError: it has another number of them.
    """
    if not isinstance(target, (list, tuple)) or len(target) != count:
        came = f"{len(target)} targets" if isinstance(target, (list, tuple)) else type(target).__name__
        raise DataError(f"The {where} has {count} rows and {came}; expected a list of {count} targets, one a row.")
    return target


def _npz_items(path: Path, purpose: Purpose, specs: tuple[TensorSpec, ...]) -> Iterator[object]:
    if not path.exists():
        raise DataError(f"The {purpose} data {path} does not exist.")
    arrays = read_npz(path, f"The {purpose} data {path}")
    if scalar := next((name for name, array in arrays.items() if array.ndim == 0), None):
        raise DataError(f'The {purpose} data {path}: the array "{scalar}" is one value; expected one row a sample.')
    target_name = next((name for name in _TARGET_NAMES if name in arrays), None)
    targets = arrays.pop(target_name) if target_name else None
    if len(specs) == 1 and len(arrays) == 1:
        inputs = list(arrays.values())
    else:
        missing = [spec.name for spec in specs if spec.name not in arrays]
        if missing:
            raise DataError(
                f"The {purpose} data {path} has no array named {', '.join(missing)}; it has {', '.join(arrays)}. "
                "Name each array as the model's input."
            )
        inputs = [arrays[spec.name] for spec in specs]
    counts = {name: len(array) for name, array in zip([spec.name for spec in specs], inputs, strict=True)}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"The {purpose} data {path} has arrays of different lengths: {found}. Give one row a sample.")
    for i in range(len(inputs[0])):
        # Rows of (1, ...) are stored without it; a tensor without a batch of one in front has an axis of rows more.
        row = tuple(
            array[i] if array.ndim > len(spec.shape) else array[i : i + 1]
            for array, spec in zip(inputs, specs, strict=True)
        )
        yield row if purpose != "evaluation" else (row, None if targets is None else targets[i : i + 1])


def _sample_items(samples: Samples, purpose: Purpose) -> Iterator[Any]:
    """Yields the items of a sample folder that edgekit wrote from data in memory."""
    import numpy as np

    item_of_row, targets, slices = samples.item_of_row(), samples.targets(), samples.slices()
    arrays = samples.arrays()
    differ = list(samples.rows()) if samples.sizes() is not None else None
    for item in range(samples.items):
        rows = np.flatnonzero(item_of_row == item)
        if differ is not None:
            arrays = tuple(np.concatenate(parts) for parts in zip(*(differ[row] for row in rows), strict=True))
            rows = np.arange(len(rows))
        inputs = tuple(
            array[rows[0]] if name in samples.whole else array[rows]
            for name, array in zip(samples.names, arrays, strict=True)
        )
        target = None if targets is None else targets[item]
        yield inputs if purpose != "evaluation" else (inputs, target, slices[item] if slices else None)
