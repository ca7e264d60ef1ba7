"""Turns the text of the registry's tables into objects. It imports no plug-in's base: each base types its own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from edgekit.recipe import Step
from edgekit.registry import converter_targets, technique_targets


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


class Installable(Protocol):
    """What needs packages that may be missing."""

    @property
    def extra(self) -> str:
        """The extra of edgekit that brings them."""
        ...

    @property
    def needs(self) -> Mapping[str, str]:
        """Module to the distribution that brings it."""
        ...

    def missing(self) -> tuple[str, ...]:
        """Returns the packages that are not installed."""
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


def installable_converter(name: str) -> Installable:
    """Returns the converter of the format `name`, for what it needs installed.

    Raises:
        KeyError: no such format; callers check names against `converter_names()` first.
    """
    found: Installable = load(converter_targets()[name])()
    return found
