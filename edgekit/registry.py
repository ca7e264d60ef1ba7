"""Plug-ins by name. The tables are text, so listing them imports nothing; third parties join by entry points."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edgekit.converters.base import Converter
    from edgekit.techniques.base import Technique
    from edgekit.validators.base import Validator

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


def converter_names() -> tuple[str, ...]:
    """Returns the names of all converters, third parties' last. Imports no converter."""
    return (*CONVERTERS, *(name for name in _entry_points("converter") if name not in CONVERTERS))


def converter(name: str) -> Converter:
    """Returns the converter of the format `name`.

    Raises:
        KeyError: no such format; callers check names against `converter_names()` first.
    """
    made: Converter = _load({**_entry_points("converter"), **CONVERTERS}[name])()
    return made


def validators() -> tuple[Validator, ...]:
    """Returns all validators in the order of reports, third parties' last."""
    targets = {**VALIDATORS, **{k: v for k, v in _entry_points("validator").items() if k not in VALIDATORS}}
    return tuple(_load(target)() for target in targets.values())


def technique_names() -> tuple[str, ...]:
    """Returns the names of all techniques, third parties' last. Imports no technique."""
    return (*TECHNIQUES, *(name for name in _entry_points("technique") if name not in TECHNIQUES))


def technique(name: str) -> type[Technique]:
    """Returns the technique `name`, a dataclass whose fields are its settings.

    Raises:
        KeyError: no such technique; callers check names against `technique_names()` first.
    """
    loaded: type[Technique] = _load({**_entry_points("technique"), **TECHNIQUES}[name])
    return loaded


def _load(target: str) -> type:
    module, _, name = target.partition(":")
    loaded: type = getattr(importlib.import_module(module), name)
    return loaded


def _entry_points(kind: str) -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUPS[kind])}
