"""What capturing a model gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from edgekit.model import CapturedKind, JoinedOutput, OpenSizes, State, TensorSpec
from edgekit.torch_program.architecture import Architecture


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What a source found out: everything of a captured model that the request does not say.

    Attributes:
        kind: What the file is.
        file: Its name in the output folder.
        inputs: In call order, batch 1.
        outputs: In the model's order.
        digest: Hash of graph and weights.
        parameters: Number of weights, tied ones counted once.
        architecture: Multiply-accumulates and family.
        metadata: What the file itself says: labels, preprocessing. The request's own entries win.
        states: What the model keeps between calls.
        open_sizes: Sizes that artifacts leave open.
        float_types: Floating-point types other than float32 that it computed in; what was captured computes in that.
        joined: Outputs that were split into their members.
        settled_branches: Branches of an ONNX file that its inputs' sizes decided: `If_0 (then_branch)`.
    """

    kind: CapturedKind
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    parameters: int
    architecture: Architecture
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    states: tuple[State, ...] = ()
    open_sizes: OpenSizes | None = None
    float_types: tuple[str, ...] = ()
    joined: tuple[JoinedOutput, ...] = ()
    settled_branches: tuple[str, ...] = ()
