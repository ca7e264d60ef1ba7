"""Published latencies, made comparable: which rows are usable, which model of the zoo each one is about, and its group.

The rows are not part of this repository: set EDGEKIT_SHARED to the folder that holds latency/published_latency.csv.
A group is one device with one number of threads, one build of an engine and one precision; rows of two groups are never
mixed.
"""

from __future__ import annotations

import csv
import os
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from builds import build_of, unstated_threads

UNUSABLE: Final = frozenset({
    "suspect", "throughput-derived", "app-level-or-scope-unknown", "legacy-runtime", "overclocked", "little-cores",
    "armv7", "partial-cpu-fallback", "synthetic", "fps-derived",
})  # fmt: skip
"""Tags of rows that are no latency of a named model on a named unit (see the README beside the rows)."""

ENGINES: Final[Mapping[str, str]] = {
    "tflite": "tflite",
    "tflite (LiteRT)": "tflite",
    "xnnpack": "xnnpack",
    "executorch": "xnnpack",
    "executorch (XNNPACK)": "xnnpack",
    "onnxruntime": "onnxruntime",
    "ncnn": "ncnn",
    "armnn": "armnn",
    "tensorrt": "tensorrt",
    "coreml": "coreml",
    "tflite (QNN delegate)": "qnn",
    "onnxruntime-qnn": "qnn",
}
"""The source's runtime to the engine whose kernels ran: ExecuTorch's CPU backend is XNNPACK."""

_UNITS: Final[Mapping[str, tuple[str, ...]]] = {"tensorrt": ("tensorrt",), "coreml": ("ane",), "qnn": ("npu",)}
_SLOW_MODES: Final = ("MODE_15W", "MODE_30W", "MODE_10W", "MaxQ", "v7l", "Raspbian Bu")
"""Words in a row's notes that tell a power mode or a 32-bit system: another machine than the one of the profile."""

_CORES: Final[Mapping[str, int]] = {
    "Raspberry Pi 5": 4, "Raspberry Pi 4B": 4, "Raspberry Pi 3B+": 4, "Raspberry Pi 3B": 4, "Raspberry Pi Zero 2 W": 4,
    "Raspberry Pi 2": 4, "Jetson AGX Orin": 12, "Jetson AGX Xavier": 8, "Jetson Nano": 4, "Jetson Orin Nano": 6,
    "Odroid-N2 (S922X)": 6, "RK3588S board": 4, "Firefly-RK3399": 2, "Google Pixel 2": 4, "Google Pixel 3a": 2,
}  # fmt: skip
"""What "all cores" or an unstated number of threads means."""

