"""Archives of arrays that somebody made: pickles, damage, bombs and headers that lie."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.task.array_file import read_npz


def array(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(value))
    return buffer.getvalue()


def header(text: str) -> bytes:
    body = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def write(path: Path, *, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def message_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_npz(path, "The data x.npz")
    return caught.value.message


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.arange(6).reshape(2, 3), b=np.float32(1))
    np.savez_compressed(tmp_path / "y.npz", a=np.zeros((300, 3, 32, 32), np.float32))
    found = read_npz(tmp_path / "x.npz", "x")
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].shape == ()
    assert read_npz(tmp_path / "y.npz", "y")["a"].shape == (300, 3, 32, 32)


def test_objects_are_never_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    text = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    path = write(tmp_path / "x.npz", a=header(text) + pickle.dumps(Evil()))
    assert message_of(path) == (
        "The data x.npz cannot be read as an .npz file: a.npy holds Python objects, which are pickles. "
        "Write it with numpy.savez."
    )
    assert not mark.exists()


def flipped(data: bytes) -> bytes:
    place = data.index(array(np.arange(8))) + 140
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut off"),
        pytest.param(lambda data: data[:-3], id="end missing"),
        pytest.param(flipped, id="flipped"),
        pytest.param(lambda data: data.replace(b"\x93NUMPY", b"\x93NUMPX"), id="no array"),
        pytest.param(lambda data: data.replace(b"'descr'", b"'descx'"), id="no type"),
        pytest.param(lambda data: data.replace(b"(8,)", b"(-1)"), id="negative shape"),
    ],
)
def test_what_is_damaged_is_reported(tmp_path: Path, damage: Any) -> None:
    path = write(tmp_path / "x.npz", a=array(np.arange(8)))
    path.write_bytes(damage(path.read_bytes()))
    got = message_of(path)
    assert got.startswith("The data x.npz cannot be read as an .npz file: ")
    assert got.endswith(". Write it with numpy.savez.")


def test_a_header_that_says_more_than_there_is_makes_no_room(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.npz", a=header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }") + bytes(8)
    )
    assert message_of(path) == (
        "The data x.npz cannot be read as an .npz file: a.npy says the shape (1000000000000,) and holds 136 bytes. "
        "Write it with numpy.savez."
    )


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npz", compression=zipfile.ZIP_DEFLATED, a=bytes(70 << 20))
    got = message_of(path)
    assert got.startswith("The data x.npz holds ")
    assert got.endswith(
        f" bytes that would unpack to {70 << 20}: that is no data. Write it with numpy.savez, uncompressed."
    )


def test_a_folder_is_no_archive(tmp_path: Path) -> None:
    assert message_of(tmp_path) == "The data x.npz is no regular file. Write it with numpy.savez."
