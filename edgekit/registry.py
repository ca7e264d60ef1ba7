"""Plug-ins by name. The tables are text, so listing them imports nothing; third parties join by entry points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

FORMATS: Final[Mapping[str, str]] = {
    "tflite": "edgekit.formats.tflite_format:FORMAT",
    "onnx": "edgekit.formats.onnx_format:FORMAT",
    "executorch": "edgekit.formats.executorch_format:FORMAT",
    "coreml": "edgekit.formats.coreml_format:FORMAT",
}
"""Format name to descriptor, in the order of tables."""

DEFAULT_FORMAT: Final = next(iter(FORMATS))
"""Whose kernels a technique trains for where nobody says so."""

ACCELERATORS: Final = ("hexagon", "neural_engine", "nnapi", "tensorrt")
"""Accelerators that edgekit's own formats have rules about (files of `validators/accelerators/`)."""

VALIDATORS: Final[Mapping[str, str]] = {
    "size": "edgekit.validators.size:SizeValidator",
    "accuracy": "edgekit.validators.accuracy:AccuracyValidator",
    "slices": "edgekit.validators.slices:SliceValidator",
    "parity": "edgekit.validators.parity:ParityValidator",
    "outputs": "edgekit.validators.outputs:OutputsValidator",
    "evidence": "edgekit.validators.evidence_quality:EvidenceValidator",
    "model_digest": "edgekit.validators.model_digest:ModelDigestValidator",
    "memory": "edgekit.validators.memory:MemoryValidator",
    "latency": "edgekit.validators.latency:LatencyValidator",
    "integer_coverage": "edgekit.validators.integer_coverage:IntegerCoverageValidator",
    "delegate_coverage": "edgekit.validators.delegate_coverage:DelegateCoverageValidator",
    "ignored_settings": "edgekit.validators.ignored_settings:IgnoredSettingsValidator",
}
"""Validator name to validator, in the order of reports."""

TECHNIQUES: Final[Mapping[str, str]] = {
    "drop_layers": "edgekit.techniques.drop_layers:DropLayers",
    "prune_heads": "edgekit.techniques.prune_heads:PruneHeads",
    "sparsify": "edgekit.techniques.sparsify:Sparsify",
    "factorize": "edgekit.techniques.factorize:Factorize",
    "share_weights": "edgekit.techniques.share_weights:ShareWeights",
    "distill": "edgekit.techniques.distill:Distill",
    "prune_channels": "edgekit.techniques.prune_channels:PruneChannels",
    "lora_recovery": "edgekit.techniques.lora_recovery:LoraRecovery",
    "equalize": "edgekit.techniques.equalize:Equalize",
    "round_weights": "edgekit.techniques.round_weights:RoundWeights",
    "smooth_activations": "edgekit.techniques.smooth_activations:SmoothActivations",
    "qat": "edgekit.techniques.qat:Qat",
}
"""Technique name to technique, in the order in which they are best applied."""

METRICS: Final[Mapping[str, str]] = {
    "top1": "edgekit.metrics.top1:Top1",
    "agreement": "edgekit.metrics.agreement:Agreement",
    "cosine": "edgekit.metrics.cosine:Cosine",
    "spearman": "edgekit.metrics.spearman:Spearman",
    "agreement_of": "edgekit.metrics.agreement_of:AgreementOf",
    "top5": "edgekit.metrics.top5:Top5",
    "macro_f1": "edgekit.metrics.macro_f1:MacroF1",
    "mae": "edgekit.metrics.mae:Mae",
    "rmse": "edgekit.metrics.rmse:Rmse",
    "r2": "edgekit.metrics.r2:R2",
    "recall_at_k": "edgekit.metrics.recall_at_k:RecallAtK",
    "auroc": "edgekit.metrics.auroc:Auroc",
    "psnr": "edgekit.metrics.psnr:Psnr",
    "ssim": "edgekit.metrics.ssim:Ssim",
    "abs_rel": "edgekit.metrics.abs_rel:AbsRel",
    "delta1": "edgekit.metrics.delta1:Delta1",
    "miou": "edgekit.metrics.miou:MeanIou",
    "map": "edgekit.metrics.box_map:BoxMap",
    "map50": "edgekit.metrics.box_map:BoxMap50",
    "mask_map": "edgekit.metrics.mask_map:MaskMap",
    "oks_map": "edgekit.metrics.oks_map:OksMap",
    "pck": "edgekit.metrics.pck:Pck",
    "cer": "edgekit.metrics.cer:Cer",
    "wer": "edgekit.metrics.wer:Wer",
}
"""Metric name to metric. Everything else that a task may name is a user's `file.py:function`."""

