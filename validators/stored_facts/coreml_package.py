"""Reads a Core ML package: its protobuf, with coremltools' generated classes and nothing else of it."""

from __future__ import annotations

from pathlib import Path

from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.coreml_evaluator.arithmetic import describe_package
from edgekit.validators.coreml_evaluator.package_file import read_package
from edgekit.validators.stored_facts.facts import StoredFacts
from edgekit.workers.structure import structure


def read(path: Path) -> StoredFacts:
    """Returns what the package says."""
    embedded = read_package(path).description.metadata.userDefined
    return StoredFacts(
        metadata={str(key): str(value) for key, value in embedded.items()},
        operators=tuple(structure(item, ArtifactOperator, path.name) for item in describe_package(path)),
    )
