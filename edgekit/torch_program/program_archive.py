"""Reading a `.pt2` archive without running anything from it.

`torch.export.load` unpickles parts of an archive without restriction, evaluates shape expressions and guards as
Python, writes names into source code that it runs, imports what container types name, loads native libraries, and
falls back to older layouts. It also finds members under other spellings than Python's zip reader does. So torch never
sees a file: the members are read here, each must be of a kind that is listed, and torch reads a clean archive that is
written anew from the parts that were checked.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from edgekit.errors import ModelError
from edgekit.files.bounded_reading import parse_json
from edgekit.torch_program.program_schema import SchemaError, check_payload_config, check_program

_MODEL: Final = "model"
_PAYLOADS: Final = {
    f"data/weights/{_MODEL}_weights_config.json": ("data/weights", "weight_"),
    f"data/constants/{_MODEL}_constants_config.json": ("data/constants", "tensor_"),
}
_PROGRAM: Final = f"models/{_MODEL}.json"
_SAMPLES: Final = f"data/sample_inputs/{_MODEL}.pt"
_FIXED: Final[Mapping[str, bytes]] = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}
_NEEDED: Final = ("archive_format", "archive_version", _PROGRAM, _SAMPLES, *_PAYLOADS)
_KNOWN: Final = re.compile(
    r"archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id|\.format_version|"
    r"\.storage_alignment|extra/[\w. -]+(?:/[\w. -]+)*|models/\w+\.json|data/sample_inputs/\w+\.pt|"
    r"data/weights/(?:weight_[0-9]+|\w+_weights_config\.json)|"
    r"data/constants/(?:tensor_[0-9]+|\w+_constants_config\.json)",
    re.ASCII,
)
"""Members below the archive's folder. Other programs than "model" and extra files are let be, and never read."""

_ZIP_FAULTS: Final = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError)
"""What zipfile raises on files that are none, or no complete ones."""

_ADVICE: Final = "Export the model again with torch.export.save, without custom objects."


def load_program(path: Path | str, title: str = "") -> Any:
    """Returns the ExportedProgram in a file; nothing in the file runs.

    Args:
        path: A `.pt2` file: the user's, or one of edgekit's own cache.
        title: What the user wrote, for messages; the path without it.

    Raises:
        ModelError: it is damaged, holds what is not listed here, or torch cannot read it.
    """
    title = title or str(path)
    with tempfile.TemporaryDirectory() as folder:
        # A file: torch reads it tensor by tensor, where a buffer would be the weights once more.
        clean = Path(folder) / "clean.pt2"
        with _opened(Path(path), title) as members:
            _write_clean(members, title, clean)
        return _loaded(clean, title)


def _loaded(clean: Path, title: str) -> Any:
    """Returns the program in an archive of checked parts.

    Raises:
        ModelError: torch cannot read it.
    """
    import torch

    # torch logs the whole traceback of an archive that it cannot read, beside the exception.
    logging.getLogger("torch.export").setLevel(logging.CRITICAL)
    try:
        return torch.export.load(str(clean))
    except Exception as error:  # anything from RuntimeError to KeyError, whatever the deserializer trips over
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{title} cannot be read as an exported program: {first}\n"
            f"It is damaged, or a torch version other than {torch.__version__.split('+')[0]} wrote it. "
            "Save it again with torch.export.save(torch.export.export(model, example_inputs), path)."
        ) from error


@final
class _Members:
    """The members of an archive by their name below its folder, read when they are wanted: weights one at a time.

    Args:
        archive: Stays open meanwhile.
        infos: Member to its place.
        damaged: Returns the error to raise for one that zipfile raised.
    """

    def __init__(
        self,
        archive: zipfile.ZipFile,
        infos: Mapping[str, zipfile.ZipInfo],
        damaged: Callable[[BaseException], ModelError],
    ) -> None:
        self._archive, self._infos, self._damaged = archive, infos, damaged

    def __contains__(self, member: str) -> bool:
        return member in self._infos

    def __getitem__(self, member: str) -> bytes:
        try:
            return self._archive.read(self._infos[member])
        except _ZIP_FAULTS as error:
            raise self._damaged(error) from error

    def size(self, member: str) -> int:
        """Returns the bytes of a member."""
        return self._infos[member].file_size


@contextmanager
def _opened(path: Path, title: str) -> Generator[_Members, None, None]:
    """Yields the members that a program is read from.

    Raises:
        ModelError: it is no archive, is damaged, or holds what is not listed here.
    """

    def damaged(error: BaseException) -> ModelError:
        if str(error).startswith("Bad CRC-32"):
            part = str(error).partition("for file ")[2].strip("'")
            return ModelError(f"{title} is damaged: {part} inside it fails its checksum. Copy or save the file again.")
        size = path.stat().st_size if path.exists() else 0
        return ModelError(
            f"{title} is damaged: it is no complete zip archive ({size} bytes). Copy or save the file again."
        )

    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  one call, of links' targets
            raise ModelError(f"{title} is no regular file; expected an archive that torch.export.save wrote.")
        archive = zipfile.ZipFile(path)
    except _ZIP_FAULTS as error:
        raise damaged(error) from error
    with archive:
        members = _Members(archive, _known_members(archive, title), damaged)
        for member, value in _FIXED.items():
            if member in members and members[member].strip() != value:
                raise ModelError(f"{title}: its {member} is {members[member][:20]!r}; expected {value!r}. {_ADVICE}")
        yield members


