"""A cache that a team shares: what comes back is what was made, or nothing does; an outage only costs speed."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConfigError
from edgekit.workers import remote_store, shared_cache
from edgekit.workers.cache import Cache

fsspec = pytest.importorskip("fsspec")

CONTENT = {"model.bin": b"weights" * 1000, "deep/er/facts.json": b"{}", "empty": b""}


class Client:
    """One machine: a local cache of its own, and what it had to say."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.built = 0
        self.cache = Cache(root=folder, notice=lambda _stage, phrase, _share: self.said.append(phrase))

    def make(self, key: str = "key", kind: str = "artifacts", content: dict[str, bytes] = CONTENT) -> dict[str, bytes]:
        def build(folder: Path) -> None:
            self.built += 1
            for name, data in content.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)

        folder = self.cache.make(kind, key, build)
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def client(tmp_path: Path) -> Callable[[], Client]:
    numbers = iter(range(100))
    return lambda: Client(tmp_path / f"local{next(numbers)}")


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    place = str(tmp_path / "shared")
    monkeypatch.setenv("EDGEKIT_SHARED_CACHE", place)
    monkeypatch.setenv("EDGEKIT_SHARED_CACHE_WRITE", "1")
    return place


def test_what_one_machine_made_the_next_one_finds(client: Callable[[], Client], url: str) -> None:
    first, second = client(), client()
    assert first.make() == CONTENT
    assert second.make() == CONTENT
    assert (first.built, second.built) == (1, 0)
    assert second.said == [f"artifacts key came from {url}"]
    assert second.make() == CONTENT
    assert len(second.said) == 1


def test_equal_contents_are_stored_once(client: Callable[[], Client], url: str) -> None:
    client().make("one", content={"a": b"same", "b": b"same"})
    client().make("two", content={"c": b"same"})
    assert len([path for path in Path(url, "blobs").rglob("*") if path.is_file()]) == 1
    assert not list(Path(url).rglob("*.part"))


