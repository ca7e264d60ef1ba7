"""What an artifact with symmetric activations computes with: what its file says, not what this host makes of it.

Symmetric activations are for TensorRT, which reads the file's quantize-dequantize pairs and computes in integers. On
x86 onnxruntime gives signed activations another sign and runs products behind a clamp in float: that tells of no
device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.base import Evidence
from edgekit.validators.stored_facts.facts import read_stored_facts

_FROM_FILE: Final = (
    " By the file's quantize-dequantize pairs: this host's onnxruntime runs signed activations in another way."
)


def as_the_file_says(evidence: Evidence) -> Evidence:
    """Returns evidence whose operators compute as the file says, where symmetric activations were requested.

    Operators are known by name. One that the file does not speak of stays as the host ran it, without its grid.
    """
    if evidence.requested is None or not evidence.requested.recipe.symmetric_activations or not evidence.operators:
        return evidence
    facts = read_stored_facts(evidence.artifact.runtime, evidence.artifact.path)
    if facts is None or facts.is_exact:
        return evidence
    stored = {operator.name: operator for operator in facts.operators}
    return replace(
        evidence,
        operators=tuple(_as_stored(one, stored.get(one.name)) for one in evidence.operators),
        operators_from=_FROM_FILE,
    )


def _as_stored(ran: ArtifactOperator, stored: ArtifactOperator | None) -> ArtifactOperator:
    if stored is None:
        return replace(ran, dtype="", zero_point=None)
    return replace(ran, arithmetic=stored.arithmetic, dtype=stored.dtype, zero_point=stored.zero_point)
