"""Settings that were requested and that the artifact does not show: each one is named, with what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, final

from edgekit.budget import RECIPE_SOURCE, Budget, Limit
from edgekit.checks import Check, judge
from edgekit.formats.table import known_format
from edgekit.validators.artifact_operators import ArtifactOperator, name_operators
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.requested import TECHNIQUES_KEY, Requested

_BITS: Final = {"int8_static": 8, "int8_dynamic": 8, "int8_weights": 8, "w8a16": 8, "int4_weights": 4}
"""Bits of a weight that a precision asks for."""


@final
class IgnoredSettingsValidator(Validator):
    """Counts settings that the artifact contradicts. One that its file cannot show is not counted."""

    costs: ClassVar[tuple[str, ...]] = ("ignored_settings",)

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:  # noqa: ARG002  nobody limits it
        """Returns the check `ignored_settings`."""
        requested, runtime = evidence.requested, evidence.artifact.runtime
        if requested is None:
            return (judge("ignored_settings", None, None, detail="Nothing says what was requested.", runtime=runtime),)
        found = [
            *_io(evidence, requested),
            *_techniques(evidence, requested),
            *_weights(evidence, requested),
            *_activations(evidence.operators, requested),
        ]
        is_known = bool(found or evidence.operators)
        detail = " ".join(found) or "Each setting that the file can show is there."
        return (
            judge(
                "ignored_settings",
                len(found) if is_known else None,
                Limit(name="ignored_settings", value=0.0, source=RECIPE_SOURCE),
                measured_on="file" if is_known else "",
                detail=detail if is_known else evidence.why_missing("operators"),
                runtime=runtime,
            ),
        )


def _io(evidence: Evidence, requested: Requested) -> Iterator[str]:
    if requested.io != "int8":
        return
    floats = [name for name, dtype in evidence.boundary if dtype.startswith("float")]
    if floats:
        yield f"--io int8 was requested; {', '.join(floats)} came out as float."


def _techniques(evidence: Evidence, requested: Requested) -> Iterator[str]:
    found = evidence.embedded.get(TECHNIQUES_KEY, "")
    if requested.techniques is not None and evidence.embedded and found != requested.techniques:
        yield f"Techniques requested: {requested.techniques or 'none'}; the file was made with: {found or 'none'}."


def _weights(evidence: Evidence, requested: Requested) -> Iterator[str]:
    """Yields what the stored weights contradict."""
    weighted = [operator for operator in evidence.operators if operator.weights]
    used = requested.recipe.precisions
    held = {bits for operator in evidence.operators for bits in (operator.weight_bits, operator.table_bits)}
    for precision in sorted(used):
        bits = _BITS.get(precision)
        if bits is not None and weighted and bits not in held:
            yield f"{precision} was requested; no layer has {bits}-bit weights, but {_bits_words(weighted)}."
    made = known_format(evidence.artifact.runtime)
    widens = made is not None and made.runtime.widens_halves
    if "fp16" in used and not widens and weighted:
        yield from _half(weighted)
    yield from _scales([operator for operator in weighted if operator.weight_bits == 8], requested)
    yield from _groups([operator for operator in weighted if operator.weight_bits == 4], requested)


def _bits_words(weighted: Sequence[ArtifactOperator]) -> str:
    counts = Counter(operator.weight_bits for operator in weighted)
    return ", ".join(f"{count} with {bits} bits" for bits, count in sorted(counts.items()))


def _half(weighted: Sequence[ArtifactOperator]) -> Iterator[str]:
    if not any(operator.weight_bits == 16 for operator in weighted):
        yield f"fp16 was requested; no layer has 16-bit weights, but {_bits_words(weighted)}."


def _scales(weighted: Sequence[ArtifactOperator], requested: Requested) -> Iterator[str]:
    several = [operator for operator in weighted if operator.channels > 1 and operator.scales]
    with_channels = [operator for operator in several if operator.scales >= operator.channels]
    if not requested.recipe.per_channel and with_channels:
        yield f"One scale a tensor was requested; a scale for each channel came out: {name_operators(with_channels)}."
    if requested.recipe.per_channel and several and not with_channels:
        yield f"A scale for each channel was requested; each of {len(several)} layers has one for the whole tensor."


def _groups(weighted: Sequence[ArtifactOperator], requested: Requested) -> Iterator[str]:
    groups = {operator.weights // operator.scales for operator in weighted if operator.scales}
    if requested.recipe.default == "int4_weights" and groups and requested.recipe.group_size not in groups:
        found = ", ".join(map(str, sorted(groups)))
        yield f"Groups of {requested.recipe.group_size} weights were requested; groups of {found} came out."


def _activations(operators: Sequence[ArtifactOperator], requested: Requested) -> Iterator[str]:
    """Yields the activations that have a zero point or no sign where symmetric ones were requested."""
    if not requested.recipe.symmetric_activations:
        return
    crooked = [
        operator
        for operator in operators
        if operator.arithmetic == "integer" and (operator.dtype == "uint8" or operator.zero_point)
    ]
    if crooked:
        yield f"Symmetric activations were requested; these have a zero point or no sign: {name_operators(crooked)}."
