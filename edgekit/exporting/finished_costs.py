"""What a finished file's own graph says about its latency on a device and the memory that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from edgekit.analysis.finished_file import READ_FINISHED, FinishedFileRequest
from edgekit.artifact import Artifact
from edgekit.formats.table import find_format
from edgekit.pipeline.settings import Settings
from edgekit.predict.latency import predict_latency
from edgekit.predict.memory import predict_memory
from edgekit.recipe import Prediction, Recipe
from edgekit.samples import Samples


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedCosts:
    """Costs of a finished file, predicted.

    Attributes:
        recipe: The precisions that the file computes in; None where they cannot be read.
        latency: On the device, and its 95th percentile where that is known.
        memory: Peak beyond the empty runtime.
    """

    recipe: Recipe | None
    latency: tuple[Prediction, ...]
    memory: tuple[Prediction, ...] = ()

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """All of them, the latency first."""
        return (*self.latency, *self.memory)


def finished_costs(
    artifact: Artifact,
    samples: Samples | None,
    settings: Settings,
    *,
    device: str,
    latency_models: Mapping[str, Mapping[str, Any]],
) -> FinishedCosts:
    """Returns what the graph in a finished file costs.

    Args:
        artifact: The file.
        samples: Rows of the sizes that the file leaves free; None where it leaves none.
        settings: How to run.
        device: Name of the profile.
        latency_models: The profile's.

    Raises:
        EdgekitError: its graph cannot be read.
    """
    reader = find_format(artifact.runtime).graph_reader
    if not reader:
        reason = f"not measured: edgekit reads no costs from a {artifact.path.suffix} file; measure it on the device"
        unknown = Prediction(name="latency", value=None, low=None, high=None, unit="ms", basis=reason)
        return FinishedCosts(recipe=None, latency=(unknown,))
    sizes = {} if samples is None else dict(zip(samples.names, samples.shapes(), strict=True))
    request = FinishedFileRequest(
        reader=reader, path=artifact.path.absolute(), sizes=sizes, signature=artifact.signature
    )
    found = settings.run("analysis of the file", READ_FINISHED, request, settings.stage("analysis")).value
    return FinishedCosts(
        recipe=found.recipe,
        latency=predict_latency(found.analysis, found.recipe, artifact.runtime, latency_models, device),
        memory=(predict_memory(found.analysis, found.recipe, artifact.runtime),),
    )
