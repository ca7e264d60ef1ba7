"""Reads a `.mlpackage` folder or a `.mlmodel` file: the model's protobuf, and where its weight files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from edgekit.errors import ArtifactError
from edgekit.files.bounded_reading import read_json
from edgekit.validators.coreml_evaluator.protobuf_classes import protobuf_classes

REMEDY = "Copy the whole .mlpackage folder, or export it again."
NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
"""Model types that are neural networks, from before ML Programs."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """A package that was read.

    Attributes:
        path: The `.mlpackage` folder, or the `.mlmodel` file.
        spec: The `Model` message of the program or network.
        description: What the model says of itself and of its interface; a pipeline's own.
        suppression: The `NonMaximumSuppression` message behind a detector, None without.
        weights_folder: The folder that holds `weights/weight.bin`.
    """

    path: Path
    spec: Any
    description: Any
    suppression: Any | None
    weights_folder: Path


def read_package(path: Path) -> PackageFile:
    """Returns the package at a path.

    Raises:
        ArtifactError: Nothing is there, it is neither ML Program nor neural network, or a file is missing or broken.
        MissingDependencyError: coremltools is not installed.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: there is no such package. Expected a .mlpackage folder or a .mlmodel file.")
    model_path = path if path.is_file() else path / "Data" / _root_model(path)
    if not model_path.is_file():
        raise ArtifactError(f"{model_path}: the package's model file is missing. {REMEDY}")
    spec = protobuf_classes().model.Model()
    try:
        spec.ParseFromString(model_path.read_bytes())
    except Exception as error:  # protobuf's DecodeError is a different class in each of its implementations
        if type(error).__name__ != "DecodeError":
            raise
        raise ArtifactError(f"{model_path}: not a Core ML model, or a truncated one ({error}). {REMEDY}") from error
    inner, suppression = _detector(spec)
    kind = inner.WhichOneof("Type")
    if kind not in ("mlProgram", *NETWORKS):
        raise ArtifactError(
            f"{path}: it holds a model of type {kind or 'none'}; the Core ML evaluator runs ML Programs and neural "
            "networks, alone or before a non-maximum suppression. Validate this model on a Mac."
        )
    return PackageFile(
        path=path,
        spec=inner,
        description=spec.description,
        suppression=suppression,
        weights_folder=model_path.parent,
    )


def _detector(spec: Any) -> tuple[Any, Any | None]:
    """Returns the two models of a pipeline that ends with a suppression; any other model as it is."""
    models: list[Any] = list(spec.pipeline.models) if spec.WhichOneof("Type") == "pipeline" else []
    if len(models) != 2 or models[1].WhichOneof("Type") != "nonMaximumSuppression":
        return spec, None
    return models[0], models[1].nonMaximumSuppression


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
