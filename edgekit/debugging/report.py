"""What a debug run found: values for the terminal and for JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.debugging.causes import Cause
from edgekit.workers.structure import unstructure

SCHEMA_VERSION: Final = 1
CLEAN_DB: Final = 300.0
"""What stands for an error of nothing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One layer: a node of the float model and the artifact's tensor that holds its value.

    Attributes:
        position: In order of execution, from 0.
        node: Name in the float graph.
        operator: Its type there.
        module: Dotted name of the module of the layer's weights, else of the node.
        tensor: Name in the artifact.
        layout: How the artifact's tensor lies.
        agreement: Correlation that the match rests on.
        sqnr_db: Signal-to-noise ratio in dB of the artifact's values against the float model's.
        own_sqnr_db: The same against the float layer's values on the artifact's own inputs.
        beyond_ordinary_db: How far its own error is above what sound quantization leaves here; 0 or less is sound.
        error_share: Share of the final error that its own error makes, from 0 to 1; None where it was not carried on.
        saturated_share: Share of its values that lie outside its grid.
        dead_channels: Channels that vary in the float model and are constant in the artifact.
        channels: All channels.
        seen: Smallest and largest value in the float model.
        used: The same in the artifact.
        grid: Smallest and largest value that can be stored; None for a float tensor.
        departs: Its own error is a fault and no rounding.
    """

    position: int
    node: str
    operator: str
    module: str
    tensor: str
    layout: str
    agreement: float
    sqnr_db: float
    own_sqnr_db: float
    beyond_ordinary_db: float
    error_share: float | None
    saturated_share: float
    dead_channels: int
    channels: int
    seen: tuple[float, float]
    used: tuple[float, float]
    grid: tuple[float, float] | None
    departs: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A layer that the final error comes from, why, and what helps.

    Attributes:
        node: Name in the float graph; `LayerReport.node`.
        cause: See `causes.Cause`.
        sentence: What is wrong, for people.
        explained_share: Share of the layer's own error that this cause explains.
        is_fault: Something is broken; False where it is ordinary rounding in a layer that matters.
        remedy: What to do, one sentence.
        command: To copy; "" where no command helps.
    """

    node: str
    cause: Cause
    sentence: str
    explained_share: float
    is_fault: bool
    remedy: str = ""
    command: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DebugReport:
    """All of a debug run.

    Attributes:
        artifact: Its path.
        runtime: tflite, onnx, executorch or coreml.
        precision: Precision as the artifact reports it; "unknown" for one made elsewhere.
        model: The float model's source.
        samples: How many were run.
        samples_from: `calibration` or `evaluation`.
        how: Where the inner values come from.
        final_sqnr_db: Signal-to-noise ratio in dB of the outputs, against the float model's.
        metric: The task's metric or its stand-in, taken on these samples; "" where it cannot be taken here.
        metric_points: What the artifact loses of it, in percentage points.
        inside_agreement_db: SQNR between the outputs with inner tensors read and those of the artifact as it is;
            None where it does not run as it is.
        explained: Sum of the layers' contributions relative to the final error; 1 where errors are independent.
        layers: Matched ones, in order.
        unmatched: Nodes of the float model whose values the artifact does not hold.
        suspects: The most harmful first.
        notes: Sentences for the user.
    """

    artifact: str
    runtime: str
    precision: str
    model: str
    samples: int
    samples_from: str
    how: str
    final_sqnr_db: float
    inside_agreement_db: float | None
    explained: float | None
    layers: tuple[LayerReport, ...]
    unmatched: tuple[str, ...]
    suspects: tuple[Suspect, ...]
    notes: tuple[str, ...] = ()
    metric: str = ""
    metric_points: float | None = None

    @property
    def first_departure(self) -> LayerReport | None:
        """The first layer with a fault of its own, None where all layers are sound."""
        return next((layer for layer in self.layers if layer.departs), None)

    def layer(self, node: str) -> LayerReport:
        """Returns the layer of a node."""
        return next(layer for layer in self.layers if layer.node == node)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        first = self.first_departure
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "debug",
            **unstructure(self),
            "first_departure": first.node if first else None,
        }


def decibels(signal: float, noise: float) -> float:
    """Returns 10 log10(signal / noise), at most `CLEAN_DB`; -CLEAN_DB where there is noise and no signal."""
    if not math.isfinite(noise):
        return -CLEAN_DB
    if noise <= signal * 10 ** (-CLEAN_DB / 10):
        return CLEAN_DB
    return max(-CLEAN_DB, 10 * math.log10(max(signal, 1e-300) / noise))
