"""Kills a command at a moment of its run, and says what is wrong with what is left and with the next run.

What a killed command may leave: complete files at their places or none, complete entries in the cache or none, no
process. The next run ends as an undisturbed one does, with the same bytes, and what the killed one left is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import psutil
from killing.victims import Victim

from edgekit.workers.entry_digests import find_damage

Start = Callable[[tuple[str, ...], Path], int]
"""Starts `edgekit ARGUMENTS` in `place/work`, as the leader of a group of its own, and returns its process id."""

GONE_WITHIN_S: Final = 20.0
"""A worker looks once a second whether its parent lives; the machine may be busy."""

INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """What runs do that nobody kills.

    Attributes:
        code: Exit code.
        seconds: Wall-clock time of the longer of two runs.
        files: Content of each file that it writes, by name.
        steady: For a JSON file that differs from run to run, the values that do not; None for other such files.
    """

    code: int
    seconds: float
    files: Mapping[str, bytes]
    steady: Mapping[str, Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """How a kill went.

    Attributes:
        hit: The command was still running.
        code: Its exit code; negative where a signal ended it.
        gone_s: Until the last of its processes was gone.
        wrong: What none may do.
        said: The end of what it wrote.
        kept: Files that it had finished and that the next run found.
    """

    hit: bool
    code: int
    gone_s: float
    wrong: tuple[str, ...]
    said: str
    kept: int


def adopt_orphans() -> None:
    """Makes this process the parent of what its children leave running, so that nothing escapes it."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def observe(start: Start, victim: Victim, ground: Path, place: Path) -> Undisturbed:
    """Runs a command twice, undisturbed."""
    codes, seconds, seen = [], [], []
    for name in ("one", "two"):
        own = place / name
        lay_out(victim, ground, own)
        began = time.monotonic()
        codes.append(wait(start(victim.arguments, own), 600.0))
        seconds.append(time.monotonic() - began)
        seen.append(written(victim, own / "work"))
        if codes[0] not in (0, 1):
            raise RuntimeError(f"edgekit {' '.join(victim.arguments)}: {said_in(own)}")
        shutil.rmtree(own)
    differ = {name for name in seen[0] if seen[0][name] != seen[1].get(name)}
    steady = {
        name: _common(name, seen[0][name], seen[1][name]) if name.endswith(_WITH_VALUES) and name in seen[1] else None
        for name in differ
    }
    return Undisturbed(code=codes[0], seconds=max(seconds), files=seen[0], steady=steady)


def kill(
    start: Start, victim: Victim, undisturbed: Undisturbed, ground: Path, place: Path, *, after_s: float,
    number: signal.Signals, to: str,
) -> Killed:  # fmt: skip
    """Starts a command, kills it after a while, and runs it again.

    Args:
        start: Starts it.
        victim: The command.
        undisturbed: What it does otherwise.
        ground: Folder with `ground` and `warm`.
        place: A new folder for this kill.
        after_s: Seconds after its start.
        number: The signal.
        to: Who gets it: `parent`, `group`, or `all` its processes, as a container's end does.
    """
    lay_out(victim, ground, place)
    pid = start(victim.arguments, place)
    hit = not _ended_within(pid, after_s)
    if hit:
        _send(pid, number, to)
    code = wait(pid, 60.0)
    gone_s = _wait_for_others()
    said = said_in(place)
    wrong = [] if gone_s < GONE_WITHIN_S else [f"processes are left after {gone_s:.0f} s"]
    wrong += _wrong_end(code, number, said, undisturbed)
    wrong += _wrong_files(victim, undisturbed, ground, place, complete=code == undisturbed.code)
    wrong += _damaged_entries(place / "cache")
    kept = _kept(victim, place / "work")
    if number is not signal.SIGKILL and to != "all":
        wrong += [f"left behind: {name}" for name in _left(place)]
    again = wait(start(victim.arguments, place), 600.0)
    if again != undisturbed.code:
        wrong.append(f"the next run ends with {again}: {said_in(place)[-600:]}")
    wrong += [f"the next run: {text}" for text in _wrong_files(victim, undisturbed, ground, place, complete=True)]
    wrong += [f"the next run: {text}" for text in _damaged_entries(place / "cache")]
    now = _kept(victim, place / "work")
    wrong += [f"the next run: {name} was made anew" for name, content in kept.items() if now.get(name) != content]
    wrong += [f"left behind after the next run: {name}" for name in _left(place)]
    hit = hit and not (number is signal.SIGKILL and code == undisturbed.code)  # it ended in that very moment
    return Killed(hit=hit, code=code, gone_s=gone_s, wrong=tuple(wrong), said=said[-1500:], kept=len(kept))


