"""Samples on disk: how data travels between processes.

A sample folder holds `samples.json` and one .npy file for each tensor, rows first. Every row is one call of the model.
A tensor (1, C, H, W) has its batch of one dropped: rows take its place. A tensor without a batch of one in front (a
state of two layers, a graph's nodes, a single number) is stored whole, behind a new axis of rows. Calibration and
evaluation inputs, the float model's outputs and an artifact's outputs all have this form:

    samples.json    {"count": 400, "names": ["input", "state"], "items": 400, "sha256": "...", "whole": ["state"]}
    0.npy           (count, C, H, W), rows of the first tensor; 1.npy the second, and so on
    items.npy       (count,) int64: the evaluation item that each row belongs to; only where an item has several rows
    targets.npy     (items, ...): what the evaluation compares with; optional. Tables (rows, columns) of different
                    length are filled up with rows of NaN
    slices.json     ["day", "night", ...]: one slice name an item; optional
    sizes.npy       (count, tensors, axes) int64: each row's own sizes, where rows differ: a row is stored in the corner
                    of the largest, behind it are zeros
    starts.npy      (sequences,) int64: rows before which a model's states begin anew; only for models that have states

The .npy files are opened as memory maps, so a large set costs no memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, BinaryIO, Final, final

from edgekit.errors import DataError
from edgekit.files.bounded_reading import read_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Row = tuple[NDArray[Any], ...]


SAMPLES_NAME: Final = "samples.json"
"""The file by which a sample folder is known; written last."""


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def is_whole(shape: Sequence[int]) -> bool:
    """Returns whether a tensor of a call has no batch of one in front, so that its rows are stored whole."""
    return tuple(shape[:1]) != (1,)


def row_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape in which a sample folder stores a row of a tensor that has `shape` in a call."""
    return tuple(shape) if is_whole(shape) else tuple(shape[1:])


