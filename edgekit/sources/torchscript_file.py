"""The source TorchScript: what `torch.jit.save` or PyTorch Mobile's `_save_for_lite_interpreter` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, final

from edgekit.model import SourceKind
from edgekit.sources.base import CaptureRequest, Signature, Source
from edgekit.sources.example_inputs import Given, example_of
from edgekit.task.input_sizes import InputSizes
from edgekit.torch_program.facts import Capture
from edgekit.workers.worker import Progress

_WORDS = "a zip archive that torch.jit.save wrote"


@final
class TorchScriptSource(Source):
    """Reads the file as plain modules, and captures them as any other."""

    kind: ClassVar[SourceKind] = "torchscript"
    suffixes: ClassVar[tuple[str, ...]] = (".torchscript", ".ptl")
    starts_with: ClassVar[Mapping[str, Signature]] = {
        ".torchscript": (0, b"PK\x03\x04", _WORDS),
        ".ptl": (0, b"PK\x03\x04", _WORDS),
    }
    extra: ClassVar[str] = "torch"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch"}

    def why_not(self, target: str) -> str | None:  # noqa: ARG002  the contract's argument
        """Every format can be made from an exported torch program."""
        return None

    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """Example inputs come from the task, else from the trace; a scripted model has none."""
        from edgekit.sources.torch_factory import capture_as_float
        from edgekit.sources.torchscript.plain_module import read_file

        progress("reading TorchScript", None)
        found = read_file(request.path, request.source)
        traced = {
            name: example_of(InputSizes(name=name, shape=shape, dtype=dtype))
            for name, (shape, dtype) in found.shapes.items()
        }
        known = Given(value=traced, reference="the trace", is_sample=True) if traced else None
        return capture_as_float(found.module, request, folder, progress, known)
