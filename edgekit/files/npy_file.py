"""Arrays in .npy files, checked: sample folders may come from elsewhere."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load_rows(path: Path, rows: int, *, mapped: bool = False) -> NDArray[Any]:
    """Returns the array in an `.npy` file with one entry a row.

    Raises:
        DataError: it cannot be read (see `read_array`), or holds another number of rows.
    """
    found = read_array(path, mapped=mapped)
    if found.ndim == 0 or len(found) != rows:
        raise DataError(f"{path} has the shape {found.shape}; expected {rows} rows. Make the samples anew.")
    return found


def read_array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """Returns the array in an `.npy` file, checked.

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


def checked_indexes(path: Path, found: NDArray[Any], expected: str, *, is_right: bool) -> NDArray[np.int64]:
    """Returns an array of counts or rows that was found to be right.

    Raises:
        DataError: it is not, or holds no integers.
    """
    if not is_right or found.dtype.kind not in "iu" or (found.size and found.min() < 0):
        raise DataError(f"{path} does not fit its samples: expected {expected}. Make the samples anew.")
    return found