_SAME_DEVICE: Final[Mapping[str, str]] = {
    "Jetson AGX Orin 64GB": "Jetson AGX Orin", "Raspberry Pi 2B": "Raspberry Pi 2", "iPhone 12 Pro Max": "iPhone 12",
    "iPhone 12 Pro": "iPhone 12", "Jetson Orin Nano Super 8GB": "Jetson Orin Nano Super",
}  # fmt: skip
"""The same chip under another name. The Super mode of the Orin Nano is another machine than the plain one."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that one set of coefficients describes.

    Attributes:
        device: As the rows name it.
        threads: Threads of the processor; 0 for accelerators, 99 where nobody says.
        engine: Whose kernels ran.
        precision: "fp32", "fp16" or "int8".
        build: Kernels or harness and version (`builds.build_of`); "" where nothing tells.
    """

    device: str
    threads: int
    engine: str
    precision: str
    build: str = ""

    @property
    def machine(self) -> str:
        """Device and threads, or the device alone for accelerators."""
        return f"{self.device} x{self.threads}" if self.threads else self.device


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The published latencies of one model in one group.

    Attributes:
        group: Where.
        model: A name of the zoo.
        values_ms: One for each row.
        sources: Repositories or pages of the rows.
    """

    group: Group
    model: str
    values_ms: tuple[float, ...]
    sources: tuple[str, ...]

    @property
    def median_ms(self) -> float:
        """Their median."""
        return statistics.median(self.values_ms)


_MLPERF: Final = r"(?:non-quantized-|quantized-)?{}(?:-non-quantized|-quantized)?"
_PATTERNS: Final[tuple[tuple[str, str], ...]] = (
    (_MLPERF.format(r"mobilenet-v([12])-(?:precision_\w+-)?([\d.]+)-(\d+)"), "mobilenet_v{0}_{1}_{2}"),
    (r"mobilenet_?v([12])_([\d.]+)_(\d+)(?:_quant)?", "mobilenet_v{0}_{1}_{2}"),
    (_MLPERF.format("mobilenet"), "mobilenet_v1_1_224"),
    (r"mobilenet[ _]?v([12])(?: 1\.0x| 1\.0 224| x1\.0)?", "mobilenet_v{0}_1_224"),
    (r"mobilenetv2 x1\.3", "mobilenet_v2_1.3_224"),
    (_MLPERF.format(r"efficientnet-lite(\d)"), "tf_efficientnet_lite{0}"),
    (r"mobilenet-v3-(small|large)_224_1\.0_(?:float|uint8)", "tf_mobilenetv3_{0}_100"),
    (r"mobilenet-v3-(small|large)_224_0\.75_float", "tf_mobilenetv3_{0}_075"),
    (r"mobilenet-v3-(small|large)-minimalistic_224_1\.0_float", "tf_mobilenetv3_{0}_minimal_100"),
    (r"mobilenet ?v3 (small|large)(?: 1\.0x)?", "tf_mobilenetv3_{0}_100"),
    (r"mobilenet_v3", "tf_mobilenetv3_large_100"),
    (r"mnasnet", "mnasnet1_0"),
    (r"mnasnet_(\d)\.(\d+?)0?_224", "mnasnet{0}_{1}"),
    (r"mnasnet_1\.0_(\d+)", "mnasnet1_0@{0}"),
    (r"mobilenet_v3_(small|large)", "tf_mobilenetv3_{0}_100"),
    (r"resnet", "resnet50"),
    (r"(?:resnet|densenet|vgg|squeezenet|googlenet|alexnet|inception|mnasnet|shufflenet|efficientnet_)\w*", "{all}"),
    (r"densenet", "densenet121"),
    (r"squeezenet", "squeezenet1_0"),
    (r"(vgg\d+)_bn", "{0}"),
    (r"inception[ _]v1", "googlenet"),
    (r"inception[ _]v3", "inception_v3"),
    (r"inception[ _]v4", "inception_v4"),
    (r"inception_resnet_v2", "inception_resnet_v2"),
    (r"resnet_v2_(\d+)", "resnetv2_{0}"),
    (r"shufflenet", "shufflenet_v1"),
    (r"shufflenet_v2", "shufflenet_v2_x1_0"),
    (r"regnety_400m", "regnet_y_400mf"),
    (r"(regnet_y_800mf)", "{0}"),
    (r"efficientnetv2_b0", "tf_efficientnetv2_b0"),
    (r"efficientnet_v2_s", "efficientnet_v2_s"),
    (r"mobilenet_ssd", "mobilenet_ssd"),
    (r"yolov4-tiny", "yolov4_tiny"),
    (r"vision_transformer", "vit_base_patch16_384"),
    (r"vit", "vit_base_patch16_224"),
    (r"clip_vit_base_patch32_image", "vit_base_patch32_clip_224"),
    (r"style_transfer_\w+", "style_transfer"),
    (r"yolo(v8|11|26)([nsmlx])", "yolo{0}{1}@{side}"),
    (r"yolo26n-cls", "yolo26n-cls@224"),
    (r"efficientvit-(b\d) \(cls\)", "efficientvit_{0}@{side}"),
    (r"efficientformer-(l\d)", "efficientformer_{0}"),
    (r"efficientformerv2-(\w+)", "efficientformerv2_{0}"),
    (r"fastvit-(\w+)", "fastvit_{0}"),
    (r"mobileone-(s\d)", "mobileone_{0}"),
    (r"repvit-m(\d)\.(\d)", "repvit_m{0}_{1}"),
    (r"swiftformer-(\w+)", "swiftformer_{0}"),
    (r"mobileclip2?-s([0-2]) image encoder", "fastvit_mci{0}"),
    (r"mobileclip2?-b(?: \(lt\))? image encoder", "vit_base_mci_224"),
    (r"mobileclip2?-l/14 image encoder", "vit_large_patch14_clip_224"),
    (r"(convnext_tiny|convnext_base)", "{0}"),
    (r"resnext50", "resnext50_32x4d"),
    (r"resnext101", "resnext101_32x8d"),
    (r"wideresnet50", "wide_resnet50_2"),
    (r"regnet", "regnet_x_3_2gf"),
    (r"mobile_vit", "mobilevit_s"),
    (r"mnasnet05", "mnasnet0_5"),
    (r"levit", "levit_128s"),
)  # fmt: skip
"""The whole of a source's name in lower case, and the zoo's; the first that gives a name of the zoo counts."""

_FAMILIES: Final = (
    "mobilenet_v1", "mobilenet_v2", "tf_mobilenetv3", "tf_efficientnet_lite", "tf_efficientnetv2", "efficientnet",
    "efficientformer", "efficientvit", "mnasnet", "resnext", "wide_resnet", "resnetv2", "resnet", "densenet", "vgg",
    "squeezenet", "alexnet", "inception", "googlenet", "shufflenet_v1", "shufflenet_v2", "regnet", "fastvit",
    "mobileone", "repvit", "swiftformer", "yolov8", "yolo11", "yolo26", "yolov4", "vit", "convnext", "mobilenet_ssd",
    "style_transfer", "mobilevit", "levit",
)  # fmt: skip


def family(model: str) -> str:
    """Returns the family of a model of the zoo: variants by width, depth and resolution are one family."""
    return next((name for name in _FAMILIES if model.startswith(name)), model)


def table_path() -> Path:
    """Returns where the published rows are expected."""
    return Path(os.environ.get("EDGEKIT_SHARED", "../shared")) / "latency" / "published_latency.csv"


def read_timings(path: Path, sides: Mapping[str, int]) -> tuple[Timing, ...]:
    """Returns the usable rows, gathered by group and model.

    Args:
        path: The table.
        sides: Models whose work is known, and the side of their input image.
    """
    found: dict[tuple[Group, str], list[tuple[float, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            group = _group(row)
            model = match_model(row["model"], row["input_shape"], sides)
            if group is not None and model is not None:
                found.setdefault((group, model), []).append((float(row["latency_ms"]), row["source_repo_or_url"]))
    return tuple(
        Timing(
            group=group,
            model=model,
            values_ms=tuple(value for value, _ in rows),
            sources=tuple(sorted({source for _, source in rows})),
        )
        for (group, model), rows in found.items()
    )


def match_model(name: str, shape: str, sides: Mapping[str, int]) -> str | None:
    """Returns the zoo's name of a published model, None where the zoo has none of that shape."""
    side = _side(shape)
    for pattern, target in _PATTERNS:
        match = re.fullmatch(pattern, name.strip().lower())
        if match is None:
            continue
        parts = [part.rstrip("0").rstrip(".") if "." in part else part for part in match.groups()]
        key = target.format(*parts, side=side, all=match.group(0))
        at_side = f"{key}@{side}"
        if at_side in sides:
            return at_side
        if key in sides and (side is None or side == sides[key]):
            return key
    return None


