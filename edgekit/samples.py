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

Rows of a set that is larger than its limit on disk are not kept: they are read anew from where the user has them, part
by part, whenever a model runs on them (`edgekit.task.sample_feed`). Such a folder has no 0.npy and so on; instead:

    samples.json    "part_rows": 111, "indexed": true: how many rows make a part, and whether item i is row i
    kept/           a sample folder with some rows, evenly spread over all
    marks.npy       (count,) uint64: a mark of each row, by which a second reading is held against the first
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, final

from edgekit.errors import DataError
from edgekit.files.bounded_reading import read_json
from edgekit.files.npy_file import checked_indexes, load_rows, read_array
from edgekit.files.spread_items import SpreadItems
from edgekit.files.stacked_targets import stacked_targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Row = tuple[NDArray[Any], ...]


SAMPLES_NAME: Final = "samples.json"
"""The file by which a sample folder is known; written last."""

MARKS_NAME: Final = "marks.npy"
KEPT_NAME: Final = "kept"

_PART_BYTES: Final = 64 << 20
"""Of a set whose rows are read anew: few enough to wait in memory, enough that a part is worth its start."""


def row_mark(row: Row) -> int:
    """Returns 64 bits by which a row (one array a tensor) is known again; no defence against forged rows."""
    import numpy as np

    crc, adler = 0, 1
    for array in row:
        data = np.ascontiguousarray(array).tobytes()
        crc, adler = zlib.crc32(data, crc), zlib.adler32(data, adler)
    return crc << 32 | adler


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
        part_rows: How many rows make a part, where rows are read anew for each run; 0 where they lie in the folder.
        indexed: Item i of the user's data is row i, where rows are read anew.
        source: Where they are read from then, as `edgekit.task.sample_feed` has it; of this run, and not of the folder.
    """

    folder: Path
    count: int
    items: int
    names: tuple[str, ...]
    sha256: str
    whole: tuple[str, ...] = ()
    part_rows: int = 0
    indexed: bool = False
    source: str = ""

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
        part: dict[str, Any] = {key: data[key] for key in ("part_rows", "indexed") if found and key in data}
        typed = _are_names(names) and _are_names(whole) and [*map(type, found.values())] == [int, int, str]
        typed = typed and [*map(type, part.values())] in ([], [int, bool]) and part.get("part_rows", 1) > 0
        if not typed or not 0 <= found["items"] <= found["count"] or not set(whole) <= set(names):
            raise DataError(f"{path}: expected count, items, names and sha256, as edgekit writes them. Make it anew.")
        return Samples(folder=folder, names=tuple(names), whole=tuple(whole), **found, **part)

    def key_facts(self) -> dict[str, Any]:
        """Returns all that a result depends on: `sha256` tells the rows, wherever they lie and are read from."""
        places = ("folder", "part_rows", "indexed", "source")
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in places}

    @property
    def kept(self) -> Samples:
        """The rows that lie on disk: all of them, or some that are evenly spread where rows are read anew."""
        return Samples.open(self.folder / KEPT_NAME) if self.part_rows else self

    def marks(self) -> Iterator[int]:
        """Yields a mark of each row (see `row_mark`)."""
        if self.part_rows:
            yield from map(int, load_rows(self.folder / MARKS_NAME, self.count))
        else:
            yield from map(row_mark, self.rows())

    @property
    def stackable(self) -> bool:
        """True where several rows make a batch that one call can take."""
        return not self.whole

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Returns one memory-mapped array (count, ...) for each tensor."""
        return tuple(load_rows(self.folder / f"{i}.npy", self.count, mapped=True) for i in range(len(self.names)))

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Returns the shape of each tensor in a call."""
        return tuple(
            array.shape[1:] if name in self.whole else (1, *array.shape[1:])
            for name, array in zip(self.names, self.kept.arrays(), strict=True)
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
        found = read_array(path)
        axes = max((len(shape) for shape in self.shapes()), default=0)
        wanted = (self.count, len(self.names), axes)
        return checked_indexes(path, found, f"the sizes of each row, {wanted}", is_right=found.shape == wanted)

    def item_of_row(self) -> NDArray[np.int64]:
        """Returns for each row the index of its evaluation item, shape (count,)."""
        import numpy as np

        path = self.folder / "items.npy"
        if not path.exists():
            return np.arange(self.count, dtype=np.int64)
        found = load_rows(path, self.count)
        is_right = found.ndim == 1 and np.array_equal(np.unique(found), np.arange(self.items))
        return checked_indexes(path, found, f"rows for each of {self.items} items", is_right=is_right)

    def starts(self) -> tuple[int, ...]:
        """Returns the rows before which a model's states begin anew; the first row always is one."""
        import numpy as np

        path = self.folder / "starts.npy"
        if not path.exists():
            return (0,)
        found = read_array(path)
        # A row of the end lies behind each start, so that no sequence is empty.
        is_right = found.ndim == 1 and found[:1].tolist() == [0] and bool((np.diff([*found, self.count]) > 0).all())
        expected = f"rising rows below {self.count}, the first of them 0"
        return tuple(checked_indexes(path, found, expected, is_right=is_right).tolist())

    def sequence_lengths(self) -> tuple[int, ...]:
        """Returns how many calls each sequence has; empty for data of a model without states."""
        if not (self.folder / "starts.npy").exists():
            return ()
        ends = (*self.starts()[1:], self.count)
        return tuple(end - start for start, end in zip(self.starts(), ends, strict=True))

    def targets(self) -> NDArray[Any] | None:
        """Returns the targets, shape (items, ...), or None where the data has none."""
        path = self.folder / "targets.npy"
        return load_rows(path, self.items) if path.exists() else None

    def slices(self) -> tuple[str, ...] | None:
        """Returns one slice name for each item, or None where the data names no slices."""
        path = self.folder / "slices.json"
        if not path.exists():
            return None
        found: Any = read_json(path, DataError)
        if not isinstance(found, list) or len(found) != self.items or not all(isinstance(x, str) for x in found):
            raise DataError(f"{path}: expected a list of {self.items} names of slices. Make the samples anew.")
        return tuple(found)


