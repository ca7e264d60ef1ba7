"""Digests of a folder's files, written into the folder, and the check that they still hold."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edgekit.errors import InputError
from edgekit.files.bounded_reading import parse_json

DIGESTS_NAME: Final = ".digests.json"

# Large enough that reading costs little beside hashing, small enough to stay in a processor's cache.
_BLOCK_BYTES: Final = 1 << 20


def write_digests(folder: Path) -> None:
    """Writes sizes and digests of all files below `folder` into it.

    Raises:
        OSError: a file cannot be read, or is neither a file nor a folder.
    """
    found = {name: [path.lstat().st_size, file_digest(path)] for name, path in _files(folder)}
    (folder / DIGESTS_NAME).write_text(json.dumps({"files": found}), encoding="utf-8")


def find_damage(folder: Path) -> str | None:
    """Returns in words what is wrong with a folder that `write_digests` has seen, or None if it is as it was then.

    All bytes are read: sizes and times say nothing about a disk that forgets or a program that writes in place.
    """
    try:
        expected = read_digests(folder)
        if expected is None:
            return "its list of digests cannot be read"
        found = dict(_files(folder))
        for name in sorted({*expected, *found}):
            if name not in found:
                return f"{name} is missing"
            if name not in expected:
                return f"{name} does not belong there"
            size, digest = expected[name]
            if found[name].lstat().st_size != size or file_digest(found[name]) != digest:
                return f"{name} has changed"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    return None


def read_digests(folder: Path) -> Mapping[str, tuple[int, str]] | None:
    """Returns the sizes and digests that `write_digests` wrote, by name; None where they are missing or unreadable.

    Raises:
        OSError: the list is there and cannot be read.
    """
    try:
        with _open(folder / DIGESTS_NAME) as stream:
            return parse_digests(stream.read())
    except FileNotFoundError:
        return None


def parse_digests(text: bytes) -> Mapping[str, tuple[int, str]] | None:
    """Returns the sizes and digests in a list's text, None where it is none."""
    try:
        data: Any = parse_json(text, DIGESTS_NAME)
        return {str(name): (int(size), str(digest)) for name, (size, digest) in data["files"].items()}
    except (InputError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields (name relative to `folder`, path) of each file below it. Links are none, and an error.

    Raises:
        OSError: a folder cannot be read, or something is neither a file nor a folder.
    """
    pending = [folder]
    while pending:
        for item in sorted(pending.pop().iterdir()):
            mode = item.lstat().st_mode
            if stat.S_ISDIR(mode):
                pending.append(item)
            elif not stat.S_ISREG(mode):
                raise OSError(0, "neither a file nor a folder", str(item))
            elif item != folder / DIGESTS_NAME:
                yield item.relative_to(folder).as_posix(), item


def _open(path: Path) -> io.BufferedReader:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file, which is no link."""
    digest = hashlib.sha256()
    block = bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    with _open(path) as stream:
        while count := stream.readinto(block):
            digest.update(view[:count])
    return digest.hexdigest()