def _side(shape: str) -> int | None:
    """Returns the side of a square image, None where the shape is not printed or has another form."""
    sizes = [int(part) for part in re.findall(r"\d+", shape.partition("(")[0])]
    sides = [size for size in sizes if size > 3]
    return sides[0] if sides else None


def _group(row: Mapping[str, str]) -> Group | None:
    """Returns the group of a row, None where the row is not usable."""
    notes, engine = row["notes"] or "", ENGINES.get(row["runtime"])
    tags = re.match(r"\[([a-z0-9,\- ]+)\]", notes)
    if engine is None or (tags and UNUSABLE & {tag.strip() for tag in tags[1].split(",")}):
        return None
    if row["accelerator"] not in _UNITS.get(engine, ("cpu",)) or any(word in notes for word in _SLOW_MODES):
        return None
    precision = row["precision"]
    if precision not in ("fp32", "fp16", "int8") or (engine == "xnnpack" and precision == "fp16"):
        return None
    device = _SAME_DEVICE.get(row["device"], row["device"])
    if device == "Firefly-RK3399" and "RK3588S" in notes:
        device = "RK3588S board"
    build = build_of(engine, row["runtime"], row["runtime_version"], row["source_repo_or_url"])
    threads = 0 if engine in _UNITS else _threads(row["threads"], device, unstated_threads(engine, build))
    return Group(device=device, threads=threads, engine=engine, precision=precision, build=build)


def _threads(text: str, device: str, unstated: int | None) -> int:
    if re.fullmatch(r"\d+(\.0)?", text):
        return int(float(text))
    return unstated or _CORES.get(device, 99)
