"""Files of text, JSON and TOML, read with a bound: what is no file, too large, too deep or damaged is one message.

Every reader of edgekit comes through here, so that a FIFO does not hang it, `/dev/zero` does not fill the memory, and a
number of 5,000 digits or a thousand brackets is a sentence and no traceback.
"""

from __future__ import annotations

import json
import math
import os
import stat
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from edgekit.errors import EdgekitError, InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECORD_BYTES: Final = 256 << 20
"""Records that edgekit wrote: `details.json` of a graph of 10,000 operators takes 20 MB."""

SETTINGS_BYTES: Final = 4 << 20
"""Files that people write: a task file, a profile, a list of labels."""


def read_bytes(path: Path, error: type[EdgekitError] = InputError, *, limit_bytes: int = RECORD_BYTES) -> bytes:
    """Returns the content of a regular file.

    Args:
        path: What to read; links are followed.
        error: What to raise.
        limit_bytes: The most that is read.

    Raises:
        FileNotFoundError: nothing is there: callers know best what to say then.
        EdgekitError: no regular file (a folder, a FIFO, a device), larger than the limit, or unreadable.
    """
    try:
        # A FIFO without a writer would block open() forever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise error(f"{path} is {_kind(mode)}; expected a file.")
            data = stream.read(limit_bytes + 1)
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise error(f"{path} is a folder; expected a file.") from None
    except (OSError, ValueError) as cause:
        reason = (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
        raise error(f"{path} cannot be read: {reason}.") from cause
    if len(data) > limit_bytes:
        raise error(f"{path} has more than {limit_bytes >> 20} MiB; expected a smaller file.")
    return data


def read_text(path: Path, error: type[EdgekitError] = InputError, *, limit_bytes: int = RECORD_BYTES) -> str:
    """Returns the content of a UTF-8 text file, line ends as they stand.

    Raises:
        FileNotFoundError: nothing is there.
        EdgekitError: as `read_bytes`, or not UTF-8.
    """
    try:
        return read_bytes(path, error, limit_bytes=limit_bytes).decode("utf-8")
    except UnicodeDecodeError as cause:
        raise error(f"{path} is not text: the byte at position {cause.start} is not UTF-8. Save it as UTF-8.") from None


def read_json(path: Path, error: type[EdgekitError] = InputError) -> Any:
    """Returns the value in a JSON file.

    Raises:
        FileNotFoundError: nothing is there.
        EdgekitError: as `read_text`, or not JSON (see `parse_json`).
    """
    return parse_json(read_text(path, error), str(path), error)


def parse_json(text: str | bytes, title: str, error: type[EdgekitError] = InputError) -> Any:
    """Returns the value of a JSON text; NaN, infinities and doubled keys are no JSON.

    Args:
        text: The text; bytes are UTF-8.
        title: What it is, for messages.
        error: What to raise.

    Raises:
        EdgekitError: not JSON, nested too deep, or a number that is too long.
    """
    try:
        found = json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_without_doubles,
        )
        _check_characters(text, found)
    except RecursionError:
        raise error(f"{title} is not valid JSON: it is nested too deep.") from None
    except (ValueError, UnicodeDecodeError) as cause:
        raise error(f"{title} is not valid JSON: {_reason(cause)}.") from None
    return found


def read_toml(path: Path, error: type[EdgekitError] = InputError) -> dict[str, Any]:
    """Returns the tables of a TOML file.

    Raises:
        FileNotFoundError: nothing is there.
        EdgekitError: as `read_text`, or not TOML, nested too deep, or a number that is too long.
    """
    text = read_text(path, error, limit_bytes=SETTINGS_BYTES)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise error(f"{path} is not valid TOML: it is nested too deep.") from None
    except ValueError as cause:  # TOMLDecodeError is one; a number of 5,000 digits is another
        raise error(f"{path} is not valid TOML: {_reason(cause)}. Mend that place.") from None


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "no regular file"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:60]} is larger than any number that a computer holds")
    return number


def _check_characters(text: str | bytes, found: object) -> None:
    """Raises ValueError where a text is no Unicode: half of a pair, which JSON can spell and no file can hold."""
    if (b"\\u" in text) if isinstance(text, bytes) else ("\\u" in text):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"a text holds half of a character, {error.object[error.start]!a}") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {json.dumps(doubled[:60])} stands there twice")
    return found


def _reason(cause: ValueError) -> str:
    text = str(cause).rstrip(".")
    return "a number has too many digits" if text.startswith("Exceeds the limit") else text
