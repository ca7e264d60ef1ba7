"""Turns the text of the registry's tables into objects. It imports no plug-in's base: each base types its own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, Final, Protocol

from edgekit.errors import DataError, PluginError
from edgekit.recipe import Step
from edgekit.registry import technique_targets

_SETTING_TYPES: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "text"),
    "bool": ((bool,), "true or false"),
}
"""Annotation of a setting to what it accepts, and how that is called."""


class ConfiguredTechnique(Protocol):
    """A technique with its settings."""

    def step(self) -> Step:
        """Returns the technique's name with all its settings."""
        ...


class ConfigurableTechnique(Protocol):
    """A technique whose settings are to be read."""

    def from_settings(self, settings: Mapping[str, Any], source: str) -> ConfiguredTechnique:
        """Returns the technique with these settings."""
        ...


def load(target: str) -> Any:
    """Returns the object that `module:name` names, its module imported."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def configurable_technique(name: str) -> ConfigurableTechnique:
    """Returns the technique `name`, whose settings can be read.

    Raises:
        KeyError: no such technique; callers check names against `technique_names()` first.
    """
    found: ConfigurableTechnique = load(technique_targets()[name])
    return found


def load_plugin(kind: str, name: str, target: str) -> Any:
    """Returns the object that `module:name` names, of a plug-in that may be a third party's.

    Args:
        kind: What it is, for the message: `format`, `metric`.
        name: What it is called.
        target: `module:name`.

    Raises:
        PluginError: it cannot be loaded.
    """
    try:
        return load(target)
    except Exception as error:  # a third party's plug-in may raise anything when it is loaded
        raise PluginError(
            f'The {kind} "{name}" cannot be loaded from {target}: {type(error).__name__}: {error}. '
            "Mend or uninstall the distribution that brings it."
        ) from error


def configured(title: str, plugin: Any, settings: Mapping[str, Any]) -> Any:
    """Returns the plug-in made with these settings: the keyword parameters of its constructor.

    A constructor that takes `**others` hands what it does not know on, and checks it itself.

    Args:
        title: What the plug-in is called, for messages: `The metric recall_at_k`.
        plugin: A class whose parameters are annotated as int, float, str or bool.
        settings: Name to value.

    Raises:
        DataError: it has no such setting, or a value of another type.
    """
    parameters = {} if plugin.__init__ is object.__init__ else dict(inspect.signature(plugin).parameters)
    open_ended = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    accepted = [name for name, item in parameters.items() if item.kind is not inspect.Parameter.VAR_KEYWORD]
    for name, value in settings.items():
        if name not in accepted:
            if open_ended:
                continue
            listed = f"accepted are {', '.join(accepted)}" if accepted else "it has none"
            raise DataError(f'{title} has no setting "{name}": {listed}.')
        types, words = _SETTING_TYPES.get(str(parameters[name].annotation), ((object,), ""))
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types and object not in types):
            raise DataError(f"{title}: {name} is {value!r}; expected {words}.")
    return plugin(**settings)
