"""The weight file of a package (`weights/weight.bin`): constants too large for the protobuf.

Layout (read off files that coremltools writes; little endian): a 64-byte file header (blob count, version), then
blobs, each with a 64-byte header (sentinel, format code, size in bytes, offset of the data, unused bits at the end)
and its data aligned to 64 bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.number_formats import NumberFormat, elements_from_bytes

SENTINEL: Final = 0xDEADBEEF
BLOB_HEADER: Final = struct.Struct("<IIQQ")
REMEDY: Final = "The package is corrupt: export it again."


@final
class WeightFile:
    """One weight file, mapped into memory.

    Args:
        path: The file.

    Raises:
        ArtifactError: The file is missing or empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise ArtifactError(
                f"{path}: the package's weight file is missing. Copy the whole .mlpackage folder, or export it again."
            )
        size = path.stat().st_size
        if size == 0:
            raise ArtifactError(f"{path}: the weight file is empty. {REMEDY}")
        self._bytes: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")

    def read(self, offset: int, number_format: NumberFormat, count: int, *, constant: str) -> NDArray[np.generic]:
        """Returns the elements of one blob, flat.

        Args:
            offset: Where the blob's header starts, in bytes.
            number_format: The format that the protobuf declares.
            count: Elements that the protobuf declares.
            constant: The constant's name, for messages.

        Raises:
            ArtifactError: The file ends before the blob does, or the blob is not what the protobuf declares.
        """
        header = self._slice(offset, BLOB_HEADER.size, constant)
        sentinel, code, size, start = BLOB_HEADER.unpack(header)
        if sentinel != SENTINEL:
            raise ArtifactError(
                f'{self._path}: no blob starts at byte {offset}, where constant "{constant}" should be '
                f"(0x{sentinel:08X} instead of 0x{SENTINEL:08X}). {REMEDY}"
            )
        if number_format.blob_code != code:
            raise ArtifactError(
                f'{self._path}: constant "{constant}" is declared as {number_format.name} '
                f"(blob format {number_format.blob_code}) and stored as blob format {code}. {REMEDY}"
            )
        raw = self._slice(start, size, constant)
        try:
            return elements_from_bytes(raw, number_format, count)
        except ValueError as error:
            raise ArtifactError(f'{self._path}: constant "{constant}" is too short: {error}. {REMEDY}') from error

    def _slice(self, start: int, size: int, constant: str) -> bytes:
        available = int(self._bytes.size)
        if start + size > available:
            raise ArtifactError(
                f'{self._path}: the file ends at byte {available}, but constant "{constant}" needs bytes {start} to '
                f"{start + size}. The file is truncated: copy or export the package again."
            )
        return self._bytes[start : start + size].tobytes()
