"""The task file that `edgekit init --from` writes for a model that is there. Python files are read, never run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from edgekit.errors import UsageError
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.scaffold import config_text
from edgekit.task.task_kinds import DEFAULT_METRIC, TASKS, Targets

_MODEL_FILES: Final = (
    ".pt2",
    ".pt",
    ".ptl",
    ".torchscript",
    ".onnx",
    ".keras",
    ".h5",
    ".hdf5",
    ".pb",
    ".tflite",
    ".lite",
)
_FACTORIES: Final = ("build", "build_model", "make_model", "create_model", "get_model", "load_model", "model")
_EXAMPLES: Final = ("example_inputs", "example_input", "sample_inputs", "dummy_inputs", "inputs")
_DATA: Final = ("calibration", "evaluation")
_ANNOTATED: Final[Mapping[Targets, str]] = {
    "boxes": "instances_val.json",
    "instances": "instances_val.json",
    "poses": "person_keypoints_val.json",
    "mask": "val",
}
"""An evaluation of annotated pictures, as an example."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTask:
    """What a model file says about its task.

    Attributes:
        keys: Keys of the task file with their values: `source`, `example_inputs`, `calibration`, `evaluation`.
        needs: What the user must still write, sentences.
    """

    keys: Mapping[str, str]
    needs: tuple[str, ...] = field(default=())


def find_task(given: str, folder: Path) -> FoundTask:
    """Returns what the model file `given`, `net.onnx` or `model.py` or `model.py:build`, says about its task.

    Args:
        given: What the user wrote, relative to the working folder.
        folder: Where the task file will lie: paths in it start there.

    Raises:
        UsageError: no such file, not a model, or a Python file in which no factory can be found.
    """
    head, _, factory = given.partition(":")
    path = Path(head)
    if not path.exists():
        raise UsageError(f"--from {given}: no such file. Give a model.py, model.py:build, or a model file.")
    shown = Path(os.path.relpath(path, folder)).as_posix()
    if path.suffix.lower() in _MODEL_FILES or (path / "saved_model.pb").is_file():
        return FoundTask(keys={"source": shown})
    if path.suffix != ".py":
        raise UsageError(
            f"--from {given}: not a model. Give a Python file with a factory, or a file that ends in "
            f"{', '.join(_MODEL_FILES)}."
        )
    names = _callables(path)
    keys = {"source": f"{shown}:{factory or _factory(names, given)}"}
    if example := next((name for name in _EXAMPLES if name in names), None):
        keys["example_inputs"] = f"{shown}:{example}"
    for other in (path.parent / "data.py", path):
        there = _callables(other) if other.is_file() else ()
        beside = Path(os.path.relpath(other, folder)).as_posix()
        keys |= {name: f"{beside}:{name}" for name in _DATA if name in there}
    needs = () if "example_inputs" in keys or "calibration" in keys else (
        f"Add a function to {shown} that returns the inputs at batch 1, and name it as example_inputs in edgekit.toml.",
    )  # fmt: skip
    return FoundTask(keys=keys, needs=needs)


def task_file_for(found: FoundTask, profile: DeviceProfile, kind: str | None = None) -> str:
    """Returns the text of the task file; what was not found is there as a comment.

    Args:
        found: What the model says.
        profile: The device.
        kind: What the model does, a key of `TASKS`; None where nobody said it.

    Raises:
        UsageError: no such task.
    """
    if kind is not None and kind not in TASKS:
        raise UsageError(f'--task "{kind}" is not known: accepted are {", ".join(TASKS)}.')
    keys = {**found.keys, **({"task": kind} if kind else {})}
    return "\n".join(_line(line, keys) for line in config_text(profile).splitlines()) + "\n"


def _line(line: str, keys: Mapping[str, str]) -> str:
    """Returns a line of the example's task file as it is for this model."""
    key = line.partition(" =")[0].removeprefix("# ")
    if key in keys and line.startswith((key, "# task")):
        return f'{key} = "{keys[key]}"'
    kind = TASKS.get(keys.get("task", ""))
    if key == "metric" and line.startswith(key) and (kind or "evaluation" not in keys):
        return f'metric = "{kind.metrics[0] if kind and "evaluation" in keys else DEFAULT_METRIC}"'
    if kind and key == "evaluation" and kind.targets:
        return f'# evaluation = "{_ANNOTATED[kind.targets]}"'
    return f"# {line}" if key in ("example_inputs", "labels", *_DATA) else line


def _callables(path: Path) -> tuple[str, ...]:
    """Returns the functions and module classes at the top of a Python file that can be called without arguments.

    Raises:
        UsageError: it is no Python that can be read.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UsageError(f"--from: {path} cannot be read as Python: {error}") from None
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not _required(node.args, 0):
            found.append(node.name)
        if isinstance(node, ast.ClassDef) and any("Module" in ast.unparse(base) for base in node.bases):
            makers = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
            if not any(_required(maker.args, 1) for maker in makers):
                found.append(node.name)
    return tuple(found)


def _required(arguments: ast.arguments, bound: int) -> bool:
    """Returns whether a call must give an argument, where the first `bound` are given already."""
    positional = len(arguments.posonlyargs) + len(arguments.args) - bound - len(arguments.defaults)
    return positional > 0 or any(default is None for default in arguments.kw_defaults)


def _factory(names: Iterable[str], given: str) -> str:
    names = list(names)
    known = [name for name in _FACTORIES if name in names]
    others = [name for name in names if name not in (*_EXAMPLES, *_DATA) and not name.startswith("_")]
    if known or len(others) == 1:
        return (known or others)[0]
    listed = f"it has {', '.join(others)}" if others else "it has no function that takes no argument"
    raise UsageError(
        f"--from {given}: no factory was found: {listed}. Name the function that returns the model: {given}:build."
    )
