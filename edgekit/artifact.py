"""An artifact: a file (or a package folder) that a device's runtime loads, with its facts."""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from edgekit.errors import ArtifactError
from edgekit.external_data import external_files
from edgekit.formats.table import all_formats
from edgekit.model import ArtifactState, TensorSpec

_CHUNK_BYTES: Final = 1 << 20


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A converted model on disk.

    Attributes:
        path: File (an .onnx may have external data beside it), or folder for a Core ML package.
        runtime: tflite, onnx, executorch or coreml.
        precision: The recipe's name: fp32, fp16, int8-static and so on; "unknown" for a file made elsewhere.
        size_bytes: Sum over its files.
        download_bytes: Deflated, as an app store or an over-the-air update sends it.
        sha256: SHA-256 of the contents; of names and contents, sorted, of what a package or external data adds.
        inputs: As the runtime names them, in call order.
        outputs: As the runtime names them, in the float model's order.
        metadata: What was embedded in the file.
        states: What it takes from one call to the next.
        signatures: Names of its functions, where the format has several in a file: signatures, methods.
        signature: The one of them that the rest is about; "" where there is no choice.
    """

    path: Path
    runtime: str
    precision: str
    size_bytes: int
    download_bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    states: tuple[ArtifactState, ...] = ()
    signatures: tuple[str, ...] = ()
    signature: str = ""

    @property
    def data_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that data brings: all but the states'."""
        kept = {state.input for state in self.states}
        return tuple(spec for spec in self.inputs if spec.name not in kept)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form that CI users rely on (see docs on `--json`)."""
        return {
            "path": str(self.path),
            "runtime": self.runtime,
            "precision": self.precision,
            "size_bytes": self.size_bytes,
            "download_bytes": self.download_bytes,
            "sha256": self.sha256,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "metadata": dict(self.metadata),
            "states": [state.to_json() for state in self.states],
            "signatures": list(self.signatures),
            "signature": self.signature,
        }


def runtime_of(path: Path) -> str:
    """Returns the name of the format whose runtime loads `path`, by its suffix.

    Raises:
        ArtifactError: nothing there, or a suffix that no runtime loads.
    """
    by_suffix = {suffix: one.name for one in all_formats() for suffix in one.suffixes}
    if not path.exists():
        raise ArtifactError(f"{path}: no such file. Give the path of an artifact: {', '.join(by_suffix)}.")
    runtime = by_suffix.get(path.suffix.lower())
    if runtime is None:
        raise ArtifactError(
            f'{path}: no runtime loads files that end in "{path.suffix}"; expected one of {", ".join(by_suffix)}.'
        )
    return runtime


def measure_files(path: Path) -> tuple[int, int, str]:
    """Returns (size in bytes, deflated size in bytes, SHA-256) of everything that belongs to an artifact.

    That is a file with the external data that it names, or all files of a package folder, behind links too. Deflate is
    zlib's level 6, what app stores' ZIP archives use; each file is compressed by itself, as in a ZIP.

    Raises:
        ArtifactError: a part is missing, or lies outside the artifact's folder.
    """
    return _read_files(path, deflates=True)


def hash_files(path: Path) -> tuple[int, str]:
    """Returns (size in bytes, SHA-256) of everything that belongs to an artifact; deflates nothing.

    Raises:
        ArtifactError: a part is missing, or lies outside the artifact's folder.
    """
    size, _, digest = _read_files(path, deflates=False)
    return size, digest


def _read_files(path: Path, *, deflates: bool) -> tuple[int, int, str]:
    size = deflated = 0
    digest = hashlib.sha256()
    for name, file in artifact_files(path):
        if name:
            digest.update(name.encode() + b"\0")
        compressor = zlib.compressobj(level=6, wbits=-15)
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                size += len(chunk)
                digest.update(chunk)
                if deflates:
                    deflated += len(compressor.compress(chunk))
        deflated += len(compressor.flush()) if deflates else 0
    return size, deflated, digest.hexdigest()


def artifact_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yields (name, file) of everything that belongs to an artifact; the name of a file that is the artifact is "".

    Raises:
        ArtifactError: a part is missing, or lies outside the artifact's folder.
    """
    if path.is_dir():
        yield from ((file.relative_to(path).as_posix(), file) for file in sorted(_inside(path)))
        return
    yield "", path
    for name in external_files(path):
        yield name, _beside(path, name)


def _inside(folder: Path) -> Iterator[Path]:
    """Yields all files under a folder, behind links too: a runtime reads them. A link in a circle is followed once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(Path(place) / name) not in seen]
        yield from (file for name in files if (file := Path(place) / name).is_file())


def _beside(path: Path, name: str) -> Path:
    """Returns the file with external data that an artifact names."""
    file = path.parent / name
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ArtifactError(
            f'{path}: it names weights in "{name}", outside its own folder, where no app would have them. '
            "Save it with its weights beside it."
        )
    if not file.is_file():
        raise ArtifactError(f"{path}: it names weights in {name}, and there is no such file beside it. Copy it there.")
    return file


def remove_artifact(path: Path) -> None:
    """Removes an artifact, file or package folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