def lay_out(victim: Victim, ground: Path, place: Path) -> None:
    """Makes the folder of a run."""
    shutil.copytree(ground / "ground", place / "work")
    if victim.is_warm:
        shutil.copytree(ground / "warm", place / "cache")
    (place / "cache").mkdir(exist_ok=True)
    (place / "tmp").mkdir()


def written(victim: Victim, work: Path) -> dict[str, bytes]:
    """Returns the content of all files at the places where a command writes."""
    roots = [work / name for name in victim.writes]
    files = [file for root in roots for file in ([root] if root.is_file() else root.rglob("*")) if file.is_file()]
    return {file.relative_to(work).as_posix(): file.read_bytes() for file in files}


def _kept(victim: Victim, work: Path) -> dict[str, bytes]:
    """Returns the finished files of the folders in which a command never makes one anew."""
    return {
        file.relative_to(work).as_posix(): file.read_bytes()
        for name in victim.keeps
        for file in (work / name).glob("*")
        if ".partial" not in file.name
    }


def said_in(place: Path) -> str:
    """Returns what the last command wrote to the standard streams."""
    return (place / "said.txt").read_text(errors="replace")


def wait(pid: int, seconds: float) -> int:
    """Returns the exit code of a process; it is ended where it takes longer."""
    if not _ended_within(pid, seconds):
        _send(pid, signal.SIGKILL, "all")
        os.waitpid(pid, 0)
        raise RuntimeError(f"process {pid} did not end within {seconds:.0f} s")
    return _CODES.pop(pid)


_CODES: Final[dict[int, int]] = {}


