"""The contract of a source. Implement `Source`, never override `capture`."""

from __future__ import annotations

import importlib.util
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, final

from edgekit.errors import MissingDependencyError, ResourceError, WorkerError
from edgekit.model import CapturedModel, Dimension, SourceKind
from edgekit.sources.captured_file import write_captured
from edgekit.sources.declared_states import declared_states
from edgekit.task.input_sizes import InputSizes
from edgekit.torch_program.facts import Capture
from edgekit.workers.request_key import Place, SourceName
from edgekit.workers.worker import Progress

Signature = tuple[int, bytes, str]
"""What a file begins with: offset, bytes, words for people."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """What to capture, and where to.

    Attributes:
        source: What the user wrote: `model.py:build`, `net.onnx`.
        base: Folder that relative paths start from: the task file's.
        output: Folder for the captured file and its `model.json`. Made if it is missing; what it held is replaced.
        name: Short name for files and tables.
        kind: How the model comes in: which source reads it.
        example_inputs: `file.py:function` that returns a tuple of tensors with batch 1; None where the source knows.
        calibration: Where example inputs come from if there are none: its first sample.
        input_sizes: Sizes that the user gives for the inputs; they come before example inputs.
        dimensions: Sizes that stay open; the input sizes name them.
        metadata: Labels, preprocessing and provenance that go into the artifacts.
        state_pairs: (output, input) of the model that are one state.
        as_torch: Capture an ONNX file as an exported torch program, which more formats can be made from.
        split_outputs: Make each member of a joined output an output of its own.
        embedded_default: The model is the one that edgekit takes where none is given.
        file: Where the source lies, where `source` is only what it is called; None where it is the path itself.
        source_sha256: Hash of the source's content, None for code: for the key under which the result is found again.
        calibration_sha256: The same of the calibration data.
    """

    source: str
    base: Place
    output: Place
    name: str
    kind: SourceName = "torch"
    example_inputs: str | None = None
    calibration: str | None = None
    input_sizes: tuple[InputSizes, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    state_pairs: tuple[tuple[str, str], ...] = ()
    as_torch: bool = False
    split_outputs: bool = False
    embedded_default: bool = False
    file: Place | None = None
    source_sha256: str | None = None
    calibration_sha256: str | None = None

    @property
    def path(self) -> Path:
        """The source as a path; only where it is a file or a folder."""
        return self.file or self.base / self.source


class Source(ABC):
    """Captures a model that came in one way.

    Class attributes:
        kind: The way.
        extra: The extra of edgekit that installs what is needed.
        needs: Import name to distribution name, of what must be installed.
        suffixes: Suffixes of its files, dot included and in lower case; empty where it is no file.
        starts_with: Suffix to what such a file begins with: offset, bytes, words for people. Without it, any will do.
    """

    kind: ClassVar[SourceKind]
    extra: ClassVar[str]
    needs: ClassVar[Mapping[str, str]]
    suffixes: ClassVar[tuple[str, ...]] = ()
    starts_with: ClassVar[Mapping[str, Signature]] = {}

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
            if request.split_outputs:
                from edgekit.sources.split_outputs import with_split_outputs

                found = with_split_outputs(found, partial, request.source)
            model = self._describe(request, found)
            write_captured(model, partial)
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
            states=(*declared_states(request.state_pairs, found.inputs, found.outputs), *found.states),
            open_sizes=found.open_sizes,
            float_types=found.float_types,
            joined=found.joined,
            settled_branches=found.settled_branches,
        )
