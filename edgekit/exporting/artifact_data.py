"""Inputs for an artifact without a float model: the user's data, or made-up values of the sizes that the user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from edgekit.artifact import Artifact
from edgekit.model import TensorSpec
from edgekit.pipeline.artifact_metadata import read_embedded
from edgekit.pipeline.settings import Settings
from edgekit.samples import Samples, write_samples
from edgekit.task.data import MATERIALIZE, DataRequest, Purpose
from edgekit.task.data_limit import data_limit_bytes
from edgekit.task.image_input import embedded_image_input
from edgekit.task.input_sizes import InputSizes, OpenInput, chosen_sizes
from edgekit.task.sample_feed import SampleSource, reopened
from edgekit.task.task import ImagePreprocessing, Task
from edgekit.task.task_kinds import DEFAULT_METRIC
from edgekit.validators.execution import fed_samples


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactData:
    """What a user gave to run an artifact on.

    Attributes:
        base: Folder that relative references start from.
        evaluation: Function reference, .npz file or folder of images.
        calibration: The same.
        example_inputs: Reference of a function that returns one tuple of tensors.
        input_sizes: Sizes for made-up values.
        metric: How outputs are scored.
        from_memory: The references name files that were written from a Python program's memory.
    """

    base: Path
    evaluation: str | None = None
    calibration: str | None = None
    example_inputs: str | None = None
    input_sizes: tuple[InputSizes, ...] = ()
    metric: str = DEFAULT_METRIC
    from_memory: bool = False

    @staticmethod
    def from_overrides(overrides: Mapping[str, str | None], sizes: Sequence[InputSizes], base: Path) -> ArtifactData:
        """Returns what the flags of a command name, by the names of a task's fields."""
        return ArtifactData(
            base=base,
            evaluation=overrides.get("evaluation"),
            calibration=overrides.get("calibration"),
            example_inputs=overrides.get("example_inputs"),
            input_sizes=tuple(sizes),
            metric=overrides.get("metric") or DEFAULT_METRIC,
        )

    @staticmethod
    def of_task(task: Task) -> ArtifactData:
        """Returns the data of a task whose model is a finished file."""
        return ArtifactData(
            base=task.base,
            calibration=task.calibration,
            example_inputs=task.example_inputs,
            input_sizes=task.input_sizes,
        )

    def in_place_of(self, task: Task) -> Task:
        """Returns a task with what was given in the place of its own data: the task of the embedded default."""
        given = {
            name: text
            for name in ("evaluation", "calibration", "example_inputs")
            if (text := getattr(self, name)) is not None
        }
        return replace(task, base=self.base, metric=self.metric, input_sizes=self.input_sizes, **given)

    def _reference(self) -> tuple[str, Purpose, str] | None:
        """Returns the best data that there is: its reference, what it is for, and the flag that names it."""
        if self.evaluation is not None:
            return self.evaluation, "evaluation", "--evaluation"
        if self.input_sizes:
            return None
        if self.calibration is not None:
            return self.calibration, "sample", "--calibration"
        if self.example_inputs is not None:
            return self.example_inputs, "example", "--example-inputs"
        return None

    def samples_for(self, artifact: Artifact, folder: Path, settings: Settings) -> tuple[Samples | None, str]:
        """Returns inputs for an artifact and where they come from, in words; (None, "") where nothing was given.

        Args:
            artifact: As its runtime describes it (see `describe_artifact`).
            folder: Where they are written.
            settings: How to run.

        Raises:
            DataError: the data is missing, empty, or not what the artifact takes.
            UsageError: the sizes are not those of the artifact's inputs.
        """
        found = self._reference()
        if found is not None:
            reference, purpose, flag = found
            sized = self._sized(artifact)
            samples = read_samples(sized, reference, purpose, self.base, folder, settings, metric=self.metric)
            origin = "data in memory" if self.from_memory else f"{flag} {reference}"
            return samples, f"{_sizes_of(samples)}, from {origin}"
        if not self.input_sizes:
            return None, ""
        sizes = self._chosen(artifact)
        samples = write_samples(folder, [item.name for item in sizes], [tuple(map(_made_up, sizes))])
        return samples, f"{_sizes_of(samples)}, from --input; the values are made up"

    def _chosen(self, artifact: Artifact) -> list[InputSizes]:
        inputs = [OpenInput.from_spec(spec) for spec in artifact.data_inputs]
        return chosen_sizes(inputs, self.input_sizes, artifact.path.name)

    def _sized(self, artifact: Artifact) -> Artifact:
        """Returns the artifact with the sizes that the user gives in the place of free ones."""
        if not self.input_sizes:
            return artifact
        pairs = zip(artifact.inputs, self._chosen(artifact), strict=True)
        return replace(artifact, inputs=tuple(replace(spec, shape=sizes.shape) for spec, sizes in pairs))


def read_samples(
    artifact: Artifact,
    reference: str,
    purpose: Purpose,
    base: Path,
    folder: Path,
    settings: Settings,
    *,
    metric: str = DEFAULT_METRIC,
) -> Samples:
    """Returns data for an artifact, read in a worker process.

    Args:
        artifact: As its runtime describes it (see `describe_artifact`).
        reference: `data.py:function`, an .npz file or a folder of images.
        purpose: What the rows are for.
        base: Where relative paths start.
        folder: Where they are written.
        settings: How to run.
        metric: It decides what an evaluation item is.

    Raises:
        DataError: missing, empty, or not what the artifact takes.
    """
    images = read_embedded(artifact.metadata).preprocessing or ImagePreprocessing()
    request = DataRequest(
        reference=reference,
        base=base,
        purpose=purpose,
        inputs=real_inputs(artifact),
        metric=metric,
        preprocessing=images,
        folder=folder,
        sequences=bool(artifact.states),
        most_bytes=None if purpose != "evaluation" or artifact.states else data_limit_bytes(),
    )
    settings.run("reading of the data", MATERIALIZE, request, settings.stage("data"))
    samples = reopened(folder, SampleSource(data=request))
    return fed_samples(artifact, samples, folder.with_name(f"{folder.name}-pixels"))


def real_inputs(artifact: Artifact) -> tuple[TensorSpec, ...]:
    """Returns the inputs that data feeds as users see them: a quantized one takes real values, so do pixels."""
    image = embedded_image_input(artifact.metadata)
    return tuple(
        replace(image.spec, name=spec.name)
        if image is not None and image.is_pixels(spec)
        else spec
        if spec.scale is None
        else replace(spec, dtype="float32", scale=None, zero_point=None)
        for spec in artifact.data_inputs
    )


def _made_up(sizes: InputSizes) -> Any:
    """Returns values of a size: random floats; ones for integers, a valid id in every table."""
    import numpy as np

    if sizes.dtype.startswith("float"):
        return np.random.default_rng(0).standard_normal(sizes.shape).astype(sizes.dtype)
    return np.ones(sizes.shape, sizes.dtype)


def _sizes_of(samples: Samples) -> str:
    """Returns `x 1x3x64x64, mask 1x64`."""
    return ", ".join(
        f"{name} {'x'.join(map(str, shape)) or 'scalar'}"
        for name, shape in zip(samples.names, samples.shapes(), strict=True)
    )