def own_shape(sizes: NDArray[np.int64], tensor: int, largest: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of one tensor of a row, from the row's sizes (tensors, axes)."""
    return tuple(int(size) for size in sizes[tensor][: len(largest)])


def in_corner(array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Returns an array of `shape` that holds `array` in its corner and zeros behind."""
    import numpy as np

    if array.shape == tuple(shape):
        return array
    filled = np.zeros(shape, array.dtype)
    filled[tuple(map(slice, array.shape))] = array
    return filled


def sizes_table(shapes: Sequence[Sequence[tuple[int, ...]]]) -> NDArray[np.int64]:
    """Returns the shapes of rows as one table (rows, tensors, axes), filled up with 0."""
    import numpy as np

    axes = max((len(shape) for row in shapes for shape in row), default=0)
    return np.asarray([[[*shape, *[0] * (axes - len(shape))] for shape in row] for row in shapes], dtype=np.int64)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """A sample folder that has been opened.

    Attributes:
        folder: Where it lies.
        count: Number of rows: calls of the model.
        items: Number of evaluation items; smaller than `count` where an item has several rows.
        names: Tensor names, in order.
        sha256: Hash of all rows.
        whole: Names of the tensors that have no batch of one in front in a call.
    """

    folder: Path
    count: int
    items: int
    names: tuple[str, ...]
    sha256: str
    whole: tuple[str, ...] = ()

    @staticmethod
    def open(folder: Path) -> Samples:
        """Returns the samples in `folder`.

        Raises:
            DataError: no sample folder there.
        """
        path = folder / SAMPLES_NAME
        try:
            data: Any = read_json(path, DataError)
        except FileNotFoundError:
            raise DataError(f"{folder}: no samples.json there; expected a folder that edgekit wrote.") from None
        found: dict[str, Any] = (
            {} if not isinstance(data, dict) else {key: data.get(key) for key in ("count", "items", "sha256")}
        )
        names: Any = data.get("names") if found else None
        whole: Any = data.get("whole", []) if found else None
        typed = _are_names(names) and _are_names(whole) and [*map(type, found.values())] == [int, int, str]
        if not typed or not 0 <= found["items"] <= found["count"] or not set(whole) <= set(names):
            raise DataError(f"{path}: expected count, items, names and sha256, as edgekit writes them. Make it anew.")
        return Samples(folder=folder, names=tuple(names), whole=tuple(whole), **found)

    def key_facts(self) -> dict[str, Any]:
        """Returns all that a result depends on: everything but the folder, whose content `sha256` tells."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "folder"}

    @property
    def stackable(self) -> bool:
        """True where several rows make a batch that one call can take."""
        return not self.whole

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Returns one memory-mapped array (count, ...) for each tensor."""
        return tuple(_load(self.folder / f"{i}.npy", self.count, mapped=True) for i in range(len(self.names)))

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Returns the shape of each tensor in a call."""
        return tuple(
            array.shape[1:] if name in self.whole else (1, *array.shape[1:])
            for name, array in zip(self.names, self.arrays(), strict=True)
        )

    def rows(self, chosen: Iterable[int] | None = None) -> Iterator[Row]:
        """Yields one tuple of arrays for each row, in the shapes of a call.

        Args:
            chosen: Which rows, in order; None for all.
        """
        import numpy as np

        arrays, shapes, sizes = self.arrays(), self.shapes(), self.sizes()
        for i in range(self.count) if chosen is None else chosen:
            own = shapes if sizes is None else [own_shape(sizes[i], k, shape) for k, shape in enumerate(shapes)]
            # Not ascontiguousarray, which gives a single number an axis.
            yield tuple(
                np.array(array[i].reshape(shape)[tuple(map(slice, cut))], order="C")
                for array, shape, cut in zip(arrays, shapes, own, strict=True)
            )

    def sizes(self) -> NDArray[np.int64] | None:
        """Returns each row's own sizes, (rows, tensors, axes) filled up with 0, or None where all rows are alike."""
        path = self.folder / "sizes.npy"
        if not path.exists():
            return None
        found = _read_array(path)
        axes = max((len(shape) for shape in self.shapes()), default=0)
        wanted = (self.count, len(self.names), axes)
        return _indexes(path, found, f"the sizes of each row, {wanted}", is_right=found.shape == wanted)

    def item_of_row(self) -> NDArray[np.int64]:
        """Returns for each row the index of its evaluation item, shape (count,)."""
        import numpy as np

        path = self.folder / "items.npy"
        if not path.exists():
            return np.arange(self.count, dtype=np.int64)
        found = _load(path, self.count)
        is_right = found.ndim == 1 and np.array_equal(np.unique(found), np.arange(self.items))
        return _indexes(path, found, f"rows for each of {self.items} items", is_right=is_right)

    def starts(self) -> tuple[int, ...]:
        """Returns the rows before which a model's states begin anew; the first row always is one."""
        import numpy as np

        path = self.folder / "starts.npy"
        if not path.exists():
            return (0,)
        found = _read_array(path)
        # A row of the end lies behind each start, so that no sequence is empty.
        is_right = found.ndim == 1 and found[:1].tolist() == [0] and bool((np.diff([*found, self.count]) > 0).all())
        expected = f"rising rows below {self.count}, the first of them 0"
        return tuple(_indexes(path, found, expected, is_right=is_right).tolist())

    def sequence_lengths(self) -> tuple[int, ...]:
        """Returns how many calls each sequence has; empty for data of a model without states."""
        if not (self.folder / "starts.npy").exists():
            return ()
        ends = (*self.starts()[1:], self.count)
        return tuple(end - start for start, end in zip(self.starts(), ends, strict=True))

    def targets(self) -> NDArray[Any] | None:
        """Returns the targets, shape (items, ...), or None where the data has none."""
        path = self.folder / "targets.npy"
        return _load(path, self.items) if path.exists() else None

    def slices(self) -> tuple[str, ...] | None:
        """Returns one slice name for each item, or None where the data names no slices."""
        path = self.folder / "slices.json"
        if not path.exists():
            return None
        found: Any = read_json(path, DataError)
        if not isinstance(found, list) or len(found) != self.items or not all(isinstance(x, str) for x in found):
            raise DataError(f"{path}: expected a list of {self.items} names of slices. Make the samples anew.")
        return tuple(found)


def _load(path: Path, rows: int, *, mapped: bool = False) -> NDArray[Any]:
    """Returns the array in an `.npy` file with one entry a row.

    Raises:
        DataError: it cannot be read (see `_read_array`), or holds another number of rows.
    """
    found = _read_array(path, mapped=mapped)
    if found.ndim == 0 or len(found) != rows:
        raise DataError(f"{path} has the shape {found.shape}; expected {rows} rows. Make the samples anew.")
    return found


def _read_array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """Returns the array in an `.npy` file, checked: sample folders may come from elsewhere.

    Raises:
        DataError: it is missing, damaged, an archive of several arrays, or holds pickled objects.
    """
    import numpy as np

    try:
        found: Any = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError, TypeError, SyntaxError, TokenError, ArithmeticError, MemoryError) as error:
        # A header is Python, and NumPy makes room for what it says.
        first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"{path} cannot be read as an .npy file: {first}. Make the samples anew.") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise DataError(f"{path} is an archive, as .npz files are; expected an .npy file. Make the samples anew.")
    return found


