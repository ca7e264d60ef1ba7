"""Standard output and error, fit for whatever they lead to: a closed descriptor, a reader that left, ASCII."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any, Final, final

from edgekit.plain_text import log_text

_NAMES: Final = ("stdin", "stdout", "stderr")


@final
class _WithoutReader(io.FileIO):
    """A descriptor to which writing goes on when its reader has left: the exit code is still wanted.

    Args:
        descriptor: It stays open.
        must_hold: True raises where it cannot take what is written (a full disk); for standard error, where that would
            have to be said, False.
    """

    def __init__(self, descriptor: int, *, must_hold: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._must_hold = must_hold

    def write(self, data: Any, /) -> int:
        """Writes, or drops what nobody reads."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            if not self._must_hold:
                return len(data)
            # Said once: what is buffered is written again at the end.
            self._must_hold = False
            raise OSError(error.errno, error.strerror, "standard output") from error


def prepare_streams() -> None:
    """Puts streams in place that take any text and survive their readers. What is closed leads to nowhere.

    Streams that somebody else has put there (a test, a notebook) are left alone.
    """
    for number, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            _open_nowhere(number, name)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _replaced(sys.stdout, must_hold=True)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _replaced(sys.stderr, must_hold=False)


def say(text: str) -> None:
    """Writes a message for people to standard error."""
    sys.stderr.write(log_text(text) + "\n")
    sys.stderr.flush()


def _replaced(stream: Any, *, must_hold: bool) -> Any:
    stream.flush()
    raw = _WithoutReader(stream.fileno(), must_hold=must_hold)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )


def _open_nowhere(number: int, name: str) -> None:
    """Opens a closed standard stream: the next file that is opened would get its number, and take what is printed."""
    try:
        os.fstat(number)
    except OSError:
        handle = os.open(os.devnull, os.O_RDWR)
        if handle != number:
            os.dup2(handle, number)
            os.close(handle)
    mode = "r" if name == "stdin" else "w"
    setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  it lasts until the process ends