DECODERS: Final[Mapping[str, str]] = {
    "yolov5": "edgekit.heads.yolov5:YoloV5",
    "yolov8": "edgekit.heads.yolov8:YoloV8",
    "yolo11": "edgekit.heads.yolov8:YoloV8",
    "yolo26": "edgekit.heads.yolo26:Yolo26",
    "yolox": "edgekit.heads.yolox:YoloX",
    "picodet": "edgekit.heads.picodet:PicoDet",
    "gfl": "edgekit.heads.gfl:Gfl",
    "ssd": "edgekit.heads.ssd:Ssd",
    "ssd_finished": "edgekit.heads.ssd_finished:SsdFinished",
    "detr": "edgekit.heads.detr:Detr",
    "retinanet": "edgekit.heads.retinanet:RetinaNet",
    "fcos": "edgekit.heads.fcos:Fcos",
    "centernet": "edgekit.heads.centernet:CenterNet",
    "dbnet": "edgekit.heads.dbnet:DbNet",
    "heatmap": "edgekit.heads.heatmap:Heatmap",
}
"""Decoder name to decoder: how outputs of a head become boxes, masks and keypoints."""

SOURCES: Final[Mapping[str, str]] = {
    "torch": "edgekit.sources.torch_factory:TorchFactorySource",
    "pt2": "edgekit.sources.exported_program:ExportedProgramSource",
    "torchscript": "edgekit.sources.torchscript_file:TorchScriptSource",
    "onnx": "edgekit.sources.onnx_file:OnnxFileSource",
    "keras": "edgekit.sources.keras_file:KerasFileSource",
    "savedmodel": "edgekit.sources.saved_model:SavedModelSource",
    "frozengraph": "edgekit.sources.frozen_graph:FrozenGraphSource",
    "tflite": "edgekit.sources.tflite_file:TFLiteFileSource",
}
"""Kind to source."""

ENGINES: Final[Mapping[str, str]] = {
    "local": "edgekit.engines.local_engine:LocalEngine",
    "ray": "edgekit.engines.ray_engine:RayEngine",
}
"""Engine name to engine: what runs the jobs of a sweep."""

OLD_CONVERTERS: Final = "edgekit.converters"
"""The entry point group that `edgekit.formats` has replaced. It goes on working for one release, with a warning."""


def format_names() -> tuple[str, ...]:
    """Returns the names of all formats, third parties' last. Imports no format."""
    return tuple({**FORMATS, **_joined("edgekit.formats"), **_joined(OLD_CONVERTERS)})


def format_target(name: str) -> str:
    """Returns `module:name` of a format's descriptor; of a third party's converter where there is only that.

    Raises:
        KeyError: no such format.
    """
    return FORMATS.get(name) or _joined("edgekit.formats").get(name) or _joined(OLD_CONVERTERS)[name]


def is_old_converter(name: str) -> bool:
    """Returns True if all that is known of a format is a converter in the old entry point group."""
    return name not in FORMATS and name not in _joined("edgekit.formats")


def metric_names() -> tuple[str, ...]:
    """Returns the names of all metrics, third parties' last. Imports no metric."""
    return tuple({**METRICS, **_joined("edgekit.metrics")})


def metric_target(name: str) -> str:
    """Returns `module:name` of a metric.

    Raises:
        KeyError: no such metric.
    """
    return METRICS.get(name) or _joined("edgekit.metrics")[name]


def decoder_targets() -> dict[str, str]:
    """Returns `module:name` of every decoder by its name, third parties' last. Imports no decoder."""
    return _with_joined(DECODERS, "edgekit.decoders")


def source_targets() -> dict[str, str]:
    """Returns `module:name` of every source by its kind, third parties' last. Imports no source."""
    return _with_joined(SOURCES, "edgekit.sources")


def engine_targets() -> dict[str, str]:
    """Returns `module:name` of every engine by its name, third parties' last. Imports no engine."""
    return _with_joined(ENGINES, "edgekit.engines")


def device_packages() -> dict[str, str]:
    """Returns the packages that hold device profiles of third parties, by the name of their entry point."""
    return dict(_joined("edgekit.devices"))


def validator_targets() -> dict[str, str]:
    """Returns `module:name` of every validator in the order of reports, third parties' last. Imports no validator."""
    return _with_joined(VALIDATORS, "edgekit.validators")


def technique_targets() -> dict[str, str]:
    """Returns `module:name` of every technique by its name, third parties' last. Imports no technique."""
    return _with_joined(TECHNIQUES, "edgekit.techniques")


def technique_names() -> tuple[str, ...]:
    """Returns the names of all techniques, third parties' last. Imports no technique."""
    return tuple(technique_targets())


def _with_joined(table: Mapping[str, str], group: str) -> dict[str, str]:
    return {**table, **{name: target for name, target in _joined(group).items() if name not in table}}


@cache
def _joined(group: str) -> Mapping[str, str]:
    """Returns name to `module:name` of what third parties have registered. Reading entry points takes 40 ms."""
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=group)}
