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
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

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

_ADVICE: Final = "Export the model again with torch.export.save, without custom objects."


def load_program(path: Path | str, title: str = "") -> Any:
    """Returns the ExportedProgram in a file; nothing in the file runs.

    Args:
        path: A `.pt2` file: the user's, or one of edgekit's own cache.
        title: What the user wrote, for messages; the path without it.

    Raises:
        ModelError: it is damaged, holds what is not listed here, or torch cannot read it.
    """
    import torch

    title = title or str(path)
    clean = io.BytesIO()
    _write_clean(_read_members(Path(path), title), title, clean)
    clean.seek(0)
    # torch logs the whole traceback of an archive that it cannot read, beside the exception.
    logging.getLogger("torch.export").setLevel(logging.CRITICAL)
    try:
        return torch.export.load(clean)
    except Exception as error:  # anything from RuntimeError to KeyError, whatever the deserializer trips over
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{title} cannot be read as an exported program: {first}\n"
            f"It is damaged, or a torch version other than {torch.__version__.split('+')[0]} wrote it. "
            "Save it again with torch.export.save(torch.export.export(model, example_inputs), path)."
        ) from error


def _read_members(path: Path, title: str) -> dict[str, bytes]:
    """Returns the members that a program is read from, by their name below the archive's folder."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  one call, of links' targets
            raise ModelError(f"{title} is no regular file; expected an archive that torch.export.save wrote.")
        with zipfile.ZipFile(path) as archive:
            return _checked_members(archive, title)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError) as error:
        if str(error).startswith("Bad CRC-32"):
            part = str(error).partition("for file ")[2].strip("'")
            raise ModelError(
                f"{title} is damaged: {part} inside it fails its checksum. Copy or save the file again."
            ) from error
        size = path.stat().st_size if path.exists() else 0
        raise ModelError(
            f"{title} is damaged: it is no complete zip archive ({size} bytes). Copy or save the file again."
        ) from error


def _checked_members(archive: zipfile.ZipFile, title: str) -> dict[str, bytes]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if not any(name.endswith("/archive_format") for name in names):
        raise ModelError(_wrong_layout(title, names))
    root = names[0].partition("/")[0] + "/"
    seen: set[str] = set()
    found: dict[str, bytes] = {}
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
            found[member] = archive.read(info)
    if missing := [member for member in _NEEDED if member not in found]:
        raise ModelError(
            f"{title} holds no {missing[0]}: it is no archive that torch.export.save of torch 2.9 or newer wrote. "
            "Load it where it came from and save it again with torch.export.save."
        )
    for member, value in _FIXED.items():
        if found.get(member, value).strip() != value:
            raise ModelError(f"{title}: its {member} is {found[member][:20]!r}; expected {value!r}. {_ADVICE}")
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


def _write_clean(members: Mapping[str, bytes], title: str, target: io.BytesIO) -> None:
    """Writes an archive of the checked parts, and of nothing else."""
    import json

    from torch.export.pt2_archive import PT2ArchiveWriter

    program = _checked_json(members, _PROGRAM, check_program, title)
    # torch runs guards as Python; those on shapes it makes anew from the shapes.
    program["guards_code"] = []
    with PT2ArchiveWriter(target) as writer:
        for config, (folder, prefix) in _PAYLOADS.items():
            parts = _checked_json(members, config, check_payload_config, title)
            _write_payloads(writer, members, parts["config"], (folder, prefix), title)
            writer.write_string(config, json.dumps(parts))
        writer.write_string(_PROGRAM, json.dumps(program))
        writer.write_bytes(_SAMPLES, _clean_samples(members[_SAMPLES], title))


def _checked_json(
    members: Mapping[str, bytes], name: str, check: Callable[[object], None], title: str
) -> dict[str, Any]:
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
    writer: Any, members: Mapping[str, bytes], parts: Mapping[str, Any], place: tuple[str, str], title: str
) -> None:
    """Writes the raw bytes of each tensor. One without bytes has no element: torch would make one of any size."""
    folder, prefix = place
    written: set[str] = set()
    for name, part in parts.items():
        member = f"{folder}/{part['path_name']}"
        if not part["path_name"].startswith(prefix) or member not in members:
            raise ModelError(f"{title}: the tensor {name} lies in {member}, which is not in the archive. {_ADVICE}")
        if not members[member] and all(size["as_int"] for size in part["tensor_meta"]["sizes"]):
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
