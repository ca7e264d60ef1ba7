"""What a shell offers when the user presses Tab: names that are known without loading a framework."""

from __future__ import annotations

from pathlib import Path

from edgekit import registry
from edgekit.recipe import EFFORTS, PREFERENCES, PRESETS


def complete_device(incomplete: str) -> list[str]:
    """Returns the names of device profiles that begin with what was typed, the user's own profiles included."""
    from edgekit.errors import EdgekitError
    from edgekit.profiles.profile import list_profiles

    try:
        names = [profile.name for profile in list_profiles(Path.cwd())]
    except EdgekitError:
        return []  # a profile of the user's is wrong: the command itself says so, a shell cannot
    return _starting(incomplete, names)


def complete_format(incomplete: str) -> list[str]:
    """Returns the formats that begin with what was typed."""
    return _starting(incomplete, [*registry.format_names(), "all"])


def complete_precision(incomplete: str) -> list[str]:
    """Returns the presets that begin with what was typed."""
    return _starting(incomplete, list(PRESETS))


def complete_effort(incomplete: str) -> list[str]:
    """Returns the efforts that begin with what was typed."""
    return _starting(incomplete, list(EFFORTS))


def complete_preference(incomplete: str) -> list[str]:
    """Returns what `--prefer` takes, as far as it begins with what was typed."""
    return _starting(incomplete, list(PREFERENCES))


def complete_technique(incomplete: str) -> list[str]:
    """Returns the techniques that begin with what was typed."""
    return _starting(incomplete, list(registry.technique_names()))


def _starting(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
