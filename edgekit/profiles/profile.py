"""Device profiles: what a device offers, what an app on it may cost, and how to find one by the name that people type.

A profile is one TOML file; its stem is its name. Ours lie in `device_profiles/`; a user's own are given by path or lie
in `./device_profiles/`, where they win over ours of the same name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.budget import Budget
from edgekit.errors import PluginError, ProfileError
from edgekit.files.bounded_reading import read_toml
from edgekit.registry import device_packages

if TYPE_CHECKING:
    from edgekit.profiles.profile_file import ProfileFile

USER_FOLDER: Final = "device_profiles"
"""Where a user's own profiles lie, seen from the working folder."""

FACT_TITLES: Final[Mapping[str, str]] = MappingProxyType({
    "soc": "chip",
    "cpu": "CPU",
    "features": "CPU features",
    "gpu": "GPU",
    "accelerator": "accelerator",
    "ai_peak": "AI peak, as sold",
    "ram": "RAM",
    "ram_free": "RAM free when idle",
    "app_memory_limit": "memory limit of an app",
    "memory_bandwidth": "memory bandwidth",
    "memcpy_bandwidth": "memcpy, one core",
})  # fmt: skip
"""Keys of `[hardware]` and their words in a table, in its order."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CpuCluster:
    """Cores of one kind: how many, the name that Arm or the maker gave them, and their clock where it is known."""

    cores: int
    core: str
    clock_ghz: float | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Facts about a device. None where no source says.

    Attributes:
        cpu: Clusters, the fastest first.
        features: Out of neon, dotprod, fp16, i8mm, bf16, sve2 (see `profile_file.Feature`).
        soc: Chip.
        gpu: GPU.
        accelerator: Neural engine, NPU or DLA.
        ai_peak_tops: The maker's peak rate, 10^12 operations a second.
        ram_bytes: Memory that is built in.
        ram_free_bytes: Memory that an app can have on the idle system, measured.
        app_memory_limit_bytes: Where the system ends an app.
        memory_bandwidth_bytes_per_s: The data sheet's.
        memcpy_bandwidth_bytes_per_s: Measured copy rate of one core.
    """

    cpu: tuple[CpuCluster, ...]
    features: tuple[str, ...]
    soc: str | None = None
    gpu: str | None = None
    accelerator: str | None = None
    ai_peak_tops: float | None = None
    ram_bytes: int | None = None
    ram_free_bytes: int | None = None
    app_memory_limit_bytes: int | None = None
    memory_bandwidth_bytes_per_s: float | None = None
    memcpy_bandwidth_bytes_per_s: float | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """A device, as its profile describes it.

    Attributes:
        name: Stem of the file: what users type.
        title: Marketing name.
        description: A sentence for people, "" where the file has none.
        aliases: Other names that users type.
        kind: phone, watch, raspberry_pi, jetson, microcontroller or other.
        runtimes: In order of preference.
        hardware: Facts.
        facts: The same facts as the file spells them, by key of `[hardware]`, in the order of FACT_TITLES.
        budget: Limits of an app on this device; each limit's source is "profile".
        options: What each runtime on this device asks of an artifact: runtime to option to value.
        latency_model: Fitted rates as the file holds them, runtime to precision to `profile_file.LatencyTable`.
        sources: Key path to where its value comes from.
        path: The file.
        shipped: True for edgekit's own, False for a user's.
        replaces_shipped: True for a user's profile that takes the place of one of ours.
    """

    name: str
    title: str
    description: str = ""
    aliases: tuple[str, ...] = ()
    kind: str
    runtimes: tuple[str, ...]
    hardware: Hardware
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    budget: Budget = field(default_factory=Budget)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    latency_model: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    path: Path
    shipped: bool = False
    replaces_shipped: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Everything by which this profile is found: name, title, aliases."""
        return (self.name, self.title, *self.aliases)

    @property
    def accelerators(self) -> dict[str, str]:
        """Runtime to the accelerator that it reaches on this device, by the name of the rules about it."""
        found = {runtime: str(options.get("accelerator", "")) for runtime, options in self.options.items()}
        return {runtime: name for runtime, name in found.items() if name}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All profiles that can be seen from a folder.

    Attributes:
        profiles: A user's own first, then those that are installed; each name once.
        faults: One message for each of the user's files that is wrong.
    """

    profiles: tuple[DeviceProfile, ...]
    faults: tuple[str, ...] = ()


