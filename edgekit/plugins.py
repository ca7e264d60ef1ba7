"""Turns the text of the registry's tables into objects. It imports no plug-in's base: each base types its own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from edgekit.errors import PluginError
from edgekit.recipe import Step
from edgekit.registry import technique_targets


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
