"""Whether a report says of an artifact what the artifact's file says: settings, and what it computes with.

The file is read without its runtime, in a tenth of a second. A report may say less than the file (a runtime can leave
undone what a file asks for), never more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edgekit.analysis.graph import NARROW
from edgekit.artifact import Artifact
from edgekit.budget import Budget
from edgekit.pipeline.technique_stage import pipeline_name
from edgekit.recipe import Recipe, Step
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.base import Evidence
from edgekit.validators.delegate_coverage import DelegateCoverageValidator
from edgekit.validators.ignored_settings import IgnoredSettingsValidator
from edgekit.validators.integer_coverage import IntegerCoverageValidator
from edgekit.validators.requested import Requested, achieved, read_requested
from edgekit.validators.stored_facts.facts import StoredFacts, read_stored_facts

_WHOLE: Final = 100.0
_ROUNDING: Final = 1e-6


def contradictions_of_file(
    name: str, path: Path, entry: Mapping[str, Any], model: Mapping[str, Any] | None, io: str
) -> Iterator[str]:
    """Yields one sentence for each thing that the report says of a format otherwise than its file.

    Args:
        name: What to call the artifact.
        path: The file.
        entry: The format's part of the report.
        model: The report's part about the model.
        io: What the lock says of the artifact's inputs and outputs.
    """
    facts = read_stored_facts(entry["runtime"], path)
    if facts is None:
        return
    # Converters add entries of their own, which no report repeats.
    for key, value in entry["artifact"]["metadata"].items():
        if facts.metadata.get(key) != value:
            yield f"{name}: report.json says other metadata {key} than the file"
    made = read_requested(facts.metadata)
    if made is None:
        return  # made elsewhere: it says nothing about itself
    yield from _settings(name, facts, made, entry, io)
    yield from _model(name, facts, model)
    yield from _coverage(name, path, facts, made, entry)


def _settings(name: str, facts: StoredFacts, made: Requested, entry: Mapping[str, Any], io: str) -> Iterator[str]:
    if made.recipe != Recipe.from_json(entry["recipe"]):
        yield f"{name}: report.json says the recipe {_recipe(entry)}, the file was made with {made.recipe.name}"
    if made.io != io:
        yield f"{name}: the lock says --io {io}, the file was made with --io {made.io}"
    steps = [Step(technique=item["technique"], settings=item["settings"]) for item in entry["steps"]]
    reported = pipeline_name([step for step in steps if not step.is_recipe])
    found = facts.metadata.get("edgekit.techniques", "")
    if reported != found:
        yield f"{name}: report.json says the techniques {reported or 'none'}, the file was made with {found or 'none'}"


def _model(name: str, facts: StoredFacts, model: Mapping[str, Any] | None) -> Iterator[str]:
    digest = facts.metadata.get("edgekit.digest")
    if model is not None and digest is not None and model["digest"] != digest:
        yield f"{name}: report.json says the model's digest {model['digest'][:12]}, the file says {digest[:12]}"


def _recipe(entry: Mapping[str, Any]) -> str:
    return Recipe.from_json(entry["recipe"]).name


def _coverage(name: str, path: Path, facts: StoredFacts, made: Requested, entry: Mapping[str, Any]) -> Iterator[str]:
    """Yields what the report claims beyond the file."""
    if not made.knows_layers:
        yield from _mixed(name, facts, made, entry)
        return
    evidence = Evidence(
        artifact=Artifact(
            path=path,
            runtime=entry["runtime"],
            precision=entry["precision"],
            size_bytes=0,
            download_bytes=0,
            sha256="",
            metadata=facts.metadata,
        ),
        operators=facts.operators,
        embedded=facts.metadata,
        requested=made,
    )
    reported = {check["name"]: check["value"] for check in entry["checks"]}
    # What may be a recurrent layer counts as fulfilled: no claim up to that contradicts the file.
    most = tuple(replace(x, arithmetic="dynamic") if _may_be_recurrent(x) else x for x in facts.operators)
    checks = (
        *IntegerCoverageValidator().run(replace(evidence, operators=most), Budget()),
        *DelegateCoverageValidator().run(evidence, Budget()),
    )
    for check in checks:
        value, claimed = check.value, reported.get(check.name)
        if value is None or claimed is None or check.basis == "predicted":
            continue
        # Where the runtime rewrites the graph, its shares are of other work: only a claim of all of it can be judged.
        if claimed > value + _ROUNDING and (facts.is_exact or claimed >= _WHOLE):
            yield f"{name}: report.json says {check.name} {claimed:g}, the file shows {value:g}: {check.detail}"
    if facts.is_exact:
        (ignored,) = IgnoredSettingsValidator().run(evidence, Budget())
        claimed = reported.get("ignored_settings")
        if ignored.value is not None and claimed is not None and claimed < ignored.value:
            yield f"{name}: report.json says ignored_settings {claimed:g}, the file shows {ignored.value:g}: " + (
                ignored.detail
            )


def _mixed(name: str, facts: StoredFacts, made: Requested, entry: Mapping[str, Any]) -> Iterator[str]:
    """Yields what the report of a mixed recipe claims where the file shows nothing of it.

    The file was made by an edgekit that did not write down which layers are float: a share of them is judged by
    running again.
    """
    multiplying = [operator for operator in facts.operators if operator.multiplies]
    claimed = next((check["value"] for check in entry["checks"] if check["name"] == "integer_coverage"), None)
    if claimed and made.wants_integers and multiplying and not any(achieved(x) for x in multiplying):
        yield f"{name}: report.json says integer_coverage {claimed:g}, and nothing in the file is stored in integers"


def _may_be_recurrent(operator: ArtifactOperator) -> bool:
    """Returns whether an operator in float may be what a format makes of a recurrent layer, which is asked for less.

    Formats that unroll such a layer make plain products of it. Their weights are stored as integers, narrow ones as
    half floats (see `Weight.is_narrow_recurrent`).
    """
    if operator.in_integers or "conv" in operator.kind.lower() or not operator.weights:
        return False
    is_narrow = operator.weight_bits == 16 and operator.channels**2 > NARROW * operator.weights
    return operator.weight_bits <= 8 or is_narrow
