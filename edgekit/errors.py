"""Every error that edgekit raises on purpose, and the exit code that each one means.

    EdgekitError                    4   base; never raised itself
    ├── VerdictError                1   a report that did not pass, where a program asks for an exception
    ├── InputError                  2   what the user gave is wrong
    │   ├── UsageError                  a flag or an argument
    │   ├── ConfigError                 edgekit.toml, pyproject.toml or an environment variable
    │   ├── ProfileError                a device profile, or a device nobody knows
    │   ├── ModelError                  a model source that cannot be read, captured or exported
    │   ├── DataError                   calibration, evaluation or training data
    │   ├── ArtifactError               an artifact that cannot be read or run
    │   ├── TechniqueError              a technique that cannot be used on this model
    │   └── ConversionError             a model that this format cannot hold
    ├── MachineError                3   this machine cannot do it
    │   ├── MissingDependencyError      a package that is not installed
    │   ├── ResourceError               out of time, memory or disk; a folder that cannot be written
    │   ├── DeviceError                 a device that cannot be reached, or that lacks what a run there needs
    │   ├── PluginError                 a third party's plug-in that cannot be loaded or lacks what was needed
    │   └── WorkerError                 a worker process that crashed
    └── InternalError               4   a fault of edgekit's own; the message names the file with the traceback

A budget that is not kept is a verdict and not an error: it is a check in a report (exit code 1). Only a program that
calls `raise_if_failed()` gets a `VerdictError` of it.
A message names the thing, what came, what was expected and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class EdgekitError(Exception):
    """Base of all errors that edgekit raises on purpose.

    Args:
        message: One or more lines for a person; printed as it is, without a traceback.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class VerdictError(EdgekitError):
    """A report did not pass; the message names each check and format that failed."""

    exit_code: ClassVar[int] = 1


class InputError(EdgekitError):
    """What the user gave is wrong: exit code 2."""

    exit_code: ClassVar[int] = 2


class UsageError(InputError):
    """A flag or an argument of the command line is wrong."""


class ConfigError(InputError):
    """A task file or an environment variable is wrong."""


class ProfileError(InputError):
    """A device profile is wrong, or no profile has that name."""


class ModelError(InputError):
    """A model source cannot be read, captured or exported."""


class DataError(InputError):
    """Calibration, evaluation or training data is missing or wrong."""


class ArtifactError(InputError):
    """An artifact cannot be read or run."""


class ConversionError(InputError):
    """A format cannot hold this model with this recipe."""


class TechniqueError(InputError):
    """A technique cannot be used on this model."""


class MachineError(EdgekitError):
    """This machine cannot do what was requested: exit code 3."""

    exit_code: ClassVar[int] = 3


class MissingDependencyError(MachineError):
    """A package that is needed is not installed."""


class ResourceError(MachineError):
    """Out of time, memory or disk, or a folder that cannot be written."""


class DeviceError(MachineError):
    """A device cannot be reached, or lacks what a run there needs."""


class PluginError(MachineError):
    """A third party's plug-in cannot be loaded, or lacks what was needed."""


class WorkerError(MachineError):
    """A worker process ended without a result."""


class InternalError(EdgekitError):
    """A fault of edgekit's own: exit code 4."""


ERRORS_BY_NAME: dict[str, type[EdgekitError]] = {
    cls.__name__: cls
    for cls in (
        VerdictError,
        InputError,
        MachineError,
        UsageError,
        ConfigError,
        ProfileError,
        ModelError,
        DataError,
        ArtifactError,
        TechniqueError,
        ConversionError,
        MissingDependencyError,
        ResourceError,
        DeviceError,
        PluginError,
        WorkerError,
        InternalError,
    )
}
"""What can be raised, by class name: how a worker process hands its error to the parent."""
