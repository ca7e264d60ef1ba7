"""The file that holds a traceback: people get one sentence and its name."""

from __future__ import annotations

import os
import tempfile


def keep_traceback(text: str) -> str:
    """Writes a traceback to a file in the temporary folder, which stays there. Returns where it is, in words.

    Nothing may go wrong in telling what went wrong: where no file can be written, the words say so.
    """
    try:
        handle, path = tempfile.mkstemp(prefix="edgekit-fault-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    except OSError as error:
        return f"its traceback could not be written to a file ({error.strerror}): {text.strip().splitlines()[-1]}"
    return f"its traceback is in {path}"
