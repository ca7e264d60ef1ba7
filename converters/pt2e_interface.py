"""What the two converters that go through torch tell about an artifact: tensors, metadata, a framework's refusal."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Final

from edgekit.converters.base import ConversionRequest
from edgekit.errors import ConversionError
from edgekit.model import ArtifactState, TensorSpec, boundary_json
from edgekit.quantization.ranges import Grid

IO_KEY: Final = "edgekit.io"
"""Key of the metadata entry that describes inputs and outputs as JSON."""


def described(
    request: ConversionRequest,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    states: tuple[ArtifactState, ...] = (),
) -> dict[str, str]:
    """Returns the metadata to embed: the request's, sorted, and the description of inputs, outputs and states."""
    return {**dict(sorted(request.metadata.items())), IO_KEY: json.dumps(boundary_json(inputs, outputs, states))}


def on_grids(specs: tuple[TensorSpec, ...], grids: Mapping[int, Grid]) -> tuple[TensorSpec, ...]:
    """Returns the specs with those at the positions in `grids` as int8 tensors."""
    return tuple(
        replace(spec, dtype="int8", scale=grids[position].scale, zero_point=grids[position].zero_point)
        if position in grids
        else spec
        for position, spec in enumerate(specs)
    )


def refuse_float_io(
    request: ConversionRequest, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> None:
    """Refuses integer inputs and outputs where a float tensor has no fixed grid.

    Raises:
        ConversionError: names the tensors.
    """
    floats = [f'"{spec.name}"' for spec in (*inputs, *outputs) if spec.dtype.startswith("float")]
    if floats:
        raise ConversionError(
            f"{request.model.source} cannot have int8 inputs and outputs with {request.recipe.name}: "
            f"{', '.join(floats)} {'has' if len(floats) == 1 else 'have'} no calibrated grid. "
            "Use --io float, or --precision int8-static."
        )


@contextlib.contextmanager
def quiet_frameworks() -> Generator[None]:
    """Keeps the frameworks' deprecation warnings out of the log: there are thousands, and none is the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
