"""Whether the same task gives the same bytes, whatever surrounds it: four formats at INT8, sixteen surroundings.

    python benchmarks/determinism.py [--work FOLDER] [--only NAME] [--write]

An export that lies in `--work` is not made again: a run that was stopped goes on there.

Each surrounding is a whole `edgekit export` of one small network, by default with a cache of its own. Compared with the
first: every file of every artifact, and `edgekit.lock` as a whole. The clock is moved by a library that stands in front
of the C library's (built with `gcc`), so that native code is fooled too. Who is nobody runs in a user namespace
(`unshare`). Last, `edgekit verify --rebuild` of the first export from another checkout's folder. `--write` puts the
table into `benchmarks/results/determinism.md`. Needs no data.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
FORMATS: Final = ("tflite", "onnx", "executorch", "coreml")

TASK: Final = """
[model]
source = "model.py:build"
example_inputs = "model.py:example_inputs"
[data]
calibration = "model.py:calibration"
evaluation = "model.py:evaluation"
metric = "top1"
[budget]
accuracy_drop = "100 pp"
"""

MODEL: Final = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.linear = torch.nn.Linear(16, 5)

    def forward(self, image):
        x = torch.relu(self.norm(self.conv(image)))
        return self.linear(torch.relu(self.second(x)).mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Net().eval()

def example_inputs():
    return (torch.zeros(1, 3, 16, 16),)

def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 3, 16, 16, generator=generator)

def calibration():
    return [(image,) for image in images(16, 1)]

def evaluation():
    return [((image,), i % 5) for i, image in enumerate(images(64, 2))]
"""

CLOCK: Final = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
#define LATER (40000000L)  /* 463 days */
int clock_gettime(clockid_t id, struct timespec *to) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(id, to);
    if (!code && id == CLOCK_REALTIME) to->tv_sec += LATER;
    return code;
}
time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *to, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""
"""A clock that is 463 days ahead, for every program that asks the C library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrounding:
    """What differs from the first export.

    Attributes:
        title: In words.
        folder: Where the task lies, below the working folder; the export runs there.
        before: Program and arguments in front of the command.
        environment: Variables; "" takes one away.
        config: The task is named with `--config`, and the export runs elsewhere.
        linked: The user's file lies elsewhere and a link leads to it.
        arguments: Added to the export's.
        cache: Name of its cache; None for one of its own.
    """

    title: str
    folder: str
    before: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    config: bool = False
    linked: bool = False
    arguments: tuple[str, ...] = ()
    cache: str | None = None


NOBODY: Final = ("unshare", "--user", "--map-user=12345", "--map-group=12345")

SURROUNDINGS: Final = (
    Surrounding(title="as it is", folder="plain"),
    Surrounding(title="another folder", folder="Ein anderer Ort/größer/tief/er"),
    Surrounding(title="another working folder, the task named by --config", folder="config", config=True),
    Surrounding(title="the user's file elsewhere, by a link", folder="linked", linked=True),
    Surrounding(title="umask 077", folder="umask", before=("sh", "-c", 'umask 077; exec "$@"', "sh")),
    Surrounding(
        title="locale C, no UTF-8", folder="locale",
        environment={"LC_ALL": "C", "LANG": "tr_TR.ISO-8859-9", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ),
    Surrounding(title="time zone Asia/Kathmandu", folder="zone", environment={"TZ": "Asia/Kathmandu"}),
    Surrounding(title="hash seed 7", folder="seed", environment={"PYTHONHASHSEED": "7"}),
    Surrounding(
        title="clock 463 days ahead, SOURCE_DATE_EPOCH 0", folder="clock",
        environment={"LD_PRELOAD": "{clock}", "SOURCE_DATE_EPOCH": "0"},
    ),
    Surrounding(
        title="two threads a library, one worker at a time", folder="threads", arguments=("--jobs", "1"),
        environment=dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "2"),
    ),
    Surrounding(title="one processor", folder="one", before=("taskset", "-c", "0")),
    Surrounding(title="no HOME", folder="home", environment={"HOME": ""}),
    Surrounding(
        title="another user's name and home", folder="name",
        environment={"USER": "somebody", "LOGNAME": "somebody", "HOME": "{work}/somebody"},
    ),
    Surrounding(title="a user without an entry, no HOME", folder="nobody", before=NOBODY, environment={"HOME": ""}),
    Surrounding(title="a warm cache", folder="warm", cache="plain"),
    Surrounding(title="no cache", folder="none", arguments=("--no-cache",)),
)  # fmt: skip


def built_clock(work: Path) -> Path:
    """Returns the library of the moved clock."""
    source, library = work / "clock.c", work / "clock.so"
    source.write_text(CLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def write_project(folder: Path, *, linked: bool) -> None:
    """Writes the task and the user's file."""
    folder.mkdir(parents=True)
    (folder / "edgekit.toml").write_text(TASK, encoding="utf-8")
    if linked:
        elsewhere = folder.parent / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        (elsewhere / "network.py").write_text(MODEL, encoding="utf-8")
        (folder / "model.py").symlink_to(elsewhere / "network.py")
    else:
        (folder / "model.py").write_text(MODEL, encoding="utf-8")


