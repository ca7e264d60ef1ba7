"""Loads what a task names: `module:name`, or `file.py:name` beside the task file.

User code fails in many ways, and none of them may look like a fault of edgekit: a failure becomes one message with the
user's own frames and nothing of ours or of a framework's.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import linecache
import site
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from edgekit.errors import ConfigError, EdgekitError, InputError
from edgekit.task.references import Reference, parse_reference
from edgekit.task.user_modules import import_file, import_named

_EDGEKIT: Final = Path(__file__).resolve().parents[1]
_LONGEST_MESSAGE: Final = 1500
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
"""Folders that hold installed packages."""


def split_reference(reference: str, what: str, error: type[InputError] = ConfigError) -> tuple[str, str]:
    """Returns the two halves of `module:name` or `file.py:name`, without arguments (see `parse_reference`).

    Raises:
        InputError: it is no reference.
    """
    found = parse_reference(reference, what, error)
    return found.where, found.name


def load_object(reference: str, base: Path, what: str, error: type[InputError] = ConfigError) -> Any:
    """Returns the callable that `reference` names, with the arguments that it sets as a `functools.partial`.

    The code in the file's folder (for a module: in `base`) can import what lies beside it, also inside its functions. A
    file is cached under a private name: two `model.py` do not clash.

    Args:
        reference: `module:name` or `file.py:name`, the file relative to `base`. The name may have dots, and arguments
            may follow it: `resnet.py:build(width=8)`.
        base: Folder of the task file.
        what: What it is for, for messages: `[model] source`.
        error: The error to raise.

    Raises:
        InputError: no such file, module or name; the import failed; what is there cannot be called, or not with these
            arguments.
    """
    parsed = parse_reference(reference, what, error)
    where, name = parsed.where, parsed.name
    load = _load_file if where.endswith(".py") else _load_module
    found: Any = load(where, base, what, error)
    for part in name.split("."):
        if not hasattr(found, part):
            raise error(f"{what}: {where} has no {name}.{nearest_names(part, _public_names(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise error(f"{what}: {reference} is of type {type(found).__name__} and cannot be called; expected a function.")
    if not parsed.arguments:
        return found
    _check_parameters(found, parsed, what, error)
    return functools.partial(found, **dict(parsed.arguments))


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Returns the names of the parameters that can be given by keyword; None where a function tells none or takes any.

    Some builtins tell none; a function with `**kwargs` takes any.
    """
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in found):
        return None
    return tuple(p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def _check_parameters(found: Any, parsed: Reference, what: str, error: type[InputError]) -> None:
    known = parameter_names(found)
    for name, _ in parsed.arguments:
        if known is not None and name not in known:
            hint = nearest_names(name, list(known)) or " It has none."
            raise error(f"{what}: {parsed.where}:{parsed.name} has no parameter {name}.{hint}")


def call_user(function: Callable[..., Any], args: tuple[Any, ...], title: str, error: type[InputError]) -> Any:
    """Returns `function(*args)`, with a failure reported by the user's own frames.

    Args:
        function: User code, or a framework that runs user code.
        args: Its arguments.
        title: The message's first words: `model.py:build failed`.
        error: The error to raise.

    Raises:
        InputError: it raised. Errors of edgekit pass as they are.
    """
    try:
        return function(*args)
    except EdgekitError:
        raise
    except SystemExit as problem:
        raise error(
            f"{title}: it called sys.exit({problem.code!r}). Guard it: if __name__ == '__main__': ..."
        ) from problem
    except Exception as problem:
        raise error(f"{title}:\n{describe_failure(problem)}") from problem


def check_callable_without_arguments(
    function: Callable[..., Any], reference: str, what: str, error: type[InputError]
) -> None:
    """Checks that `function()` can be called.

    Raises:
        InputError: it has parameters without a default.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none: the call itself will tell
        return
    required = [
        p.name
        for p in signature.parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if required:
        raise error(
            f"{what}: {reference} needs arguments ({', '.join(required)}); edgekit calls it without any. "
            "Give them defaults, or write a function that calls it."
        )


def describe_failure(problem: BaseException) -> str:
    """Returns the user's frames of a traceback and the exception's message, a few lines in all."""
    lines = [line for frame in user_frames(problem) for line in _describe_frame(frame)]
    message = "".join(traceback.format_exception_only(problem)).strip()
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + " ..."
    return "\n".join([*lines, message])


def user_frames(problem: BaseException) -> tuple[traceback.FrameSummary, ...]:
    """Returns the frames of a traceback that are neither edgekit's nor an installed package's nor Python's."""
    return tuple(frame for frame in traceback.extract_tb(problem.__traceback__) if is_user_file(frame.filename))


def is_user_file(filename: str) -> bool:
    """Returns whether a frame's file is the user's: not edgekit's, an installed package's or Python's."""
    if filename.startswith("<"):
        return False
    path = Path(filename).resolve()
    # Packages of another environment may be on the path, by a `.pth` file or PYTHONPATH.
    return _INSTALLED.isdisjoint(path.parts) and not any(path.is_relative_to(folder) for folder in _foreign_folders())


def place_words(frames: Sequence[traceback.FrameSummary]) -> str:
    """Returns `, at file:line: source` of the user's innermost line; "" where no line is the user's.

    Where that line calls a library, the library's line is named behind it: that is what must change, or be avoided.

    Args:
        frames: The calls, outermost first; torch's own may be among them.
    """
    own = [i for i, frame in enumerate(frames) if is_user_file(frame.filename)]
    if not own:
        return ""
    last = frames[own[-1]]
    place = f", at {last.filename}:{last.lineno}" + (f": {last.line}" if last.line else "")
    inner = [frame for frame in frames[own[-1] + 1 :] if _is_library(frame.filename)]
    if not inner:
        return place
    name = _in_package(Path(inner[-1].filename))
    return f"{place} (in {name}:{inner[-1].lineno}" + (f": {inner[-1].line})" if inner[-1].line else ")")


def _is_library(filename: str) -> bool:
    """Returns whether a frame's file belongs to an installed package other than torch."""
    parts = Path(filename).parts
    return not _INSTALLED.isdisjoint(parts) and not _in_package(Path(filename)).startswith("torch/")


def _in_package(path: Path) -> str:
    """Returns `package/module.py` of a file in an installed package."""
    place = max(i for i, part in enumerate(path.parts) if part in _INSTALLED)
    return "/".join(path.parts[place + 1 :])


def nearest_names(wanted: str, names: list[str]) -> str:
    """Returns ` Did you mean a, b?` with the nearest of `names`, or what there is, or nothing."""
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    if near:
        return f" Did you mean {' or '.join(near)}?"
    return f" It has: {', '.join(sorted(names)[:12])}." if names else ""


def _foreign_folders() -> tuple[Path, ...]:
    folders = [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_paths()["stdlib"], str(_EDGEKIT)]
    return tuple(Path(folder).resolve() for folder in folders)


def _describe_frame(frame: traceback.FrameSummary) -> list[str]:
    source = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}", *([f"    {source}"] if source else [])]


