"""For every shipped profile and runtime: whose rates it gets, and by what they are scaled where it has no rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from builds import kernels_of, version_of
from published import Group, Timing

_TIMED: Final[Mapping[str, str]] = {
    "tflite": "TFLite, all cores",
    "xnnpack": "XNNPACK's own benchmark and ExecuTorch with XNNPACK",
    "onnxruntime": "onnxruntime's CPU provider on YOLO models",
    "tensorrt": "TensorRT, batch 1",
    "coreml": "Core ML on an iPhone 12's Neural Engine, batch 1",
}
"""Engine to the kernels that were timed."""

_ENGINES: Final[Mapping[str, str]] = {
    "tflite": "tflite", "onnx": "onnxruntime", "executorch": "xnnpack", "coreml": "coreml",
}  # fmt: skip
_PRECISIONS: Final[Mapping[str, str]] = {"fp32": "fp32", "fp16": "fp16", "int8_static": "int8"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a profile's rates come from.

    Attributes:
        device: As the published rows name it.
        threads: As in the group.
        factor: By what its rates are multiplied.
        words: Why, where the factor is not the device's own; "" for the device itself.
    """

    device: str
    threads: int
    factor: float = 1.0
    words: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One table `[latency_model.<runtime>.<precision>]` of one profile."""

    profile: str
    runtime: str
    precision: str
    unit: str
    threads: int | None
    source: Source

    @property
    def group(self) -> Group:
        """Whose rates it gets, but for the build (`build_for`)."""
        engine = "tensorrt" if self.unit == "gpu" else _ENGINES[self.runtime]
        return Group(
            device=self.source.device,
            threads=self.source.threads,
            engine=engine,
            precision=_PRECISIONS[self.precision],
        )


_A15: Final = "an iPhone 17 Pro's CPU (A19, 4.26 GHz) by clock and one generation's gain of 10 % each"
_CPU: Final[Mapping[str, tuple[int, Source]]] = {
    "pi3": (4, Source(device="Raspberry Pi 3B+", threads=4)),
    "pi4": (4, Source(device="Raspberry Pi 4B", threads=4)),
    "pi5": (4, Source(device="Raspberry Pi 5", threads=4)),
    "pi-zero2w": (4, Source(device="Raspberry Pi Zero 2 W", threads=4)),
    "jetson-nano": (4, Source(device="Jetson Nano", threads=4)),
    "jetson-agx-orin": (12, Source(device="Jetson AGX Orin", threads=12)),
    "jetson-orin-nano": (6, Source(device="Jetson Orin Nano", threads=6)),
    "jetson-xavier-nx": (
        6,
        Source(
            device="Jetson AGX Xavier", threads=8, factor=8 / 6 * 2.27 / 1.9,
            words="a Jetson AGX Xavier's 8 Carmel cores at 2.27 GHz by cores and clock",
        ),
    ),
    "android-entry": (
        4,
        Source(
            device="Orange Pi CM4", threads=4, factor=1.8 / 1.6,
            words="an Orange Pi CM4's 4 Cortex-A55 at 1.8 GHz by clock",
        ),
    ),
    "galaxy-watch6": (
        2,
        Source(
            device="MYIR RemiPi", threads=4, factor=1.5 / 1.4, words="a MYIR RemiPi's 2 Cortex-A55 at 1.5 GHz by clock"
        ),
    ),
    "pixel8": (
        4,
        Source(
            device="Google Pixel 10", threads=99, factor=3.78 / 2.91,
            words="a Pixel 10's Cortex-X4 at 3.78 GHz by clock of the fastest core",
        ),
    ),
    "galaxy-s24": (
        4,
        Source(
            device="Google Pixel 10", threads=99, factor=3.78 / 3.3,
            words="a Pixel 10's Cortex-X4 at 3.78 GHz by clock of the fastest core",
        ),
    ),
    "iphone15": (2, Source(device="iPhone 17 Pro", threads=99, factor=4.26 / 3.46 * 1.1**3, words=_A15)),
    "iphone-se3": (2, Source(device="iPhone 17 Pro", threads=99, factor=4.26 / 3.23 * 1.1**4, words=_A15)),
}  # fmt: skip
"""Profile to its threads and the CPU whose rates it gets."""

_GPU: Final[Mapping[str, tuple[tuple[str, ...], Source]]] = {
    # Maxwell has no 8-bit products: TensorRT runs int8 networks there in 16 bits.
    "jetson-nano": (("fp32", "fp16"), Source(device="Jetson Nano", threads=0)),
    "jetson-agx-orin": (("fp32", "fp16", "int8_static"), Source(device="Jetson AGX Orin", threads=0)),
    "jetson-orin-nano": (("fp32", "fp16", "int8_static"), Source(device="Jetson Orin Nano Super", threads=0)),
    "jetson-xavier-nx": (("fp32", "fp16", "int8_static"), Source(device="Jetson Xavier NX", threads=0)),
}
"""Profile to the precisions of its GPU and where TensorRT's rates come from."""