def shipped_folder() -> Path:
    """Returns the folder of edgekit's own profiles."""
    from edgekit import device_profiles

    return Path(device_profiles.__path__[0])


def shipped_files() -> dict[str, Path]:
    """Returns the profiles that are installed, by name: edgekit's own, and those of distributions that bring some.

    A distribution names a package of TOML files in the entry point group `edgekit.devices`.

    Raises:
        PluginError: such a package is not there.
    """
    found = {path.stem: path for path in _toml_files(shipped_folder())}
    for name, package in device_packages().items():
        spec = find_spec(package) if find_spec(package.partition(".")[0]) else None
        if spec is None or not spec.submodule_search_locations:
            raise PluginError(
                f'The entry point "{name}" of edgekit.devices must name a package of TOML files; there is no package '
                f"{package}. Mend or uninstall the distribution that brings it."
            )
        theirs = [path for folder in spec.submodule_search_locations for path in _toml_files(Path(folder))]
        found = {**{path.stem: path for path in theirs}, **found}
    return found


def read_catalogue(cwd: Path) -> Catalogue:
    """Returns every profile that can be seen from the folder `cwd`; a user's wrong file is a fault and no error."""
    ours = shipped_files()
    profiles: list[DeviceProfile] = []
    faults: list[str] = []
    taken: set[str] = set()
    for path in _user_files(cwd):
        taken.add(path.stem)
        try:
            profiles.append(read_profile(path, replaces_shipped=path.stem in ours))
        except ProfileError as error:
            faults.append(error.message)
    profiles += [read_profile(path, shipped=True) for name, path in ours.items() if name not in taken]
    return Catalogue(profiles=tuple(profiles), faults=tuple(faults))


def list_profiles(cwd: Path) -> tuple[DeviceProfile, ...]:
    """Returns every profile that can be seen from the folder `cwd`: a user's own first, then ours.

    Raises:
        ProfileError: a file of the user's is wrong; the faults of all such files.
    """
    catalogue = read_catalogue(cwd)
    if catalogue.faults:
        raise ProfileError("\n".join(catalogue.faults))
    return catalogue.profiles


def find_profile(text: str, cwd: Path) -> DeviceProfile:
    """Returns the profile that `text` means, seen from the folder `cwd`.

    Args:
        text: A name, alias or title in any case and spelling of spaces and dashes, or the path of a TOML file.
        cwd: Where relative paths start and where `device_profiles/` of the user is looked for.

    Raises:
        ProfileError: nothing is called so, several are, no such file, or a wrong file.
    """
    if text.endswith(".toml"):
        return read_profile(cwd / os.path.expanduser(text))  # noqa: PTH111  Path's raises where there is no such home
    if not _user_files(cwd):
        # The common case reads one file instead of all.
        path = shipped_folder() / f"{text}.toml"
        if re.fullmatch(r"[a-z0-9-]+", text) and path.is_file():
            return read_profile(path, shipped=True)
    profiles = list_profiles(cwd)
    wanted = _plain(text)
    for has_name in (_is_named, _is_called):
        found = [profile for profile in profiles if has_name(profile, wanted)]
        # A user's own win over ours.
        found = [profile for profile in found if not profile.shipped] or found
        if len(found) == 1:
            return found[0]
        if found:
            raise ProfileError(
                f'"{text}" means {_enumerate(profile.name for profile in found)}. Give one of these names, '
                "or take the alias out of one of their files."
            )
    raise ProfileError(_unknown(text, profiles))