def environment_of(one: Surrounding, work: Path, clock: Path) -> dict[str, str]:
    """Returns the variables of a surrounding."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("EDGEKIT_")}
    cache = {"EDGEKIT_CACHE_DIR": str(work / "caches" / (one.cache or one.folder.partition("/")[0]))}
    added = {name: text.format(work=work, clock=clock) for name, text in one.environment.items()}
    made = {**kept, "PYTHONPATH": str(HERE.parent), **cache, **added}
    return {name: text for name, text in made.items() if text}


def export(one: Surrounding, work: Path, clock: Path) -> Path:
    """Exports in a surrounding; returns the output folder."""
    project = work / one.folder
    if (project / "out" / "edgekit.lock").exists():
        return project / "out"
    shutil.rmtree(project, ignore_errors=True)
    write_project(project, linked=one.linked)
    command = [sys.executable, "-m", "edgekit", "export", "-d", "pi4", "-f", ",".join(FORMATS), "-p", "int8", "-q"]
    where, given = project, ["-o", "out"]
    if one.config:
        where = work / "standing elsewhere"
        where.mkdir(exist_ok=True)
        given = ["-c", str(project / "edgekit.toml"), "-o", str(project / "out")]
    done = subprocess.run(
        [*one.before, *command, *given, *one.arguments], cwd=where, env=environment_of(one, work, clock),
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(f"{one.title}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return project / "out"


def digests(out: Path) -> dict[str, str]:
    """Returns the digest of each artifact, all its files and their names, and of the lock."""
    found = {}
    for suffix in (".tflite", ".onnx", ".pte", ".mlpackage", "edgekit.lock"):
        (path,) = out.glob(f"*{suffix}") if suffix.startswith(".") else [out / suffix]
        files = sorted(x for x in path.rglob("*") if x.is_file()) if path.is_dir() else [path]
        whole = hashlib.sha256()
        for file in files:
            whole.update(f"{file.relative_to(path.parent)}\0".encode())
            whole.update(file.read_bytes())
        found[path.name if suffix == "edgekit.lock" else suffix] = whole.hexdigest()
    return found


def rebuilt(work: Path, clock: Path) -> str:
    """Returns what `verify --rebuild` of the first export says in another checkout."""
    one = Surrounding(title="", folder="Ein anderer Ort/größer/tief/er", cache="rebuilt")
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "verify", str(work / "plain" / "out"), "--rebuild", "-q"],
        cwd=work / one.folder, env=environment_of(one, work, clock), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"exit code {done.returncode}: {' '.join((done.stdout or done.stderr).split()[-2:-1]) or 'nothing'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", help="folder of one surrounding, held against the first; writes nothing")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    work = (options.work or Path(tempfile.mkdtemp())).absolute()
    work.mkdir(parents=True, exist_ok=True)
    clock = built_clock(work)
    lines = [f"| surrounding | {' | '.join((*FORMATS, 'lock'))} |", f"|---{'|---' * (len(FORMATS) + 1)}|"]
    first: dict[str, str] = {}
    different = 0
    for one in SURROUNDINGS:
        if options.only not in (None, one.folder) and first:
            continue
        started = time.monotonic()
        found = digests(export(one, work, clock))
        first = first or found
        same = [found[name] == first[name] for name in first]
        different += same.count(False)
        lines.append(f"| {one.title} | {' | '.join('same' if x else '**differs**' for x in same)} |")
        print(f"{lines[-1]} {time.monotonic() - started:.0f} s", flush=True)
    lines += ["", f"{different} of {len(first) * (len(lines) - 3)} comparisons differ."]
    if options.only is None:
        lines += ["", f"`verify --rebuild` of the first from another checkout: {rebuilt(work, clock)}."]
    print("\n".join(lines[-3:]))
    if options.write and options.only is None:
        head = "Output of `python benchmarks/determinism.py --write`. What is compared: the head of that file."
        text = "\n".join(["# Determinism", "", head, "", *lines, ""])
        (HERE / "results" / "determinism.md").write_text(text, encoding="utf-8")
    if options.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