_NEURAL_ENGINE: Final[Mapping[str, Source]] = {
    "iphone-se3": Source(device="iPhone 14", threads=0),
    "iphone15": Source(
        device="iPhone 14", threads=0, factor=15.8 / 17, words="an iPhone 14's Neural Engine (15.8 TOPS) by peak rate"
    ),
    "apple-watch-s9": Source(
        device="iPhone 14", threads=0, factor=15.8 / 4.25,
        words="an iPhone 14's Neural Engine (16 cores) by cores: the watch has 4",
    ),
}  # fmt: skip
"""Profile to the Neural Engine whose rates it gets. The iPhone SE 3 and the iPhone 14 have the same chip."""

RUNTIMES: Final[Mapping[str, tuple[str, ...]]] = {
    "pi3": ("tflite", "onnx", "executorch"), "pi4": ("tflite", "onnx", "executorch"),
    "pi5": ("tflite", "onnx", "executorch"), "pi-zero2w": ("tflite", "onnx", "executorch"),
    "jetson-nano": ("onnx", "tflite", "executorch"), "jetson-agx-orin": ("onnx", "tflite", "executorch"),
    "jetson-orin-nano": ("onnx", "tflite", "executorch"), "jetson-xavier-nx": ("onnx", "tflite", "executorch"),
    "android-entry": ("tflite", "executorch", "onnx"), "galaxy-s24": ("tflite", "executorch", "onnx"),
    "pixel8": ("tflite", "executorch", "onnx"), "galaxy-watch6": ("tflite", "onnx"),
    "iphone15": ("coreml", "executorch", "onnx", "tflite"), "iphone-se3": ("coreml", "executorch", "onnx", "tflite"),
    "apple-watch-s9": ("coreml",),
}  # fmt: skip
"""Profile to the runtimes that get a model, in its own order."""


def targets() -> Iterator[Target]:
    """Yields every table that the shipped profiles get."""
    for profile, runtimes in RUNTIMES.items():
        for runtime in runtimes:
            yield from _targets_of(profile, runtime)


def _targets_of(profile: str, runtime: str) -> Iterator[Target]:
    if runtime == "coreml":
        source = _NEURAL_ENGINE[profile]
        yield Target(
            profile=profile, runtime=runtime, precision="fp16", unit="neural_engine", threads=None, source=source
        )
    elif runtime == "onnx" and profile in _GPU:
        precisions, source = _GPU[profile]
        for precision in precisions:
            yield Target(profile=profile, runtime=runtime, precision=precision, unit="gpu", threads=None, source=source)
    else:
        threads, source = _CPU[profile]
        for precision in ("fp32", "int8_static"):
            yield Target(
                profile=profile, runtime=runtime, precision=precision, unit="cpu", threads=threads, source=source
            )


def timed(group: Group) -> str:
    """Returns what was timed for a group's rates."""
    kernels, _, version = group.build.partition(" ")
    if kernels == "ruy":
        return f"TFLite {version} with ruy kernels, all cores"
    return _TIMED[group.engine]


def is_judged(group: Group) -> bool:
    """Returns True if a group's rows are of a device, threads, engine and precision that a profile has, by any build.

    Where a source does not print its threads, its rows are judged all the same.
    """
    return any(
        (group.device, group.engine, group.precision) == (mine.device, mine.engine, mine.precision)
        and (group.threads == mine.threads or kernels_of(group.build) == "ultralytics")
        for mine in _OWN
    )


def build_for(group: Group, timings: Sequence[Timing]) -> str:
    """Returns the build whose rates a profile gets: of the kernels with the most rows there, the newest with enough.

    Args:
        group: The profile's device, threads, engine and precision.
        timings: All.
    """
    counts: Counter[str] = Counter()
    models: Counter[str] = Counter()
    for timing in timings:
        if replace(timing.group, build="") == group:
            counts[kernels_of(timing.group.build)] += len(timing.values_ms)
            models[timing.group.build] += 1
    if not counts:
        return _NEWEST.get(group.engine, "")
    kernels = counts.most_common(1)[0][0]
    builds = [build for build in models if kernels_of(build) == kernels]
    enough = [build for build in builds if models[build] >= _ENOUGH_MODELS] or builds
    return max(enough, key=version_of)


_ENOUGH_MODELS: Final = 5
_NEWEST: Final[Mapping[str, str]] = {
    "tflite": "ruy 2.11", "tensorrt": "ultralytics 8.4", "onnxruntime": "ultralytics 8.4",
}  # fmt: skip
"""Engine to the build whose rates a device without rows gets."""

_OWN: Final = frozenset(target.group for target in targets() if not target.source.words)