def _indexes(path: Path, found: NDArray[Any], expected: str, *, is_right: bool) -> NDArray[np.int64]:
    """Returns an array of counts or rows that was found to be right.

    Raises:
        DataError: it is not, or holds no integers.
    """
    if not is_right or found.dtype.kind not in "iu" or (found.size and found.min() < 0):
        raise DataError(f"{path} does not fit its samples: expected {expected}. Make the samples anew.")
    return found


@final
class SampleWriter:
    """Writes rows one by one, so that a set larger than memory can be written. Use it as a context manager.

    Args:
        folder: Created if missing. `samples.json` is written last: an interrupted folder is not a sample folder.
        names: Tensor names, in order.
        sequences: The rows are calls of a model with states, which follow each other.
        reset_every: Its states begin anew after so many calls; None for nowhere but where `start_sequence` says so.
        largest: Shape of each tensor in a call, where rows may be smaller than that; None where all are alike.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        sequences: bool = False,
        reset_every: int | None = None,
        largest: Sequence[tuple[int, ...]] | None = None,
    ) -> None:
        self._folder = folder
        self._names = tuple(names)
        self._files: list[BinaryIO] = []
        self._calls: list[tuple[int, ...]] = []
        self._dtypes: list[np.dtype[Any]] = []
        self._items: list[int] = []
        self._targets: list[Any] = []
        self._slices: list[str] = []
        self._starts: list[int] | None = [0] if sequences else None
        self._reset_every = reset_every
        self._largest = largest
        self._sizes: list[list[tuple[int, ...]]] = []
        self._digest = hashlib.sha256()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def count(self) -> int:
        """Rows written so far."""
        return len(self._items)

    @property
    def items(self) -> int:
        """Evaluation items written so far."""
        return self._items[-1] + 1 if self._items else 0

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self._close()
        else:
            for file in self._files:
                file.close()

    def add(self, row: Row, item: int | None = None) -> None:
        """Appends one row.

        Args:
            row: One array for each tensor, in the shape of a call; shapes and dtypes as in the first row.
            item: Index of the evaluation item, never smaller than the row before's; None makes the row a new item.

        Raises:
            DataError: another shape or dtype than the first row's.
        """
        import numpy as np

        if self._largest is not None:
            self._sizes.append([array.shape for array in row])
            row = tuple(in_corner(array, shape) for array, shape in zip(row, self._largest, strict=True))
        if not self._files:
            self._start(row)
        for i, array in enumerate(row):
            if array.shape != self._calls[i] or array.dtype != self._dtypes[i]:
                raise DataError(
                    f'Row {self.count} of "{self._names[i]}" is {array.dtype} of shape {row_shape(array.shape)}; the '
                    f"rows before are {self._dtypes[i]} of shape {row_shape(self._calls[i])}. "
                    "All rows must be alike: artifacts have fixed shapes."
                )
            data = np.ascontiguousarray(array).tobytes()
            self._digest.update(data)
            self._files[i].write(data)
        if self._starts and self._reset_every and self.count - self._starts[-1] == self._reset_every:
            self.start_sequence()
        self._items.append(self.items if item is None else item)

    def start_sequence(self) -> None:
        """Lets a model's states begin anew before the next row."""
        if self._starts is not None and self._starts[-1] != self.count:
            self._starts.append(self.count)

    def add_item(self, target: Any = None, slice_name: str | None = None) -> None:
        """Records the target and the slice name of the next evaluation item; its rows are added before."""
        if target is not None:
            self._targets.append(target)
        if slice_name is not None:
            self._slices.append(slice_name)

    def _start(self, row: Row) -> None:
        for i, array in enumerate(row):
            self._calls.append(array.shape)
            self._dtypes.append(array.dtype)
            file = (self._folder / f"{i}.npy").open("w+b")
            self._files.append(file)
            self._write_header(i, 0)

    def _write_header(self, i: int, count: int) -> None:
        """Writes the .npy header. NumPy pads it for any length of the first axis, so that it can be rewritten."""
        from numpy.lib import format as npy

        shape = (count, *row_shape(self._calls[i]))
        npy.write_array_header_1_0(
            self._files[i], {"descr": npy.dtype_to_descr(self._dtypes[i]), "fortran_order": False, "shape": shape}
        )

    def _close(self) -> None:
        import numpy as np

        for i, file in enumerate(self._files):
            file.seek(0)
            self._write_header(i, self.count)
            file.close()
        self._check_counts()
        # All that a result depends on: the same bytes in another shape, or under other slices, are other samples.
        forms = [(str(dtype), row_shape(shape)) for dtype, shape in zip(self._dtypes, self._calls, strict=True)]
        whole = [name for name, shape in zip(self._names, self._calls, strict=False) if is_whole(shape)]
        marks = [whole] if whole else []  # samples without any keep the hash that artifacts already hold
        self._digest.update(json.dumps([forms, self._names, self._items, self._slices, *marks]).encode())
        if self._starts is not None:
            starts = [row for row in self._starts if row < self.count]
            self._digest.update(json.dumps(["starts", starts]).encode())
            np.save(self._folder / "starts.npy", np.asarray(starts, dtype=np.int64))
        if any(shapes != self._calls for shapes in self._sizes):
            sizes = sizes_table(self._sizes)
            self._digest.update(b"sizes" + sizes.tobytes())
            np.save(self._folder / "sizes.npy", sizes)
        if self.items != self.count:
            np.save(self._folder / "items.npy", np.asarray(self._items, dtype=np.int64))
        if self._targets:
            targets = self._stacked_targets()
            self._digest.update(str(targets.dtype).encode() + np.ascontiguousarray(targets).tobytes())
            np.save(self._folder / "targets.npy", targets)
        if self._slices:
            (self._folder / "slices.json").write_text(json.dumps(self._slices))
        facts = {"count": self.count, "names": self._names, "items": self.items, "sha256": self._digest.hexdigest()}
        facts |= {"whole": whole} if whole else {}
        (self._folder / SAMPLES_NAME).write_text(json.dumps(facts))

    def _check_counts(self) -> None:
        """Checks that targets and slice names belong to all items or to none: else they would pair up wrongly."""
        for kind, count in (("a target", len(self._targets)), ("a slice name", len(self._slices))):
            if count not in (0, self.items):
                raise DataError(f"{count} of {self.items} items have {kind}; expected all of them, or none.")

    def _stacked_targets(self) -> NDArray[Any]:
        import numpy as np

        arrays = [np.asarray(target) for target in self._targets]
        if len({array.shape for array in arrays}) > 1 and _are_tables(arrays):
            return _filled_up(arrays)
        odd = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
        if odd is not None:
            raise DataError(
                f"The target of item {odd} has shape {arrays[odd].shape}; the ones before have {arrays[0].shape}. "
                "All targets must be alike."
            )
        return np.stack(arrays)


def _are_tables(arrays: Sequence[NDArray[Any]]) -> bool:
    """Returns whether all are tables of numbers with the same columns; one without rows may have any."""
    return all(array.ndim == 2 and array.dtype.kind in "iuf" for array in arrays) and (
        len({array.shape[1] for array in arrays if len(array)}) <= 1
    )


def _filled_up(tables: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Returns tables of different length as one array (items, rows, columns), filled up with rows of NaN."""
    import numpy as np

    columns = max(tables, key=len).shape[1]
    filled = np.full((len(tables), max(len(table) for table in tables), columns), np.nan)
    for item, table in enumerate(tables):
        if len(table):
            filled[item, : len(table)] = table
    return filled


def write_samples(folder: Path, names: Sequence[str], rows: Iterable[Row]) -> Samples:
    """Writes `rows` (one tuple of arrays each, in the shapes of a call) to `folder` and returns the opened samples."""
    with SampleWriter(folder, names) as writer:
        for row in rows:
            writer.add(row)
    return Samples.open(folder)
