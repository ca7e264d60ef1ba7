from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.validators.stored_facts import kept_facts
from edgekit.validators.stored_facts.facts import StoredFacts, read_stored_facts
from edgekit.validators.stored_facts.kept_facts import read_with_cache
from edgekit.workers.cache import Cache

DIGEST = "ab" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(root=tmp_path / "cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An ONNX file with a product and a word of metadata."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 3], [1.0] * 6)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [weight],
    )
    model = helper.make_model(graph)
    helper.set_model_props(model, {"labels": "cat"})
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were opened so far."""
    seen: list[Path] = []

    def read(runtime: str, path: Path) -> StoredFacts | None:
        seen.append(path)
        return read_stored_facts(runtime, path)

    monkeypatch.setattr(kept_facts, "read_stored_facts", read)
    return seen


def test_bytes_that_were_read_before_are_not_read_again(cache: Cache, file: Path, opened: list[Path]) -> None:
    first = read_with_cache("onnx", file, DIGEST, cache)
    assert first is not None
    assert [x.name for x in first.operators] == ["product"]
    assert read_with_cache("onnx", file, DIGEST, Cache(root=cache.root)) == first
    assert opened == [file]


def test_other_bytes_are_read(cache: Cache, file: Path, opened: list[Path]) -> None:
    read_with_cache("onnx", file, DIGEST, cache)
    read_with_cache("onnx", file, "cd" * 32, cache)
    assert opened == [file, file]


def test_a_reader_whose_code_has_changed_reads_again(
    cache: Cache, file: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_with_cache("onnx", file, DIGEST, cache)
    monkeypatch.setattr(kept_facts, "plugin_digest", lambda *_: "another")
    read_with_cache("onnx", file, DIGEST, cache)
    assert opened == [file, file]


def test_what_cannot_be_read_is_not_kept(cache: Cache, tmp_path: Path, opened: list[Path]) -> None:
    (tmp_path / "cut.onnx").write_bytes(b"\x08")
    for _ in range(2):
        assert read_with_cache("onnx", tmp_path / "cut.onnx", DIGEST, cache) is None
    assert len(opened) == 2


@pytest.mark.parametrize("is_given", [True, False], ids=["that cannot be used", "of nobody"])
def test_a_cache_costs_only_time(tmp_path: Path, file: Path, *, is_given: bool) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = Cache(root=tmp_path / "cache") if is_given else None
    assert read_with_cache("onnx", file, DIGEST, cache) == read_stored_facts("onnx", file)


def test_a_format_without_a_reader_tells_nothing(cache: Cache, file: Path) -> None:
    assert read_with_cache("nobody's", file, DIGEST, cache) is None
