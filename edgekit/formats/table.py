"""Formats by name and by suffix: edgekit's own and those of third parties, which register in the same way."""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgekit.errors import PluginError
from edgekit.formats.format import Format, Runtime
from edgekit.model import IMPORTABLE
from edgekit.plugins import load_plugin
from edgekit.registry import format_names, format_target, is_old_converter


def find_format(name: str) -> Format:
    """Returns the descriptor of the format `name`.

    Raises:
        KeyError: no such format; callers check names against `registry.format_names()` first.
        PluginError: a third party's plug-in cannot be loaded, or is no format.
    """
    return _loaded(name, format_target(name))


def known_format(name: str) -> Format | None:
    """Returns the descriptor of the format `name`, None where there is none: reports can be of another machine's."""
    try:
        return find_format(name)
    except KeyError:
        return None


def all_formats() -> tuple[Format, ...]:
    """Returns all descriptors in the order of tables, third parties' last.

    A third party's that cannot be loaded is left out: `edgekit doctor` says why, and so does whoever asks for it.
    """
    found: list[Format] = []
    for name in format_names():
        try:
            found.append(find_format(name))
        except PluginError:
            continue
    return tuple(found)


@cache
def _loaded(name: str, target: str) -> Format:
    found: Any = load_plugin("format", name, target)
    if is_old_converter(name):
        return _from_converter(name, target, found)
    if not isinstance(found, Format) or found.name != name:
        came = f'the format "{found.name}"' if isinstance(found, Format) else f"a {type(found).__name__}"
        raise PluginError(
            f'The entry point "{name}" of edgekit.formats must name an edgekit.formats.format.Format called "{name}"; '
            f"{target} is {came}. Mend the distribution that brings it."
        )
    return found


def _from_converter(name: str, target: str, converter: Any) -> Format:
    """Returns what the old entry point group could say: a converter, and nothing that runs its artifacts."""
    warnings.warn(
        f'The entry point group edgekit.converters is deprecated and brings "{name}" without a runtime: name an '
        "edgekit.formats.format.Format in the group edgekit.formats.",
        DeprecationWarning,
        stacklevel=2,
    )
    runtime = Runtime(title=name, modules=(), install="", module_title=name)
    return Format(
        name=name,
        title=name,
        suffix=converter.suffix,
        converter=target,
        session="",
        runtime=runtime,
        needs=converter.needs,
        extra="",
        starts_from=("pt2", *sorted(IMPORTABLE)),
    )


def session_file(name: str) -> Path:
    """Returns the file of the format's runner session. Imports the packages that it lies in, and not the file.

    Raises:
        PluginError: the format has none, or it is not a file.
    """
    module = find_format(name).session
    spec = importlib.util.find_spec(module) if module else None
    if spec is None or spec.origin is None:
        named = f"its session {module} is not there" if module else "it brings no runner session"
        raise PluginError(
            f"{name} artifacts cannot be run: {named}. Mend or uninstall the distribution that brings the format."
        )
    return Path(spec.origin)


def accelerator_files() -> dict[str, Path]:
    """Returns the accelerators that some format has rules about, by name, and the files of these rules."""
    folders = dict.fromkeys(one.accelerators for one in all_formats() if one.accelerators)
    return {path.stem: path for text in folders for path in sorted(resource_folder(text).glob("*.toml"))}


def resource_folder(text: str) -> Path:
    """Returns the folder that `package:folder` names."""
    package, _, folder = text.partition(":")
    return Path(str(files(package))) / folder
