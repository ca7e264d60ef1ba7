"""Keys of requests: everything counts but the place of files, and a request cannot hide a path."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgekit.model import CapturedModel, TensorSpec
from edgekit.pipeline.convert import CONVERT, ArtifactRequest
from edgekit.recipe import Recipe
from edgekit.samples import Samples
from edgekit.task.image_input import ImageInput
from edgekit.task.task import ImagePreprocessing
from edgekit.workers import request_key as module
from edgekit.workers.request_key import Contents, Place, content_digest, key_facts, request_key

SPEC = TensorSpec(name="x", shape=(1, 3), dtype="float32")


def request(folder: Path) -> ArtifactRequest:
    model = CapturedModel(
        name="n", source="n.py:f", source_kind="torch", kind="pt2", path=folder / "float.pt2", inputs=(SPEC,),
        outputs=(SPEC,), digest="d", parameters=1, macs=1, family="cnn",
    )  # fmt: skip
    samples = Samples(folder=folder / "samples", count=2, items=2, names=("x",), sha256="s")
    return ArtifactRequest(
        runtime="onnx", model=model, recipe=Recipe(), calibration=samples, io="float", metadata={"a": "b"},
        image=None, output=folder / "out", scratch=folder / "scratch",
    )  # fmt: skip


ONE = request(Path("/one"))
CHANGES = {
    "format": replace(ONE, runtime="tflite"),
    "digest": replace(ONE, model=replace(ONE.model, digest="e")),
    "shape": replace(ONE, model=replace(ONE.model, inputs=(replace(SPEC, shape=(1, 4)),))),
    "recipe": replace(ONE, recipe=Recipe(group_size=16)),
    "samples": replace(ONE, calibration=replace(ONE.calibration, sha256="t")),  # type: ignore[type-var]  # not None
    "none": replace(ONE, calibration=None),
    "io": replace(ONE, io="int8"),
    "metadata": replace(ONE, metadata={"a": "c"}),
    "image": replace(ONE, image=ImageInput(spec=SPEC, steps=ImagePreprocessing())),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_a_change_of_any_field_changes_the_key(changed: ArtifactRequest) -> None:
    assert CONVERT.key(changed) != CONVERT.key(ONE)


def test_the_folder_of_the_work_does_not_change_the_key() -> None:
    assert CONVERT.key(request(Path("/two"))) == CONVERT.key(ONE)


def test_versions_of_tools_and_the_code_change_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {CONVERT.key(ONE), CONVERT.key(ONE, tools=("pytest",)), request_key(ONE, code=("edgekit.units",))}
    monkeypatch.setattr(module, "versions", lambda _names: {"pytest": "another"})
    keys.add(CONVERT.key(ONE, tools=("pytest",)))
    assert len(keys) == 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    file: Contents
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    file: Path


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_contents_count_and_their_place_does_not(write: Callable[..., Path]) -> None:
    one, same, other = (write(name, text) for name, text in (("a/x", "1"), ("b/x", "1"), ("c/x", "2")))
    assert key_facts(Reading(file=one, place=one)) == key_facts(Reading(file=same))
    assert key_facts(Reading(file=one)) != key_facts(Reading(file=other))


def test_names_in_a_folder_count(write: Callable[..., Path]) -> None:
    one, other = write("a/x", "1").parent, write("b/y", "1").parent
    assert content_digest(one) != content_digest(other)


def test_a_bare_path_is_refused() -> None:
    message = rf"^A request holds the bare path {os.sep}a: mark the field as Place or Contents\.$"
    with pytest.raises(TypeError, match=message):
        key_facts(Bare(file=Path(f"{os.sep}a")))
