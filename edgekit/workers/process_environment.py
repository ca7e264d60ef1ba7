"""What a worker process finds around it: the same everywhere, so that the same work gives the same bytes."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Final

import edgekit

_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)

# Python puts the current folder first on the path of `-c` and `-m`, where a file of the user's (`json.py`, `onnx.py`)
# would be imported in the place of a package. -P takes it away, from Python 3.11 on; this does the same. The second
# argument is where this process found edgekit, which the path of a checkout that is not installed does not hold.
_START: Final = """
import sys
sys.path[:] = [folder for folder in sys.path if folder]
sys.path.insert(0, sys.argv.pop())
import edgekit
del sys.path[0]
from edgekit.workers.worker import start
start()
"""


def process_environment(folder: Path, threads: int) -> dict[str, str]:
    """Returns variables for a process that makes numbers or files.

    Args:
        folder: Where what it leaves in the temporary folder goes. Whoever starts it removes it.
        threads: That libraries may compute with: with other numbers, sums are added up in another order.
    """
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        # Both may give fewer threads than there are to have, by the machine's load.
        "OMP_DYNAMIC": "FALSE",
        "MKL_DYNAMIC": "FALSE",
        "PYTHONHASHSEED": "0",
        "PYTHONSAFEPATH": "1",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(temporary),
        **_user(temporary),
    }


def _user(home: Path) -> dict[str, str]:
    """Returns a home folder and a name for a user who has none: an id without an entry, as in containers.

    Frameworks ask for both while they are imported, and fail where there is none.
    """
    try:
        Path.home()
        getpass.getuser()
    except (RuntimeError, KeyError, OSError):
        return {"HOME": str(home), "USER": f"user-{os.geteuid()}"}
    return {}


def python_command(*arguments: str) -> list[str]:
    """Returns the command that starts a worker process, with its arguments."""
    return [sys.executable, "-c", _START, *arguments, str(Path(edgekit.__file__).resolve().parents[1])]
