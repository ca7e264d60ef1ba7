"""Sample folders: what is written is what is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgekit.errors import DataError
from edgekit.samples import Samples, SampleWriter, write_samples

DTYPES = st.sampled_from(["float32", "float16", "int64", "int8", "uint8", "bool"])


@st.composite
def tensors(draw: st.DrawFn) -> list[np.ndarray[Any, Any]]:
    """One to three tensors (rows, ...) with the same number of rows."""
    rows = draw(st.integers(1, 12))
    shapes = draw(st.lists(npst.array_shapes(min_dims=0, max_dims=3, max_side=3), min_size=1, max_size=3))
    return [draw(npst.arrays(draw(DTYPES), (rows, *shape))) for shape in shapes]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensors())
def test_rows_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, arrays: list[np.ndarray[Any, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("samples")
    rows = [tuple(array[i : i + 1] for array in arrays) for i in range(len(arrays[0]))]
    samples = write_samples(folder, [f"x{i}" for i in range(len(arrays))], rows)
    assert (samples.count, samples.items) == (len(rows), len(rows))
    for written, read in zip(arrays, samples.arrays(), strict=True):
        assert read.dtype == written.dtype
        np.testing.assert_array_equal(read, written)
    for expected, row in zip(rows, samples.rows(), strict=True):
        for one, other in zip(expected, row, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(samples.item_of_row(), np.arange(len(rows)))
    assert samples.targets() is None
    assert samples.slices() is None


@pytest.mark.parametrize("count", [1, 9, 10, 99, 100, 1001], ids=str)
def test_the_header_is_right_for_any_number_of_rows(tmp_path: Path, count: int) -> None:
    row = (np.zeros((1, 2), np.float32),)
    samples = write_samples(tmp_path, ["x"], (row for _ in range(count)))
    assert samples.arrays()[0].shape == (count, 2)


def test_items_with_several_rows_keep_their_targets_and_slices(tmp_path: Path) -> None:
    with SampleWriter(tmp_path, ["x"]) as writer:
        for item, slice_name in enumerate(("day", "night", "day")):
            for _ in range(2):
                writer.add((np.full((1, 2), item, np.float32),), item=item)
            writer.add_item(target=item * 10, slice_name=slice_name)
    samples = Samples.open(tmp_path)
    targets = samples.targets()
    assert (samples.count, samples.items) == (6, 3)
    assert samples.item_of_row().tolist() == [0, 0, 1, 1, 2, 2]
    assert targets is not None
    assert targets.tolist() == [0, 10, 20]
    assert samples.slices() == ("day", "night", "day")


def write(
    folder: Path, *, dtype: str = "float32", shape: tuple[int, ...] = (1, 4), name: str = "x", **item: Any
) -> str:
    with SampleWriter(folder, [name]) as writer:
        writer.add((np.zeros(shape, dtype),))
        writer.add_item(**item)
    return Samples.open(folder).sha256


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "int32"},
        {"shape": (1, 2, 2)},
        {"name": "y"},
        {"target": 1},
        {"target": 1.0},
        {"slice_name": "night"},
    ],
    ids=["dtype", "shape", "name", "target", "target dtype", "slice"],
)
def test_the_hash_tells_apart_whatever_a_result_depends_on(tmp_path: Path, change: dict[str, Any]) -> None:
    base = {"target": 1} if change.get("target") == 1.0 and isinstance(change["target"], float) else {}
    assert write(tmp_path / "a", **base) != write(tmp_path / "b", **change)
    assert write(tmp_path / "c", **change) == write(tmp_path / "d", **change)


def two_rows(writer: SampleWriter) -> None:
    for _ in range(2):
        writer.add((np.zeros((1, 2), np.float32),))


def wrong_shape(writer: SampleWriter) -> None:
    two_rows(writer)
    writer.add((np.zeros((1, 3), np.float32),))


def wrong_dtype(writer: SampleWriter) -> None:
    two_rows(writer)
    writer.add((np.zeros((1, 2), np.int8),))


def some_targets(writer: SampleWriter) -> None:
    two_rows(writer)
    writer.add_item(target=1)


def some_slices(writer: SampleWriter) -> None:
    two_rows(writer)
    writer.add_item(slice_name="day")


def uneven_targets(writer: SampleWriter) -> None:
    two_rows(writer)
    writer.add_item(target=[1, 2])
    writer.add_item(target=[1, 2, 3])


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (
            wrong_shape,
            (
                'Row 2 of "x" is float32 of shape (3,); the rows before are float32 of shape (2,). '
                "All rows must be alike: artifacts have fixed shapes."
            ),
        ),
        (
            wrong_dtype,
            (
                'Row 2 of "x" is int8 of shape (2,); the rows before are float32 of shape (2,). '
                "All rows must be alike: artifacts have fixed shapes."
            ),
        ),
        (some_targets, "1 of 2 items have a target; expected all of them, or none."),
        (some_slices, "1 of 2 items have a slice name; expected all of them, or none."),
        (
            uneven_targets,
            "The target of item 1 has shape (3,); the ones before have (2,). All targets must be alike.",
        ),
    ],
    ids=["shape", "dtype", "targets", "slices", "uneven targets"],
)
def test_rows_that_do_not_belong_together_leave_no_sample_folder(
    tmp_path: Path, fill: Callable[[SampleWriter], None], message: str
) -> None:
    with pytest.raises(DataError) as raised, SampleWriter(tmp_path, ["x"]) as writer:
        fill(writer)
    assert raised.value.message == message
    assert not (tmp_path / "samples.json").exists()


def test_a_folder_without_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        Samples.open(tmp_path)
    assert raised.value.message == f"{tmp_path}: no samples.json there; expected a folder that edgekit wrote."


def test_arrays_are_mapped_and_not_loaded(tmp_path: Path) -> None:
    samples = write_samples(tmp_path, ["x"], [(np.zeros((1, 2), np.float32),)])
    assert isinstance(samples.arrays()[0], np.memmap)


def sample_folder(folder: Path) -> Path:
    with SampleWriter(folder, ["x"]) as writer:
        for i in range(3):
            writer.add((np.full((1, 2), i, np.float32),))
            writer.add_item(np.int64(i))
    return folder


@pytest.mark.parametrize(
    "facts",
    [
        {"count": "3"},
        {"count": True},
        {"items": 10**18},
        {"items": -1},
        {"names": "x"},
        {"names": [1]},
        {"sha256": None},
    ],
)
def test_facts_of_samples_that_are_none_are_refused(tmp_path: Path, facts: dict[str, Any]) -> None:
    path = sample_folder(tmp_path) / "samples.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    message = f"{path}: expected count, items, names and sha256, as edgekit writes them. Make it anew."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        Samples.open(tmp_path)


def damaged_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"False", b"Fals("))


def pickled(path: Path) -> None:
    np.save(path, np.array([{}, 1, 2], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("damage", [damaged_header, pickled, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["0.npy", "targets.npy"])
def test_an_array_of_samples_that_is_damaged_is_named(tmp_path: Path, name: str, damage: Any) -> None:
    samples = Samples.open(sample_folder(tmp_path))
    damage(tmp_path / name)
    if not (tmp_path / name).exists() and name == "targets.npy":
        assert samples.targets() is None
        return
    message = rf"^{re.escape(str(tmp_path / name))} cannot be read as an \.npy file: .+\. Make the samples anew\.$"
    with pytest.raises(DataError, match=message):
        samples.arrays() if name == "0.npy" else samples.targets()


def test_an_array_of_samples_with_another_number_of_rows_is_named(tmp_path: Path) -> None:
    samples = Samples.open(sample_folder(tmp_path))
    np.save(tmp_path / "targets.npy", np.zeros((2,)))
    message = f"{tmp_path / 'targets.npy'} has the shape (2,); expected 3 rows. Make the samples anew."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        samples.targets()


def test_an_archive_in_the_place_of_an_array_is_named(tmp_path: Path) -> None:
    samples = Samples.open(sample_folder(tmp_path))
    with (tmp_path / "targets.npy").open("wb") as stream:
        np.savez(stream, np.zeros(3))
    message = f"{tmp_path / 'targets.npy'} is an archive, as .npz files are; expected an .npy file. "
    with pytest.raises(DataError, match=f"^{re.escape(message)}Make the samples anew\\.$"):
        samples.targets()


NO_STARTS = "rising rows below 3, the first of them 0"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("items.npy", [0, 1, 3], "rows for each of 3 items"),
        ("items.npy", [0.0, 1.0, 2.0], "rows for each of 3 items"),
        ("starts.npy", [0, 0], NO_STARTS),
        ("starts.npy", [1, 2], NO_STARTS),
        ("starts.npy", [0, 3], NO_STARTS),
        ("starts.npy", [[0]], NO_STARTS),
        ("starts.npy", [], NO_STARTS),
        ("sizes.npy", [[[1]], [[1]], [[1]]], "the sizes of each row, "),
    ],
)
def test_rows_of_samples_that_are_none_are_named(tmp_path: Path, name: str, content: Any, expected: str) -> None:
    samples = Samples.open(sample_folder(tmp_path))
    np.save(tmp_path / name, np.asarray(content))
    read = {"items.npy": samples.item_of_row, "starts.npy": samples.starts, "sizes.npy": samples.sizes}[name]
    start = re.escape(f"{tmp_path / name} does not fit its samples: expected {expected}")
    message = rf"^{start}.*\. Make the samples anew\.$"
    with pytest.raises(DataError, match=message):
        read()


@pytest.mark.parametrize("text", ['["a"]', "[1, 2, 3]", '{"a": 1}'])
def test_slices_of_samples_that_are_none_are_named(tmp_path: Path, text: str) -> None:
    samples = Samples.open(sample_folder(tmp_path))
    (tmp_path / "slices.json").write_text(text)
    message = f"{tmp_path / 'slices.json'}: expected a list of 3 names of slices. Make the samples anew."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        samples.slices()


def test_sequences_begin_at_the_first_row_at_marks_and_after_so_many_calls(tmp_path: Path) -> None:
    with SampleWriter(tmp_path, ["x"], sequences=True, reset_every=3) as writer:
        for i in range(8):
            if i == 4:
                writer.start_sequence()
            writer.add((np.full((1, 2), i, np.float32),))
    samples = Samples.open(tmp_path)
    assert samples.starts() == (0, 3, 4, 7)
    assert samples.sequence_lengths() == (3, 1, 3, 1)


def test_other_sequences_are_other_samples(tmp_path: Path) -> None:
    def written(name: str, every: int) -> Samples:
        with SampleWriter(tmp_path / name, ["x"], sequences=True, reset_every=every) as writer:
            for i in range(4):
                writer.add((np.full((1, 2), i, np.float32),))
        return Samples.open(tmp_path / name)

    assert written("a", 2).sha256 != written("b", 4).sha256


def test_rows_of_a_model_without_states_have_no_sequences(tmp_path: Path) -> None:
    samples = write_samples(tmp_path, ["x"], [(np.zeros((1, 2)),)])
    assert samples.starts() == (0,)
    assert samples.sequence_lengths() == ()