def read_profile(path: Path, *, shipped: bool = False, replaces_shipped: bool = False) -> DeviceProfile:
    """Returns the profile in the TOML file `path`.

    Raises:
        ProfileError: no such file, not TOML, or wrong content; all faults at once.
    """
    from edgekit.files.faults import describe_file_faults
    from edgekit.profiles.profile_file import check_profile

    data = _read_toml(path)
    file, faults = check_profile(data)
    if file is None:
        advice = f"Compare with a profile that works: {shipped_folder() / 'pi4.toml'}"
        raise ProfileError(describe_file_faults(path, faults, advice))
    return _to_profile(file, data, path, shipped=shipped, replaces_shipped=replaces_shipped)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path, ProfileError)
    except FileNotFoundError:
        raise ProfileError(
            f"{path}: no such file. Give the path of a device profile, or a name that edgekit devices lists."
        ) from None


def _to_profile(
    file: ProfileFile, data: Mapping[str, Any], path: Path, *, shipped: bool, replaces_shipped: bool
) -> DeviceProfile:
    hardware = file.hardware
    written: Mapping[str, Any] = data["hardware"]
    return DeviceProfile(
        name=path.stem,
        title=file.title,
        description=file.description or "",
        aliases=tuple(file.aliases),
        kind=file.kind,
        runtimes=tuple(dict.fromkeys(file.runtimes)),
        hardware=Hardware(
            cpu=tuple(CpuCluster(cores=cores, core=core, clock_ghz=clock) for cores, core, clock in hardware.cpu),
            features=tuple(hardware.features),
            soc=hardware.soc,
            gpu=hardware.gpu,
            accelerator=hardware.accelerator,
            ai_peak_tops=hardware.ai_peak,
            ram_bytes=hardware.ram,
            ram_free_bytes=hardware.ram_free,
            app_memory_limit_bytes=hardware.app_memory_limit,
            memory_bandwidth_bytes_per_s=hardware.memory_bandwidth,
            memcpy_bandwidth_bytes_per_s=hardware.memcpy_bandwidth,
        ),
        facts={key: _as_text(written[key]) for key in FACT_TITLES if key in written},
        budget=Budget().overridden_by(file.limits()),
        options={runtime: options.model_dump(exclude_none=True) for runtime, options in file.export.items()},
        latency_model={runtime: tables.model_dump(exclude_none=True) for runtime, tables in file.latency_model.items()},
        sources=file.sources,
        path=path.absolute(),
        shipped=shipped,
        replaces_shipped=replaces_shipped,
    )


def _as_text(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _toml_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.toml"))


def _user_files(cwd: Path) -> list[Path]:
    folder = cwd / USER_FOLDER
    # In edgekit's own checkout ./device_profiles is the shipped folder.
    if not folder.is_dir() or folder.resolve() == shipped_folder().resolve():
        return []
    return _toml_files(folder)


def _plain(text: str) -> str:
    """Returns `text` as names are compared: "Pixel 8" and "pixel-8" both become "pixel8"."""
    return re.sub(r"[^a-z0-9+]", "", text.casefold())


def _is_named(profile: DeviceProfile, wanted: str) -> bool:
    return _plain(profile.name) == wanted


def _is_called(profile: DeviceProfile, wanted: str) -> bool:
    return wanted in map(_plain, profile.names)


def _enumerate(names: Iterable[str], last: str = "and") -> str:
    *head, tail = names
    return f"{', '.join(head)} {last} {tail}" if head else tail


def _unknown(text: str, profiles: Iterable[DeviceProfile]) -> str:
    from edgekit.files.faults import nearest

    names = {_plain(name): profile.name for profile in profiles for name in reversed(profile.names)}
    meant = list(dict.fromkeys(names[near] for near in nearest(_plain(text), names, count=5)))[:3]
    guess = f"Did you mean {_enumerate(meant, 'or')}? " if meant else ""
    return (
        f'No device is called "{text}". {guess}See them all with: edgekit devices\n'
        f"For a device of your own, give the path of a profile, or put it into ./{USER_FOLDER}/."
    )
