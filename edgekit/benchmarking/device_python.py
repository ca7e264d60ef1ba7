"""What a device's Python has, and what it lacks for running an artifact. Requested before anything is copied."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Final, final

from edgekit.benchmarking.ssh_shell import SshShell
from edgekit.errors import DeviceError, UsageError
from edgekit.formats.table import all_formats, known_format

OLDEST: Final = (3, 9)
"""Oldest Python that the runner's files work with."""


# Runs on any Python 3, so that an old one can be reported.
_PROBE: Final = (
    "import sys, json, platform, importlib.util as u; "
    "print(json.dumps([list(sys.version_info[:2]), platform.system(), platform.machine(), "
    "[n for n in sys.argv[1:] if u.find_spec(n)]]))"
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePython:
    """A Python on a device that can run an artifact.

    Attributes:
        command: As the shell there takes it, quoted.
        machine: Instruction set: aarch64, armv7l, x86_64.
        install: How to install the runtime there, for messages.
    """

    command: str
    machine: str
    install: str


def find_python(shell: SshShell, target: str, python: str, runtime: str) -> DevicePython:
    """Returns the device's Python, once it has what running needs.

    Args:
        shell: A shell there.
        target: The device, for messages.
        python: Its name or path there, from `--python`.
        runtime: The artifact's.

    Raises:
        DeviceError: no such Python, too old a one, or NumPy or the runtime is missing.
        UsageError: a runtime that edgekit cannot run elsewhere.
    """
    made = known_format(runtime)
    if made is None or not made.session:
        accepted = ", ".join(one.name for one in all_formats() if one.session)
        raise UsageError(f"{runtime} artifacts cannot be run over SSH: accepted are {accepted}.")
    need = made.runtime
    # The shell starts in the home folder, and it does not expand a quoted ~.
    command = shlex.quote(python.removeprefix("~/"))
    done = shell.run(f"{command} -c {shlex.quote(_PROBE)} numpy {' '.join(need.modules)}")
    if done.code in (126, 127):
        raise DeviceError(
            f"{target} has no Python called {python}. Install it there (sudo apt install python3-venv), or name "
            "another one with --python PATH."
        )
    try:
        version, system, machine, found = json.loads(done.out.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        said = (done.err or done.out).strip().splitlines()[-1:] or ["nothing"]
        raise DeviceError(
            f"{python} on {target} does not work as a Python 3: it said {said[0]}. Name another one with --python PATH."
        ) from error
    install = _install(need.install)
    if tuple(version) < OLDEST:
        raise DeviceError(
            f"{python} on {target} is Python {version[0]}.{version[1]}; the runner needs 3.9 or newer. "
            "Name another one with --python PATH."
        )
    if need.system not in ("", system):
        wanted = "macOS" if need.system == "Darwin" else need.system
        raise DeviceError(
            f"{target} runs {system}; {need.title} runs on {wanted} only. Measure on a machine with {wanted}."
        )
    missing = [] if "numpy" in found else ["NumPy"]
    missing += [] if not need.modules or set(found) & set(need.modules) else [need.module_title]
    if missing:
        raise DeviceError(
            f"{python} on {target} (Python {version[0]}.{version[1]}, {machine}) has no {' and no '.join(missing)}. "
            f"Install it there:\n  {install}"
        )
    return DevicePython(command=command, machine=machine, install=install)


def _install(package: str) -> str:
    return (
        f"python3 -m venv edgekit-venv && edgekit-venv/bin/pip install numpy {package}\n"
        "and measure with --python edgekit-venv/bin/python"
    )
