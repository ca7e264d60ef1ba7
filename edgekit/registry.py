"""Plug-ins by name. The tables are text, so listing them imports nothing; third parties join by entry points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CONVERTERS: Final[Mapping[str, str]] = {
    "tflite": "edgekit.converters.to_tflite:TFLiteConverter",
    "onnx": "edgekit.converters.to_onnx:ONNXConverter",
    "executorch": "edgekit.converters.to_executorch:ExecuTorchConverter",
    "coreml": "edgekit.converters.to_coreml:CoreMLConverter",
}
"""Format name to converter, in the order of tables."""

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

ENTRY_POINT_GROUPS: Final[Mapping[str, str]] = {
    "converter": "edgekit.converters",
    "validator": "edgekit.validators",
    "technique": "edgekit.techniques",
}


def converter_targets() -> dict[str, str]:
    """Returns `module:name` of every converter by its format, third parties' last. Imports no converter."""
    return _with_entry_points(CONVERTERS, "converter")


def validator_targets() -> dict[str, str]:
    """Returns `module:name` of every validator in the order of reports, third parties' last. Imports no validator."""
    return _with_entry_points(VALIDATORS, "validator")


def technique_targets() -> dict[str, str]:
    """Returns `module:name` of every technique by its name, third parties' last. Imports no technique."""
    return _with_entry_points(TECHNIQUES, "technique")


def converter_names() -> tuple[str, ...]:
    """Returns the names of all formats, third parties' last. Imports no converter."""
    return tuple(converter_targets())


def technique_names() -> tuple[str, ...]:
    """Returns the names of all techniques, third parties' last. Imports no technique."""
    return tuple(technique_targets())


def _with_entry_points(table: Mapping[str, str], kind: str) -> dict[str, str]:
    from importlib.metadata import entry_points

    joined = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUPS[kind])}
    return {**table, **{name: target for name, target in joined.items() if name not in table}}
