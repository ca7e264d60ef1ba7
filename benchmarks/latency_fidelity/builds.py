"""Which build of an engine a published row timed, and on how many threads where its source does not print it.

Rows of one model on one device differ by a third where the engine's kernels do, so a build is part of a row's group
and has parts of its own in the fit. It is read from the version and the source that each row carries, never from its
latency.
"""

from __future__ import annotations

import re
from typing import Final

_ULTRALYTICS: Final = "github.com/ultralytics"
_MLPERF: Final = "inference_results"

_TFLITE: Final = (
    (r"(\d+\.\d+)\.\d+-ruy", "ruy {0}"),
    (r".*\bruy\b.*", "ruy 2.1"),
    (r"1\.13|2018/19|2019/20|.*eigen.*", "eigen"),
    (r"master-default_config", "default_config"),
)
"""Pattern of a TFLite version to its kernels; what no pattern names has a build of its own, "".

TFLite's CMake defaults (`default_config`) leave ruy out on ARM."""

_HARNESSES: Final = {
    "efficientvit": "transfers",
    "torch2trt": "torch2trt",
    "tf_to_trt": "tf_to_trt",
    "RepViT": "xcode",
    "SwiftFormer": "xcode",
    "EfficientFormer": "coremltools",
    "apple/ml-": "modelbench",
}
"""Part of a source's address to who timed and what was inside the timer (`transfers`: copies to and from the GPU)."""

_FIRST_RUY_WITH_DOT_PRODUCTS: Final = (2, 11)
"""Of the published 8-bit rows: on a Cortex-A76 and an A78AE they halve from 2.7 to this one and nowhere else."""


def build_of(engine: str, runtime: str, version: str, source: str) -> str:
    """Returns the build of an engine: kernels or harness first, then the version; "" where nothing tells.

    Args:
        engine: As `published.ENGINES` names it.
        runtime: The source's name of the runtime.
        version: The source's version of it.
        source: Repository or page.
    """
    if _ULTRALYTICS in source:
        release = re.match(r"ultralytics (\d+\.\d+)\.", version)
        # The documents of autumn 2024 were written with 8.2 and 8.3, which export alike.
        return f"ultralytics {release[1] if release else '8.3'}"
    if engine == "tflite":
        for pattern, build in _TFLITE:
            if match := re.fullmatch(pattern, version, re.IGNORECASE):
                return build.format(*match.groups())
        return ""
    if engine == "qnn":
        return runtime
    if engine == "tensorrt" and _MLPERF in source:
        return "mlperf"
    return next((name for part, name in _HARNESSES.items() if part in source), "")


def kernels_of(build: str) -> str:
    """Returns a build without its version."""
    return build.partition(" ")[0]


def uses_dot_products(build: str) -> bool:
    """Returns False for builds whose kernels leave 8-bit dot products alone on cores that have them."""
    kernels = kernels_of(build)
    return kernels != "eigen" and (kernels != "ruy" or version_of(build) >= _FIRST_RUY_WITH_DOT_PRODUCTS)


def version_of(build: str) -> tuple[int, ...]:
    """Returns a build's version, () where it has none."""
    return tuple(int(part) for part in re.findall(r"\d+", build.partition(" ")[2]))


def unstated_threads(engine: str, build: str) -> int | None:
    """Returns the threads of rows whose source does not print them; None for all cores.

    Ultralytics makes TFLite's interpreter without a number of threads (`ultralytics/nn/autobackend.py`), which is one.
    """
    return 1 if engine == "tflite" and kernels_of(build) == "ultralytics" else None
