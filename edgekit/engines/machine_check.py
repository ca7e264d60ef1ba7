"""Whether the machines of an engine have what this one has: looked at before any work, and nothing is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from edgekit.errors import MachineError
from edgekit.exporting.export import recorded_packages
from edgekit.plain_text import first_line
from edgekit.workers.cache import code_fingerprint, versions


def machine_look() -> Callable[[], dict[str, str]]:
    """Returns a function that says what a machine has. Send it by value: edgekit may be missing there."""
    packages = recorded_packages()

    def look() -> dict[str, str]:
        import sys
        from importlib.metadata import PackageNotFoundError, version

        found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "platform": sys.platform}
        for name in packages:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = ""
        try:
            from edgekit.workers.cache import code_fingerprint as fingerprint

            found["edgekit"] = fingerprint()
        except ImportError:
            found["edgekit"] = ""
        return found

    return look


def refuse_other_machines(cluster: str, found: Mapping[str, Mapping[str, str] | Exception]) -> None:
    """Refuses machines that lack what jobs need, or have another version of it.

    Args:
        cluster: What runs them, for the message: `Ray`.
        found: Machine to what `machine_look`'s function said there, or why it said nothing.

    Raises:
        MachineError: one of them differs from this one; what each lacks.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    here = {
        "edgekit": code_fingerprint(),
        **versions(recorded_packages()),
        "python": python,
        "platform": sys.platform,
    }
    faults: list[str] = []
    for name, there in found.items():
        if isinstance(there, Exception):
            faults.append(f"  {name}: {first_line(there)}")
            continue
        differing = [
            f"{what} {there.get(what) or 'missing'} (here {own or 'missing'})"
            for what, own in here.items()
            if there.get(what, "") != own
        ]
        faults += [f"  {name}: {', '.join(differing)}"] if differing else []
    if faults:
        raise MachineError(
            f"Machines of the {cluster} cluster differ from this one, and nothing was started:\n"
            + "\n".join(faults)
            + "\nInstall the same checkout and the same packages there, as its README says."
        )
