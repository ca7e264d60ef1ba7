"""Kills a process before each of its file operations in turn, and looks what is left. Run by test_kills.py.

python kill_at_write_points.py FOLDER WORK; WORK is the name of a class below. Prints a JSON object: how many points
there were, and what was wrong after which.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from edgekit.workers.atomic_files import copy_atomically, write_json
from edgekit.workers.cache import Cache
from edgekit.workers.cache_upkeep import tidy
from edgekit.workers.entry_digests import find_damage

FILES = 4


def write_package(folder: Path, text: str) -> None:
    (folder / "Data").mkdir(parents=True)
    for k in range(FILES):
        (folder / "Data" / f"{k}").write_text(text * 1000)


def package_text(folder: Path) -> str | None:
    """Returns the text of a complete package, None where none is there."""
    if not folder.exists():
        return None
    texts = {(folder / "Data" / f"{k}").read_text() for k in range(FILES)}
    assert len(texts) == 1
    assert len(list((folder / "Data").iterdir())) == FILES
    return texts.pop()[0]


class Package:
    """A package takes the place of an older one: one of them is there at any time."""

    def prepare(self, root: Path) -> None:
        write_package(root / "new", "n")
        write_package(root / "out" / "net.mlpackage", "o")

    def work(self, root: Path) -> None:
        copy_atomically(root / "new", root / "out" / "net.mlpackage")

    def check_killed(self, root: Path) -> None:
        assert package_text(root / "out" / "net.mlpackage") in ("n", "o")

    def check_done(self, root: Path) -> None:
        assert package_text(root / "out" / "net.mlpackage") == "n"
        assert [path.name for path in (root / "out").iterdir()] == ["net.mlpackage"]


class PackageInTwoSteps(Package):
    """The same where names cannot be exchanged: it may be missing for a moment, and is never half there."""

    def work(self, root: Path) -> None:
        from edgekit.workers import atomic_files

        atomic_files._exchange = lambda one, other: False  # type: ignore[assignment]
        super().work(root)

    def check_killed(self, root: Path) -> None:
        assert package_text(root / "out" / "net.mlpackage") in ("n", "o", None)


class File:
    """A JSON file takes the place of an older one."""

    def prepare(self, root: Path) -> None:
        (root / "out").mkdir()
        (root / "out" / "report.json").write_text('{"k": 1}')

    def work(self, root: Path) -> None:
        write_json(root / "out" / "report.json", {"k": 2, "x": list(range(1000))})

    def check_killed(self, root: Path) -> None:
        assert json.loads((root / "out" / "report.json").read_text())["k"] in (1, 2)

    def check_done(self, root: Path) -> None:
        assert json.loads((root / "out" / "report.json").read_text())["k"] == 2
        assert [path.name for path in (root / "out").iterdir()] == ["report.json"]


class Entry:
    """An entry of the cache is made: it is complete or not there."""

    reuse = True

    def prepare(self, root: Path) -> None:
        pass

    def work(self, root: Path) -> None:
        Cache(root=root / "cache", reuse=self.reuse).make("kind", "key", lambda folder: write_package(folder, "n"))

    def check_killed(self, root: Path) -> None:
        entry = root / "cache" / "kind" / "key"
        assert not entry.exists() or find_damage(entry) is None

    def check_done(self, root: Path) -> None:
        assert package_text(root / "cache" / "kind" / "key") == "n"
        assert [path.name for path in (root / "cache" / "kind").iterdir()] == ["key"]
        tidy(root / "cache", now=True)
        assert list((root / "cache" / ".locks").iterdir()) == []
        # A folder without a lock file may be one that is being made: it goes a minute later.
        assert all(not any(folder.iterdir()) for folder in (root / "cache" / ".running").iterdir())


class EntryAnew(Entry):
    """An entry of the cache takes the place of an older one."""

    reuse = False

    def prepare(self, root: Path) -> None:
        run_child(lambda: Cache(root=root / "cache").make("kind", "key", lambda folder: write_package(folder, "o")))


def run_child(work: Callable[[], object], kill_at: int | None = None) -> bool:
    """Runs the work in a child that is killed before its `kill_at`-th file operation. Returns whether it was."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in ("open", "ctypes.dlsym") or event.startswith(("os.", "shutil.")):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    if kill_at is not None:
        sys.addaudithook(count)
    work()
    atexit._run_exitfuncs()
    os._exit(0)


def main(folder: Path, work: Any) -> None:
    wrong: list[str] = []
    point, was_killed = 0, True
    while was_killed:
        point += 1
        root = folder / f"{point}"
        root.mkdir()
        work.prepare(root)
        was_killed = run_child(partial(work.work, root), point)
        try:
            work.check_killed(root)
            run_child(partial(work.work, root))
            work.check_done(root)
        except Exception as error:
            wrong.append(f"point {point}: {type(error).__name__}: {error}")
    sys.stdout.write(json.dumps({"points": point - 1, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), globals()[sys.argv[2]]())
