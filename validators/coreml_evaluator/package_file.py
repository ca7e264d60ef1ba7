"""Reads a `.mlpackage` folder: its manifest, the model's protobuf, and where its weight files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from edgekit.errors import ArtifactError
from edgekit.files.bounded_reading import read_json
from edgekit.validators.coreml_evaluator.protobuf_classes import protobuf_classes

REMEDY = "Copy the whole .mlpackage folder, or export it again."


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """A package that was read.

    Attributes:
        path: The `.mlpackage` folder.
        spec: The `Model` message.
        weights_folder: The folder that holds `weights/weight.bin`.
    """

    path: Path
    spec: Any
    weights_folder: Path


def read_package(path: Path) -> PackageFile:
    """Returns the package at a path.

    Raises:
        ArtifactError: The path is no `.mlpackage` of an ML Program, or a file of it is missing or broken.
        MissingDependencyError: coremltools is not installed.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: there is no such package. Expected a .mlpackage folder.")
    if path.is_file():
        raise ArtifactError(
            f"{path}: this is a file; the Core ML evaluator reads .mlpackage folders of ML Programs. "
            "A .mlmodel file holds a neural network or another model type: convert with convert_to='mlprogram'."
        )
    model_path = path / "Data" / _root_model(path)
    if not model_path.is_file():
        raise ArtifactError(f"{model_path}: the package's model file is missing. {REMEDY}")
    spec = protobuf_classes().model.Model()
    try:
        spec.ParseFromString(model_path.read_bytes())
    except Exception as error:  # protobuf's DecodeError is a different class in each of its implementations
        if type(error).__name__ != "DecodeError":
            raise
        raise ArtifactError(f"{model_path}: not a Core ML model, or a truncated one ({error}). {REMEDY}") from error
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise ArtifactError(
            f"{path}: the package holds a model of type {kind or 'none'}; the Core ML evaluator runs ML Programs. "
            "Convert with convert_to='mlprogram'."
        )
    return PackageFile(path=path, spec=spec, weights_folder=model_path.parent)


def _root_model(path: Path) -> str:
    """Returns the path of the model below `Data/`, as the manifest says."""
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise ArtifactError(f"{path}: the package has no Manifest.json. {REMEDY}")
    try:
        content = read_json(manifest, ArtifactError)
    except ArtifactError as error:
        raise ArtifactError(f"{error.message} {REMEDY}") from None
    try:
        return str(content["itemInfoEntries"][content["rootModelIdentifier"]]["path"])
    except (ValueError, KeyError, TypeError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"{manifest}: the manifest names no model ({detail}). {REMEDY}") from error