def _ended_within(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while pid not in _CODES:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            _CODES[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() >= end:
            return False
        else:
            time.sleep(min(0.005, max(0.0, end - time.monotonic())))
    return True


def _send(pid: int, number: signal.Signals, to: str) -> None:
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        others = psutil.Process(pid).children(recursive=True) if to == "all" else []
        os.killpg(pid, number) if to == "group" else os.kill(pid, number)
        for one in others:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)


def _wait_for_others() -> float:
    """Returns the seconds until no child is left, adopted ones included; they are ended where they take too long."""
    began = time.monotonic()
    while True:
        try:
            found, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return time.monotonic() - began
        if not found and time.monotonic() - began > GONE_WITHIN_S:
            for one in psutil.Process().children(recursive=True):
                one.kill()
            return time.monotonic() - began
        time.sleep(0 if found else 0.01)


def _wrong_end(code: int, number: signal.Signals, said: str, undisturbed: Undisturbed) -> list[str]:
    wrong = []
    before_edgekit = "edgekit" not in said  # Python itself was still starting
    if "Traceback (most recent call last)" in said and not before_edgekit:
        wrong.append(f"a traceback: {said[-800:]}")
    right = (-number,) if number is signal.SIGKILL else (INTERRUPTED, -number) if before_edgekit else (INTERRUPTED,)
    if code not in (*right, undisturbed.code):
        wrong.append(f"exit code {code} after {number.name}: {said[-400:]}")
    return wrong


def _wrong_files(victim: Victim, undisturbed: Undisturbed, ground: Path, place: Path, *, complete: bool) -> list[str]:
    """Returns what is wrong with the files at their places: each is complete or as it was before, or not there."""
    found = written(victim, place / "work")
    before = {} if complete else written(victim, ground / "ground")
    wrong = [f"{name} was not to be written" for name in found if name not in undisturbed.files]
    if complete:
        wrong += [f"{name} is missing" for name in undisturbed.files if name not in found]
    for name in found.keys() & undisturbed.files.keys():
        content = found[name]
        if content == before.get(name) or _is_right(name, content, undisturbed):
            continue
        wrong.append(f"{name} ({len(content)} bytes) differs from an undisturbed run's")
    return wrong


def _is_right(name: str, content: bytes, undisturbed: Undisturbed) -> bool:
    if name not in undisturbed.steady:
        return content == undisturbed.files[name]
    steady = undisturbed.steady[name]
    if steady is None:
        return len(content) > 0 and content[-8:] == undisturbed.files[name][-8:]
    try:
        leaves = _leaves(_values(name, content))
    except (ValueError, OSError):
        return False
    return all(leaves.get(key) == value for key, value in steady.items())


_WITH_VALUES: Final = (".json", ".lock", ".sarif", ".parquet")


def _values(name: str, content: bytes) -> Any:
    """Returns what a file holds: JSON, or rows whose texts may be JSON.

    Raises:
        ValueError: it is not complete; for rows an error of pyarrow's, which is one.
    """
    if not name.endswith(".parquet"):
        return json.loads(content)
    import pyarrow.parquet as pq

    rows = pq.read_table(BytesIO(content)).to_pylist()
    return [{**row, **{key: json.loads(row[key] or "null") for key in ("checks", "report")}} for row in rows]


def _common(name: str, one: bytes, other: bytes) -> dict[str, Any]:
    first, second = _leaves(_values(name, one)), _leaves(_values(name, other))
    return {key: value for key, value in first.items() if key in second and second[key] == value}


_MEASURED: Final = ("memory", "latency", "latency_p95")
_OF_THE_RUN: Final = ("host", "figures_sha256", "conversion_seconds", "seconds", "finished", "cached")
"""What is measured anew in each run, on which two may agree by chance, and what a run found in the cache."""


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Returns the values of a JSON file by their places, without those that are of one run."""
    if isinstance(value, dict):
        if value.get("name") in _MEASURED:
            value = {key: value.get(key) for key in ("name", "verdict")}
        value = {key: one for key, one in value.items() if key not in _OF_THE_RUN}
        return {k: v for key, one in value.items() for k, v in _leaves(one, f"{path}.{key}").items()}
    if isinstance(value, list):
        return {k: v for i, one in enumerate(value) for k, v in _leaves(one, f"{path}[{i}]").items()}
    return {path: value}


JOURNALS: Final = ("searches", "simulations", "training")
"""Folders of the cache with parts of long work, one file each, which the next run goes on with: they are no entries."""


def _damaged_entries(cache: Path) -> list[str]:
    """Returns the entries of a cache that are not complete."""
    kinds = [kind for kind in cache.iterdir() if not kind.name.startswith(".") and kind.name not in JOURNALS]
    entries = [entry for kind in kinds for entry in kind.iterdir() if not entry.name.startswith(".")]
    return [f"cache entry {e.parent.name}/{e.name}: {why}" for e in entries if (why := find_damage(e)) is not None]


def _left(place: Path) -> list[str]:
    """Returns what a command should have removed: half-written files, temporary folders."""
    partial = [path for path in (place / "work").rglob("*") if ".partial" in path.name]
    partial += [path for path in (place / "cache").rglob("*") if ".partial" in path.name]
    running = place / "cache" / ".running"
    folders = [*(place / "tmp").iterdir(), *(running.iterdir() if running.exists() else ())]
    return [path.relative_to(place).as_posix() for path in (*partial, *folders)]
