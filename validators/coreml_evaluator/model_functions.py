"""The functions of a Core ML model: those of an ML Program, or the one that a neural network computes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.graph import Function
from edgekit.validators.coreml_evaluator.graph_reader import read_function
from edgekit.validators.coreml_evaluator.neural_network.read_network import read_network
from edgekit.validators.coreml_evaluator.package_file import NETWORKS, PackageFile, read_package
from edgekit.validators.coreml_evaluator.protobuf_values import ValueReader

_ONLY: Final = "main"
"""What the one function of most models is called."""


def function_names(path: str | Path) -> tuple[str, ...]:
    """Returns the names of a model's functions, sorted: most have one, `main`.

    Raises:
        ArtifactError: The model is broken, or of a type that the evaluator does not run.
    """
    return _names(read_package(Path(path)))


def chosen_function(package: PackageFile, wanted: str | None) -> Function:
    """Returns a function of a model: the one of that name, else its default one.

    Raises:
        ArtifactError: There is no such function, or it cannot be read.
    """
    spec = package.spec
    names = _names(package)
    name = wanted or spec.description.defaultFunctionName or _ONLY
    if name not in names:
        raise ArtifactError(
            f'{package.path}: the program has no function "{name}". It has: {", ".join(names) or "none"}.'
        )
    if spec.WhichOneof("Type") not in NETWORKS:
        values = ValueReader(folder=package.weights_folder)
        return read_function(spec.mlProgram.functions[name], name=name, values=values)
    try:
        return read_network(spec)
    except ArtifactError as error:
        raise ArtifactError(f"{package.path}: {error.message}") from error


def _names(package: PackageFile) -> tuple[str, ...]:
    spec = package.spec
    return (_ONLY,) if spec.WhichOneof("Type") in NETWORKS else tuple(sorted(spec.mlProgram.functions))