def _public_names(found: Any) -> list[str]:
    return [
        name
        for name in dir(found)
        if not name.startswith("_") and not isinstance(getattr(found, name, None), ModuleType)
    ]


def _load_file(where: str, base: Path, what: str, error: type[InputError]) -> ModuleType:
    path = (base / where).resolve()
    if not path.is_file():
        names = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise error(f"{what}: {where}: no such file in {base.resolve()}.{nearest_names(path.name, names)}")
    return _import(lambda: import_file(base / where, base), path.parent, where, what, error)


def _load_module(where: str, base: Path, what: str, error: type[InputError]) -> ModuleType:
    return _import(lambda: import_named(where, base), base.resolve(), where, what, error)


def _import(load: Callable[[], ModuleType], folder: Path, where: str, what: str, error: type[InputError]) -> ModuleType:
    """Returns what an import of user code gives, with a failure reported by the user's own frames."""
    try:
        return load()
    except ModuleNotFoundError as problem:
        if problem.name is not None and (where == problem.name or where.startswith(problem.name + ".")):
            raise error(
                f"{what}: no module named {where}: it is neither in {folder} nor installed. "
                "A file is named with its suffix: file.py:name."
            ) from None
        raise error(_import_message(what, where, problem)) from problem
    except SystemExit as problem:
        raise error(
            f"{what}: {where} called sys.exit({problem.code!r}) while it was imported. "
            "Guard what must run only as a script: if __name__ == '__main__': ..."
        ) from problem
    except EdgekitError:
        raise
    except Exception as problem:
        raise error(_import_message(what, where, problem)) from problem


def _import_message(what: str, where: str, problem: Exception) -> str:
    hint = ""
    if isinstance(problem, ImportError) and "relative import" in str(problem):
        hint = f"\n{where} belongs to a package: name it as a module, package.{Path(where).stem}:name."
    return f"{what}: {where} could not be imported:\n{describe_failure(problem)}{hint}"
