"""What every source promises: it knows its files, captures all or nothing, and says why a file cannot be read."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgekit import registry
from edgekit.errors import InputError
from edgekit.sources.base import CaptureRequest, Source
from edgekit.sources.captured_file import open_captured
from edgekit.sources.table import classify, reach, source
from edgekit.workers.worker import silent


class SourceContract(ABC):
    """Inherit it as `class TestName(SourceContract)` and implement `write_model`.

    Class attributes:
        kind: The source, as its entry point calls it.
        facts: Fields of the `CaptureRequest` beside the model's: `{"example_inputs": "model.py:example"}`.
        broken: Content of a file that is none of this source's; None where a source is no file.
    """

    kind: ClassVar[str]
    facts: ClassVar[Mapping[str, Any]] = {}
    broken: ClassVar[bytes | None] = b"this is no model"

    pytestmark = pytest.mark.filterwarnings("ignore")  # frameworks warn while they read models

    @abstractmethod
    def write_model(self, folder: Path) -> str:
        """Writes a small model into `folder` and returns what a user would write to name it."""

    def source(self) -> Source:
        """Returns the source."""
        return source(self.kind)

    def request(self, text: str, folder: Path, output: str = "out") -> CaptureRequest:
        """Returns a request to capture `text` into a folder beside it."""
        return CaptureRequest(source=text, base=folder, output=folder / output, name="tiny", **self.facts)

    def test_it_is_registered_under_its_kind(self) -> None:
        assert self.kind in registry.source_targets()
        assert self.source().kind == self.kind

    def test_what_the_user_names_is_recognised(self, tmp_path: Path) -> None:
        assert classify(self.write_model(tmp_path), tmp_path) == self.kind

    def test_its_suffixes_are_written_as_they_are_compared(self) -> None:
        assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in self.source().suffixes)
        assert set(self.source().starts_with) <= set(self.source().suffixes)

    def test_every_format_is_reached_or_refused_with_a_reason(self) -> None:
        reasons = reach(self.kind)
        assert tuple(reasons) == registry.format_names()
        assert all(reason is None or reason.strip() for reason in reasons.values())

    def test_a_capture_leaves_a_file_and_its_description(self, tmp_path: Path) -> None:
        made = self.source().capture(self.request(self.write_model(tmp_path), tmp_path), silent)
        out = tmp_path / "out"
        assert open_captured(out) == made
        assert made.path.exists()
        assert made.source_kind == self.kind
        assert made.inputs
        assert made.outputs
        assert all(spec.shape[0] == 1 for spec in made.inputs if spec.shape), "models are captured at batch 1"

    def test_the_same_model_has_the_same_digest(self, tmp_path: Path) -> None:
        text = self.write_model(tmp_path)
        first, second = (self.source().capture(self.request(text, tmp_path, out), silent) for out in ("a", "b"))
        assert first.digest == second.digest

    def test_the_user_s_files_are_left_alone(self, tmp_path: Path) -> None:
        text = self.write_model(tmp_path)
        before = _digests(tmp_path)
        self.source().capture(self.request(text, tmp_path), silent)
        after = {path: digest for path, digest in _digests(tmp_path).items() if not path.startswith("out/")}
        assert {path: after.get(path) for path in before} == before

    def test_a_file_that_is_none_is_refused_and_nothing_is_left(self, tmp_path: Path) -> None:
        if self.broken is None:
            pytest.skip("this source is no file")
        path = tmp_path / f"broken{self.source().suffixes[0]}"
        path.write_bytes(self.broken)
        with pytest.raises(InputError) as caught:
            kind = classify(path.name, tmp_path)
            source(kind).capture(self.request(path.name, tmp_path), silent)
        assert path.name in caught.value.message
        assert [item.name for item in tmp_path.iterdir()] == [path.name]


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