def _known_members(archive: zipfile.ZipFile, title: str) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if not any(name.endswith("/archive_format") for name in names):
        raise ModelError(_wrong_layout(title, names))
    root = names[0].partition("/")[0] + "/"
    seen: set[str] = set()
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        member = info.filename.removeprefix(root)
        if not info.filename.startswith(root) or not _KNOWN.fullmatch(member) or ".." in member:
            raise ModelError(
                f"{title} holds the member {info.filename[:80]!r}, which torch.export.save does not write for a model "
                f"of tensors; loading it could run code, so edgekit does not. {_ADVICE}"
            )
        if info.filename.lower() in seen:
            raise ModelError(f"{title} holds the member {info.filename[:80]!r} twice. {_ADVICE}")
        seen.add(info.filename.lower())
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise ModelError(f"{title}: its member {info.filename[:80]!r} is compressed or encrypted. {_ADVICE}")
        if not member.startswith("extra/"):
            found[member] = info
    if missing := [member for member in _NEEDED if member not in found]:
        raise ModelError(
            f"{title} holds no {missing[0]}: it is no archive that torch.export.save of torch 2.9 or newer wrote. "
            "Load it where it came from and save it again with torch.export.save."
        )
    return found


def _wrong_layout(title: str, names: list[str]) -> str:
    if any(name.endswith("data.pkl") for name in names):
        return (
            f"{title} is a pickle that torch.save or torch.jit.save wrote, and edgekit loads none. "
            "Save the model with torch.export.save, or give its factory: model.py:build."
        )
    return (
        f"{title} is no archive that torch.export.save of torch 2.9 or newer wrote. Load it where it came from and "
        "save it again with torch.export.save."
    )


def _write_clean(members: _Members, title: str, target: Path) -> None:
    """Writes an archive of the checked parts, and of nothing else."""
    import json

    from torch.export.pt2_archive import PT2ArchiveWriter

    program = _checked_json(members, _PROGRAM, check_program, title)
    # torch runs guards as Python; those on shapes it makes anew from the shapes.
    program["guards_code"] = []
    with PT2ArchiveWriter(str(target)) as writer:
        for config, (folder, prefix) in _PAYLOADS.items():
            parts = _checked_json(members, config, check_payload_config, title)
            _write_payloads(writer, members, parts["config"], (folder, prefix), title)
            writer.write_string(config, json.dumps(parts))
        writer.write_string(_PROGRAM, json.dumps(program))
        writer.write_bytes(_SAMPLES, _clean_samples(members[_SAMPLES], title))


def _checked_json(members: _Members, name: str, check: Callable[[object], None], title: str) -> dict[str, Any]:
    data = parse_json(members[name], f"{title}: its {name}", ModelError)
    try:
        check(data)
    except SchemaError as fault:
        raise ModelError(
            f"{title} holds what this edgekit does not know, and loading it could run code ({name}): {fault}. {_ADVICE}"
        ) from None
    except RecursionError:
        raise ModelError(f"{title}: its {name} is nested too deep. {_ADVICE}") from None
    found: dict[str, Any] = data
    return found


def _write_payloads(
    writer: Any, members: _Members, parts: Mapping[str, Any], place: tuple[str, str], title: str
) -> None:
    """Writes the raw bytes of each tensor. One without bytes has no element: torch would make one of any size."""
    folder, prefix = place
    written: set[str] = set()
    for name, part in parts.items():
        member = f"{folder}/{part['path_name']}"
        if not part["path_name"].startswith(prefix) or member not in members:
            raise ModelError(f"{title}: the tensor {name} lies in {member}, which is not in the archive. {_ADVICE}")
        if not members.size(member) and all(size["as_int"] for size in part["tensor_meta"]["sizes"]):
            raise ModelError(f"{title}: the tensor {name} has no values. {_ADVICE}")
        if member not in written:
            writer.write_bytes(member, members[member])
            written.add(member)


def _clean_samples(data: bytes, title: str) -> bytes:
    """Returns the example inputs, saved anew: torch would load them without restriction where it fails with one."""
    import torch

    if not data:
        return data  # a program without example inputs
    try:
        found = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        raise ModelError(
            f"{title} holds a pickled object ({_SAMPLES}) that is more than tensors; loading it could "
            f"run any code, so edgekit does not. {_ADVICE}"
        ) from error
    buffer = io.BytesIO()
    torch.save(found, buffer)
    return buffer.getvalue()
