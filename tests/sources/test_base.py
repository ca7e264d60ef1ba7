"""The contract that the base class enforces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, final

import pytest

from edgekit.errors import MissingDependencyError, ModelError, ResourceError, WorkerError
from edgekit.model import SourceKind
from edgekit.sources.base import CaptureRequest, Source
from edgekit.sources.captured_file import open_captured
from edgekit.torch_program.architecture import judge
from edgekit.torch_program.facts import Capture
from edgekit.workers.structure import structure, unstructure
from edgekit.workers.worker import silent


@final
class Fake(Source):
    kind: ClassVar[SourceKind] = "onnx"
    extra: ClassVar[str] = "onnx"
    needs: ClassVar[dict[str, str]] = {}

    def __init__(self, *, writes: bool = True, fails: bool = False) -> None:
        self.writes, self.fails = writes, fails

    def why_not(self, target: str) -> str | None:
        return None

    def read(self, request: CaptureRequest, folder: Path, progress: Any) -> Capture:
        (folder / "half").write_text("x")
        if self.fails:
            raise ModelError("no")
        if self.writes:
            (folder / "file").write_text("x")
        return Capture(
            kind="onnx", file="file", inputs=(), outputs=(), digest="d", parameters=1, architecture=judge([]),
            metadata={"a": "file", "b": "file"},
        )  # fmt: skip


def request_in(folder: Path) -> CaptureRequest:
    return CaptureRequest(source="net", base=folder, output=folder / "out", name="net", metadata={"a": "mine"})


def test_a_capture_leaves_the_file_and_its_description(tmp_path):
    model = Fake().capture(request_in(tmp_path), silent)
    assert open_captured(tmp_path / "out") == model
    assert model.metadata == {"a": "mine", "b": "file"}


def test_a_request_survives_json(tmp_path):
    request = request_in(tmp_path)
    assert structure(json.loads(json.dumps(unstructure(request))), CaptureRequest, "request") == request


def test_a_missing_package_is_reported_with_the_extra(tmp_path):
    one = Fake()
    one.needs = {"edgekit_no_such_module": "some-package"}  # type: ignore[misc]
    with pytest.raises(MissingDependencyError) as caught:
        one.capture(request_in(tmp_path), silent)
    assert caught.value.message == (
        "net needs some-package, which is not installed. Install it from the checkout: pip install -e '.[onnx]'"
    )


def test_a_source_that_writes_nothing_breaks_its_contract(tmp_path):
    with pytest.raises(WorkerError, match=r"^The onnx source returned without writing file\.$"):
        Fake(writes=False).capture(request_in(tmp_path), silent)


def test_a_failure_leaves_the_capture_before_in_place(tmp_path):
    Fake().capture(request_in(tmp_path), silent)
    with pytest.raises(ModelError, match=r"^no$"):
        Fake(fails=True).capture(request_in(tmp_path), silent)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "half", "model.json", "out"]


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("x")
    request = CaptureRequest(source="net", base=tmp_path, output=tmp_path / "file" / "out", name="net")
    with pytest.raises(ResourceError) as caught:
        Fake().capture(request, silent)
    assert caught.value.message == (
        f"{tmp_path / 'file' / 'out'}: the folder for the captured model cannot be written: Not a directory. "
        "Choose another one."
    )