@final
class SampleWriter:
    """Writes rows one by one, so that a set larger than memory can be written. Use it as a context manager.

    Args:
        folder: Created if missing. `samples.json` is written last: an interrupted folder is not a sample folder.
        names: Tensor names, in order.
        sequences: The rows are calls of a model with states, which follow each other.
        reset_every: Its states begin anew after so many calls; None for nowhere but where `start_sequence` says so.
        largest: Shape of each tensor in a call, where rows may be smaller than that; None where all are alike.
        most_bytes: Rows beyond so many bytes are not kept, and neither are those before: they will be read anew. None
            keeps all.
        hashed: False leaves the digest out: what somebody else holds against marks needs none.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        sequences: bool = False,
        reset_every: int | None = None,
        largest: Sequence[tuple[int, ...]] | None = None,
        most_bytes: int | None = None,
        hashed: bool = True,
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
        self._hashed = hashed
        self._most_bytes = most_bytes
        self._marks: list[int] | None = None
        self._spread: SpreadItems[Row] = SpreadItems(1)
        self.indexed = False
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
            if self._hashed:
                self._digest.update(data)
            if self._marks is None:
                self._files[i].write(data)
        if self._marks is not None:
            self._mark(self._marks, row)
        elif self._most_bytes is not None and (self.count + 1) * self._row_bytes > self._most_bytes:
            self._marks = self._marks_so_far()
        if self._starts and self._reset_every and self.count - self._starts[-1] == self._reset_every:
            self.start_sequence()
        self._items.append(self.items if item is None else item)

    @property
    def _row_bytes(self) -> int:
        return sum(math.prod(shape) * dtype.itemsize for shape, dtype in zip(self._calls, self._dtypes, strict=True))

    @property
    def _part_rows(self) -> int:
        return max(1, _PART_BYTES // max(1, self._row_bytes))

    def _mark(self, marks: list[int], row: Row) -> None:
        """Takes a row that is not kept on disk, but for the few that are spread over all."""
        import numpy as np

        marks.append(row_mark(row))
        self._spread.add(tuple(map(np.copy, row)) if self._spread.wants_next else row)

    def _marks_so_far(self) -> list[int]:
        """Returns the marks of the rows so far, and takes them off the disk: from now on none are kept there."""
        self._finish_files(self.count + 1)
        self._spread = SpreadItems(self._part_rows)
        marks: list[int] = []
        arrays = [read_array(self._folder / f"{i}.npy", mapped=True) for i in range(len(self._files))]
        for row in range(self.count + 1):
            self._mark(marks, tuple(array[row].reshape(call) for array, call in zip(arrays, self._calls, strict=True)))
        for i in range(len(self._files)):
            (self._folder / f"{i}.npy").unlink()
        return marks

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

    def _finish_files(self, count: int) -> None:
        for i, file in enumerate(self._files):
            file.seek(0)
            self._write_header(i, count)
            file.close()

    def _keep_some(self) -> dict[str, Any]:
        """Writes what is kept of rows that will be read anew. Returns what `samples.json` says of it."""
        import numpy as np

        np.save(self._folder / MARKS_NAME, np.asarray(self._marks, dtype=np.uint64))
        write_samples(self._folder / KEPT_NAME, self._names, self._spread.kept)
        return {"part_rows": self._part_rows, "indexed": self.indexed}

    def _close(self) -> None:
        import numpy as np

        if self._marks is None:
            self._finish_files(self.count)
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
            targets = stacked_targets(self._targets)
            self._digest.update(str(targets.dtype).encode() + np.ascontiguousarray(targets).tobytes())
            np.save(self._folder / "targets.npy", targets)
        if self._slices:
            (self._folder / "slices.json").write_text(json.dumps(self._slices))
        facts = {"count": self.count, "names": self._names, "items": self.items, "sha256": self._digest.hexdigest()}
        facts |= {"whole": whole} if whole else {}
        facts |= self._keep_some() if self._marks is not None else {}
        (self._folder / SAMPLES_NAME).write_text(json.dumps(facts))

    def _check_counts(self) -> None:
        """Checks that targets and slice names belong to all items or to none: else they would pair up wrongly."""
        for kind, count in (("a target", len(self._targets)), ("a slice name", len(self._slices))):
            if count not in (0, self.items):
                raise DataError(f"{count} of {self.items} items have {kind}; expected all of them, or none.")


def write_samples(folder: Path, names: Sequence[str], rows: Iterable[Row]) -> Samples:
    """Writes `rows` (one tuple of arrays each, in the shapes of a call) to `folder` and returns the opened samples."""
    with SampleWriter(folder, names) as writer:
        for row in rows:
            writer.add(row)
    return Samples.open(folder)
