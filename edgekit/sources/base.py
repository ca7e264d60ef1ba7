"""The contract of a source. Implement `Source`, never override `capture`."""

from __future__ import annotations

import importlib.util
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, final

from edgekit.errors import MissingDependencyError, ResourceError, WorkerError
from edgekit.model import CapturedModel, SourceKind
from edgekit.torch_program.facts import Capture
from edgekit.workers.worker import Progress

FORMATS: Final = ("tflite", "onnx", "executorch", "coreml")
"""The formats that a source says whether it can reach."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """What to capture, and where to.

    Attributes:
        source: What the user wrote: `model.py:build`, `net.onnx`.
        base: Folder that relative paths start from: the task file's.
        output: Folder for the captured file and its `model.json`. Made if it is missing; what it held is replaced.
        name: Short name for files and tables.
        example_inputs: `file.py:function` that returns a tuple of tensors with batch 1; None where the source knows.
        calibration: Where example inputs come from if there are none: its first sample.
        metadata: Labels, preprocessing and provenance that go into the artifacts.
        as_torch: Capture an ONNX file as an exported torch program, which more formats can be made from.
        embedded_default: The model is the one that edgekit takes where none is given.
        file: Where the source lies, where `source` is only what it is called; None where it is the path itself.
    """

    source: str
    base: Path
    output: Path
    name: str
    example_inputs: str | None = None
    calibration: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    as_torch: bool = False
    embedded_default: bool = False
    file: Path | None = None

    @property
    def path(self) -> Path:
        """The source as a path; only where it is a file or a folder."""
        return self.file or self.base / self.source

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form: the payload of `edgekit.sources.capture:run`."""
        return {
            "source": self.source,
            "base": str(self.base),
            "output": str(self.output),
            "name": self.name,
            "example_inputs": self.example_inputs,
            "calibration": self.calibration,
            "metadata": dict(self.metadata),
            "as_torch": self.as_torch,
            "embedded_default": self.embedded_default,
            "file": str(self.file) if self.file is not None else None,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> CaptureRequest:
        """Returns the request that `to_json` wrote."""
        return CaptureRequest(
            source=data["source"],
            base=Path(data["base"]),
            output=Path(data["output"]),
            name=data["name"],
            example_inputs=data.get("example_inputs"),
            calibration=data.get("calibration"),
            metadata=data.get("metadata", {}),
            as_torch=data.get("as_torch", False),
            embedded_default=data.get("embedded_default", False),
            file=Path(data["file"]) if data.get("file") else None,
        )


class Source(ABC):
    """Captures a model that came in one way.

    Class attributes:
        kind: The way.
        extra: The extra of edgekit that installs what is needed.
        needs: Import name to distribution name, of what must be installed.
    """

    kind: ClassVar[SourceKind]
    extra: ClassVar[str]
    needs: ClassVar[Mapping[str, str]]

    @abstractmethod
    def why_not(self, target: str) -> str | None:
        """Returns why the format `target` cannot be reached from here, or None if it can. Imports nothing."""

    @abstractmethod
    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """Writes the captured file into `folder` (empty) and describes it.

        Raises:
            ModelError: the source is wrong or cannot be captured; the message says what to do.
        """

    @final
    def missing(self) -> tuple[str, ...]:
        """Returns the distributions that are needed and not installed."""
        return tuple(dist for name, dist in self.needs.items() if importlib.util.find_spec(name) is None)

    @final
    def capture(self, request: CaptureRequest, progress: Progress) -> CapturedModel:
        """Captures with the contract enforced: all or nothing, `model.json` beside the file.

        Raises:
            ModelError: the source is wrong or cannot be captured.
            MissingDependencyError: a package is missing.
            ResourceError: the output folder cannot be written.
            WorkerError: the source broke its contract.
        """
        missing = self.missing()
        if missing:
            raise MissingDependencyError(
                f"{request.source} needs {', '.join(missing)}, which is not installed. "
                f"Install it from the checkout: pip install -e '.[{self.extra}]'"
            )
        partial = request.output.with_name(f".partial-{request.output.name}")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        except OSError as error:
            raise ResourceError(
                f"{request.output}: the folder for the captured model cannot be written: {error.strerror}. "
                "Choose another one."
            ) from error
        try:
            found = self.read(request, partial, progress)
            if not (partial / found.file).exists():
                raise WorkerError(f"The {self.kind} source returned without writing {found.file}.")
            model = self._describe(request, found)
            (partial / "model.json").write_text(json.dumps(model.to_json(), indent=1))
            shutil.rmtree(request.output, ignore_errors=True)
            partial.rename(request.output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return model

    @final
    def _describe(self, request: CaptureRequest, found: Capture) -> CapturedModel:
        return CapturedModel(
            name=request.name,
            source=request.source,
            source_kind=self.kind,
            kind=found.kind,
            path=request.output / found.file,
            inputs=found.inputs,
            outputs=found.outputs,
            digest=found.digest,
            parameters=found.parameters,
            macs=found.architecture.macs,
            family=found.architecture.family,
            family_evidence=found.architecture.evidence,
            embedded_default=request.embedded_default,
            metadata={**found.metadata, **request.metadata},
        )
