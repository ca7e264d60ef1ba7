from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import artifact
from edgekit.artifact import measure_files
from edgekit.workers import kept_downloads
from edgekit.workers.cache import Cache
from edgekit.workers.kept_downloads import measure_with_cache


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(root=tmp_path / "cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(bytes(range(256)) * 100)
    return path


@pytest.fixture
def deflated(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The artifacts that were deflated so far."""
    seen: list[Path] = []

    def measure(path: Path) -> tuple[int, int, str]:
        seen.append(path)
        return artifact.measure_files(path)

    monkeypatch.setattr(kept_downloads, "measure_files", measure)
    return seen


def test_bytes_that_were_seen_before_are_not_deflated_again(cache: Cache, file: Path, deflated: list[Path]) -> None:
    first = measure_with_cache(file, cache)
    again = measure_with_cache(file, Cache(root=cache.root))
    assert first == again == measure_files(file)
    assert deflated == [file]


def test_a_copy_under_another_name_is_the_same_bytes(cache: Cache, file: Path, deflated: list[Path]) -> None:
    measure_with_cache(file, cache)
    copy = file.with_name("copy.tflite")
    copy.write_bytes(file.read_bytes())
    assert measure_with_cache(copy, cache) == measure_files(file)
    assert deflated == [file]


def test_a_file_that_has_changed_is_deflated_anew(cache: Cache, file: Path, deflated: list[Path]) -> None:
    before = measure_with_cache(file, cache)
    file.write_bytes(bytes(25_600))  # of the same size
    after = measure_with_cache(file, cache)
    assert after == measure_files(file)
    assert after[1] < before[1]
    assert deflated == [file, file]


def test_a_kept_size_that_somebody_has_edited_is_not_believed(cache: Cache, file: Path) -> None:
    measure_with_cache(file, cache)
    (kept,) = cache.root.rglob("download.json")
    kept.chmod(0o600)
    kept.write_text('{"bytes": 1}')
    assert measure_with_cache(file, Cache(root=cache.root)) == measure_files(file)


def test_another_zlib_does_not_believe_what_this_one_packed(
    cache: Cache, file: Path, deflated: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_with_cache(file, cache)
    monkeypatch.setattr(kept_downloads.zlib, "ZLIB_RUNTIME_VERSION", "1.3.1.zlib-ng")
    measure_with_cache(file, cache)
    assert deflated == [file, file]


def test_without_the_cache_the_bytes_are_deflated_each_time(cache: Cache, file: Path, deflated: list[Path]) -> None:
    measure_with_cache(file, cache)
    measure_with_cache(file, Cache(root=cache.root, reuse=False))
    assert deflated == [file, file]


def test_a_cache_that_cannot_be_used_costs_only_time(tmp_path: Path, file: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert measure_with_cache(file, Cache(root=tmp_path / "cache")) == measure_files(file)
