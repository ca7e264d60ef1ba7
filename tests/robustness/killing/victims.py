"""The commands that are killed, and the small task that they work on.

A victim runs in a copy of a folder with one network of 300 weights, its data and what an earlier export left.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fuzzing.seeds import MODEL, TASK, TORCH, run_edgekit, run_python

ONNX_MODEL: Final = ("net.onnx", "--calibration", "cal.npz", "--evaluation", "eval.npz", "--metric", "top1")
QUIET: Final = ("-d", "pi4", "-q", "--no-color")


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A command that is killed.

    Attributes:
        arguments: Behind `edgekit`.
        writes: Files and folders that it writes.
        is_warm: It finds in the cache what an earlier command on the same model has left, so that the time of a kill
            falls into what is its own.
        cpu_s: CPU seconds of an undisturbed run, rounded: dear ones are killed less often.
        keeps: Folders whose files, once there, are never made anew: what was done before a kill is not lost.
    """

    arguments: tuple[str, ...]
    writes: tuple[str, ...]
    is_warm: bool = False
    cpu_s: float = 5.0
    keeps: tuple[str, ...] = ()


VICTIMS: Final[dict[str, Victim]] = {
    "gate": Victim(
        arguments=("gate", "out", *QUIET, "--junit", "j.xml", "--sarif", "s.json", "--markdown", "m.md"),
        writes=("j.xml", "s.json", "m.md"),
        cpu_s=1,
    ),
    "report": Victim(arguments=("report", "out"), writes=("out/report.html",), cpu_s=2),
    "baseline": Victim(arguments=("baseline", "set", "out", "-o", "base.json"), writes=("base.json",), cpu_s=1),
    "validate": Victim(
        arguments=(
            *("validate", "out/net-int8-static.onnx", "-m", *ONNX_MODEL[:1], *ONNX_MODEL[3:], *QUIET[:2]),
            *("--max-size", "1 MB"),
        ),
        writes=(),
        cpu_s=3.5,
    ),
    "plan": Victim(
        arguments=("plan", *ONNX_MODEL[:3], *QUIET, "--max-size", "1 MB", "-o", "plan.json"),
        writes=("plan.json",),
    ),
    "export": Victim(
        arguments=("export", *ONNX_MODEL, *QUIET, "--format", "onnx", "--precision", "int8", "-o", "made"),
        writes=("made",),
    ),
    "export again": Victim(
        arguments=("export", *ONNX_MODEL, *QUIET, "--format", "onnx", "--precision", "int8", "-o", "out", "--no-cache"),
        writes=("out",),
    ),
    "export of two formats": Victim(
        arguments=("export", *QUIET, "--format", "tflite,executorch", "--precision", "int8", "-o", "made"),
        writes=("made",),
        is_warm=True,
        cpu_s=25,
    ),
    "export that trains": Victim(
        arguments=("export", *QUIET, "--format", "onnx", "-t", "qat", "--precision", "int8", "-o", "made"),
        writes=("made",),
        is_warm=True,
        cpu_s=25,
    ),
    "search": Victim(
        arguments=("search", *QUIET, "--format", "onnx", "--max-size", "1 MB", "-o", "found"),
        writes=("found",),
        is_warm=True,
        cpu_s=35,
    ),
    "sweep": Victim(
        # One job at a time: a fork of a process whose threads run may inherit a lock that nobody releases.
        arguments=("sweep", "run", "-m", "net.onnx", *QUIET, "-f", "onnx", "-p", "fp32,int8", "-j", "1", "-o", "swept"),
        writes=("swept",),
        cpu_s=15,
        keeps=("swept/rows",),
    ),
}


def make_ground(folder: Path) -> None:
    """Makes the files that all victims work on, `ground`, and the cache that warm ones find, `warm`."""
    ground = folder / "ground"
    ground.mkdir()
    (ground / "edgekit.toml").write_text(TASK)
    (ground / "model.py").write_text(MODEL)
    run_python(ground, "-c", TORCH)
    for name in ("images", "net.pt2", "outside.onnx", "weights.bin", "x.npy"):
        place = ground / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    run_edgekit(ground, 1, "export", *ONNX_MODEL, *QUIET, "--format", "onnx", "--precision", "int8", "-o", "out")
    shutil.rmtree(ground / "cache")
    run_edgekit(ground, 0, "plan", *QUIET, "--max-size", "1 MB", "-o", "plan.json")
    (ground / "plan.json").unlink()
    shutil.rmtree(ground / "__pycache__", ignore_errors=True)
    (ground / "cache").rename(folder / "warm")