def test_without_leave_nothing_is_written(
    client: Callable[[], Client], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEKIT_SHARED_CACHE_WRITE")
    assert client().make() == CONTENT
    assert not Path(url).exists()


@pytest.mark.parametrize("kind", ["runs", "validations", "batches"])
def test_what_depends_on_the_machine_stays_there(client: Callable[[], Client], url: str, kind: str) -> None:
    client().make(kind=kind)
    second = client()
    second.make(kind=kind)
    assert second.built == 1
    assert not Path(url).exists()


@pytest.mark.usefixtures("url")
def test_kinds_that_compute_are_of_one_processor(monkeypatch: pytest.MonkeyPatch, client: Callable[[], Client]) -> None:
    client().make()
    client().make(kind="captured")
    monkeypatch.setattr(shared_cache, "processor_features", lambda: ["another"])
    shared_cache._machine.cache_clear()
    try:
        other = client()
        other.make()
        assert other.built == 1
        other.make(kind="captured")
        assert other.built == 1
    finally:
        shared_cache._machine.cache_clear()


def spoil(place: Path, how: str) -> None:
    action = next(place.glob("actions/**/*.json"))
    blob = max((path for path in place.glob("blobs/**/*") if path.is_file()), key=lambda path: path.stat().st_size)
    listed = json.loads(action.read_bytes())
    if how == "flipped":
        blob.write_bytes(b"W" + blob.read_bytes()[1:])
    elif how == "cut":
        blob.write_bytes(blob.read_bytes()[:-1])
    elif how == "missing":
        blob.unlink()
    elif how == "no list":
        action.write_bytes(b"\x80{")
    else:
        digest = hashlib.sha256(CONTENT["model.bin"]).hexdigest()
        listed["files"] = {{"above": "../../outside", "absolute": "/tmp/outside", "odd": "a//b"}[how]: [7000, digest]}
        action.write_text(json.dumps(listed))


@pytest.mark.parametrize("how", ["flipped", "cut", "missing", "no list", "above", "absolute", "odd"])
def test_what_does_not_arrive_as_it_was_made_is_made_here(client: Callable[[], Client], url: str, how: str) -> None:
    client().make()
    spoil(Path(url), how)
    second = client()
    assert second.make() == CONTENT
    assert second.built == 1
    assert not list(second.cache.root.parent.rglob("outside"))
    assert second.said == []
    third = client()
    assert (third.make(), third.built) == (CONTENT, 0)


def test_an_upload_that_breaks_off_shows_nothing(
    client: Callable[[], Client], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = remote_store.RemoteStore.write
    names: list[str] = []

    def broken(self: Any, name: str, content: Path | bytes) -> bool:
        names.append(name)
        return write(self, name, content) if len(names) < 2 else False

    monkeypatch.setattr(remote_store.RemoteStore, "write", broken)
    client().make()
    assert not list(Path(url).glob("actions/**/*.json"))
    monkeypatch.undo()
    monkeypatch.setenv("EDGEKIT_SHARED_CACHE", url)
    second = client()
    assert (second.make(), second.built) == (CONTENT, 1)


def test_a_silent_server_costs_its_time_limit_once(
    client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(remote_store, "_LIMIT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}/cache"
        monkeypatch.setenv("EDGEKIT_SHARED_CACHE", place)
        one = client()
        started = time.monotonic()
        for key in "abcdefgh":
            assert one.make(key) == CONTENT
    assert time.monotonic() - started < 5
    assert one.said == [f"{place} does not answer (no answer in 1 s); everything is made here for the next 60 s"]
    assert one.built == 8


def faulty_protocol(seed: int, faults: list[str]) -> str:
    """Registers a file system that fails, lies or cuts off every third time, and notes each fault."""
    from fsspec.implementations.local import LocalFileSystem

    chance = random.Random(seed)
    lock = threading.Lock()

    class Faulty(LocalFileSystem):  # type: ignore[misc]  # fsspec ships no types
        protocol = "faulty"
        cachable = False

        def _fault(self) -> float:
            with lock:
                return chance.random()

        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **more: Any) -> bytes:
            content: bytes = super().cat_file(path, start=start, end=end, **more)
            fault = self._fault()
            if fault < 0.2:
                faults.append("reset")
                raise OSError("connection reset")
            if fault < 0.3:
                faults.append("cut")
                return content[: len(content) // 2]
            return content

        def get_file(self, path: str, target: str, **more: Any) -> None:
            super().get_file(path, target, **more)
            fault = self._fault()
            if fault < 0.2:
                faults.append("reset")
                raise OSError("connection reset")
            if fault < 0.4 and Path(target).stat().st_size:
                faults.append("flipped")
                content = bytearray(Path(target).read_bytes())
                content[len(content) // 2] ^= 1
                Path(target).write_bytes(bytes(content))

        def put_file(self, source: str, path: str, **more: Any) -> None:
            if self._fault() < 0.2:
                faults.append("half")
                Path(path).write_bytes(b"half")
                raise OSError("connection reset")
            super().put_file(source, path, **more)

    name = f"faulty{seed}"
    fsspec.register_implementation(name, Faulty, clobber=True)
    Faulty.protocol = name
    return name


def test_four_clients_and_a_store_that_fails_never_give_a_wrong_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_store, "_PAUSE_S", 0.0)
    faults: list[str] = []
    monkeypatch.setenv("EDGEKIT_SHARED_CACHE", f"{faulty_protocol(0, faults)}://{tmp_path}/shared")
    monkeypatch.setenv("EDGEKIT_SHARED_CACHE_WRITE", "1")
    wrong: list[object] = []
    clients = [Client(tmp_path / f"local{number}") for number in range(4)]

    def work(one: Client) -> None:
        for number in range(30):
            content = {"model.bin": str(number).encode() * 1000, "facts.json": b"{}"}
            try:
                if (made := one.make(f"key{number}", content=content)) != content:
                    wrong.append(made)
            except Exception as error:
                wrong.append(error)

    # The first fills the store; in step with the others it might make everything beside them, and nobody would read.
    work(clients[0])
    threads = [threading.Thread(target=work, args=(one,)) for one in clients[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 30 <= sum(one.built for one in clients) < 4 * 30
    # In which order the clients meet them is chance, and so is whether one fails as often as to be said.
    assert {"reset", "cut", "flipped", "half"} <= set(faults)


def test_a_bucket_is_a_shared_cache(client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """Against moto's S3 in this process: no cloud is asked."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "EDGEKIT_SHARED_CACHE": "s3://bucket/prefix",
            "EDGEKIT_SHARED_CACHE_WRITE": "1",
        }.items():
            monkeypatch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        first, second = client(), client()
        assert (first.make(), second.make()) == (CONTENT, CONTENT)
        assert (first.built, second.built) == (1, 0)
        assert second.said == ["artifacts key came from s3://bucket/prefix"]
    finally:
        server.stop()


def test_a_bucket_that_is_not_there_only_costs_speed(
    client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("EDGEKIT_SHARED_CACHE", "s3://bucket/elsewhere")
    monkeypatch.setattr(remote_store, "_LIMIT_S", 2.0)
    one = client()
    assert one.make() == CONTENT
    assert one.make("other") == CONTENT
    assert len(one.said) == 1
    assert one.said[0].startswith("s3://bucket/elsewhere does not answer (")


def test_a_url_that_nothing_opens_is_an_error_before_any_work(
    client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_SHARED_CACHE", "nosuch://host/path")
    message = (
        r'^The shared cache "nosuch://host/path" cannot be opened: Protocol not known: nosuch\. Give a URL such as '
        r"s3://bucket/prefix, gs://bucket/prefix, https://host/path or a folder\.$"
    )
    with pytest.raises(ConfigError, match=message):
        client().make()


def test_leave_to_write_is_yes_or_no(client: Callable[[], Client], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_SHARED_CACHE_WRITE", "perhaps")
    message = r'^EDGEKIT_SHARED_CACHE_WRITE="perhaps"; expected 1 to write to the shared cache, 0 to read only\.$'
    with pytest.raises(ConfigError, match=message):
        client().make()
