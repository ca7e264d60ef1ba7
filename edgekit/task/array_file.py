"""Reading `.npz` files that somebody made: no pickle, and one message for what is damaged or would fill the memory."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO, TYPE_CHECKING, Any, Final

from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_RATIO: Final = 300
_SMALL_BYTES: Final = 64 << 20
"""Archives that unpack to no more are read whatever their ratio: constant data compresses well."""


def read_npz(path: Path, title: str) -> dict[str, NDArray[Any]]:
    """Returns the arrays in an `.npz` file by name.

    Args:
        path: The file.
        title: What it is, for messages: "The calibration data cal.npz".

    Raises:
        DataError: no regular file, damaged, with pickled objects, or one that unpacks to far more than it holds.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{title} is no regular file. Write it with numpy.savez.")
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, title)
            return {_name(info.filename): _read_array(archive, info) for info in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise _unreadable(title, error) from error
    except (OSError, ValueError, EOFError, NotImplementedError, TypeError, MemoryError, RuntimeError) as error:
        raise _unreadable(title, error) from error
    except (zlib.error, OverflowError, SyntaxError, TokenError) as error:  # the last two of a header, which is Python
        raise _unreadable(title, error) from error


def _unreadable(title: str, error: BaseException) -> DataError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return DataError(f"{title} cannot be read as an .npz file: {first}. Write it with numpy.savez.")


def _check_sizes(archive: zipfile.ZipFile, title: str) -> None:
    unpacked = sum(info.file_size for info in archive.infolist())
    packed = sum(info.compress_size for info in archive.infolist())
    if unpacked > _SMALL_BYTES and unpacked > _LARGEST_RATIO * packed:
        raise DataError(
            f"{title} holds {packed} bytes that would unpack to {unpacked}: that is no data. "
            "Write it with numpy.savez, uncompressed."
        )


def _name(member: str) -> str:
    return member.removesuffix(".npy")


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    import numpy as np

    with archive.open(info) as stream:
        _check_header(stream, info)
    with archive.open(info) as stream:
        found: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read()  # the checksum is compared at the end
    return found


def _check_header(stream: IO[bytes], info: zipfile.ZipInfo) -> None:
    """Checks that an array is as large as its member: NumPy makes room for what the header says before it reads."""
    import math

    import numpy as np

    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds Python objects, which are pickles")
    if math.prod(shape) * dtype.itemsize > info.file_size:
        raise ValueError(f"{info.filename} says the shape {shape} and holds {info.file_size} bytes")
