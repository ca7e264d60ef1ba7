"""The contract of a converter.

Implement `Converter`, never override `run`. A converter is one file; it runs in a worker process of its own, so it may
import its framework freely inside `convert`. It realises a recipe with its runtime's own quantizer and kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.artifact import remove_artifact
from edgekit.errors import ConversionError, DataError, MissingDependencyError, WorkerError
from edgekit.formats.table import all_formats, find_format
from edgekit.model import ArtifactState, CapturedKind, CapturedModel, TensorSpec
from edgekit.plugins import load_plugin
from edgekit.recipe import Precision, Recipe
from edgekit.task.image_input import ImageInput
from edgekit.workers.worker import Progress

IoType = Literal["float", "int8"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """What a converter must make.

    Attributes:
        model: The captured float model.
        recipe: Precision of each part.
        calibration: Folder of calibration samples (see `edgekit.samples`), None where the recipe needs none.
        io: `float`: float inputs and outputs, whatever happens inside. `int8`: integer ones, with scale and zero point.
        metadata: Labels, preprocessing and provenance to embed in the artifact.
        image: The input that takes pixels; None where all inputs are the float model's.
        scratch: An empty folder for intermediate files; removed afterwards.
    """

    model: CapturedModel
    recipe: Recipe
    calibration: Path | None
    io: IoType = "float"
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    image: ImageInput | None = None
    scratch: Path


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a converter made.

    Attributes:
        inputs: As the artifact's runtime names them, in the float model's call order.
        outputs: As the artifact's runtime names them, in the float model's order.
        notes: Sentences for the user: what was kept in float and why, what was chosen.
        operators: What lies in the file: operator type to count.
        float_fallbacks: Operators that the recipe wanted as integers and that stay float, by name.
        narrowed: Sentences about inputs and outputs whose dtype holds less than the float model's.
        states: What goes from one call to the next, as the artifact has it.
        metadata: What the converter embedded beside the requested, for who reads the artifact.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict[str, int])
    float_fallbacks: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()
    states: tuple[ArtifactState, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


_NARROWER: Final = frozenset(
    (wide, narrow)
    for kind in ("int", "uint", "float")
    for wide, narrow in (
        (f"{kind}{more}", f"{kind}{less}") for more in (16, 32, 64) for less in (8, 16, 32) if less < more
    )
)
"""Pairs of dtypes of which the second holds less than the first."""


class Converter(ABC):
    """Turns a captured model into an artifact of one runtime.

    Class attributes:
        runtime: Name of its format (see `edgekit.formats.format`), which says what must be installed.
        leaves_open: It can leave sizes open that the model leaves open.
        takes_pixels: It can write artifacts whose input is pixels (see `ConversionRequest.image`).
        gains_by_samples: Precisions that need no calibration samples and are better with them.
    """

    runtime: ClassVar[str]
    leaves_open: ClassVar[bool] = False
    takes_pixels: ClassVar[bool] = False
    # In 16 bits samples tell which values would overflow.
    gains_by_samples: ClassVar[frozenset[Precision]] = frozenset({"fp16"})

    @abstractmethod
    def why_not(self, kind: CapturedKind, recipe: Recipe) -> str | None:
        """Returns why a model of this kind cannot be converted with this recipe, or None if it can. Imports nothing."""

    def why_not_graph(self, analysis: Analysis) -> str | None:
        """Returns why this model's operators cannot be held, as far as the graph tells, or None. Imports nothing."""
        del analysis
        return None

    @final
    def why_not_open(self, model: CapturedModel) -> str | None:
        """Returns why the sizes that the model leaves open cannot stay so, or None where they can or none is open."""
        if model.open_sizes is None or self.leaves_open:
            return None
        return (
            f"{find_format(self.runtime).title} artifacts of edgekit have fixed sizes, and the task leaves open "
            f"{model.open_sizes.words}. Use --format {_open_formats()}, or give a number in the place of "
            f"{model.open_sizes.dimensions[0].name} in --input or [inputs]"
        )

    @abstractmethod
    def convert(self, request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
        """Writes the artifact to `output` (a path that does not exist yet) and describes it.

        Raises:
            ConversionError: this model cannot be held by this format; the message names the operator or tensor.
        """

    @final
    def run(self, request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
        """Converts with the contract enforced: refuses with a reason, writes all or nothing.

        Raises:
            ConversionError: `why_not` has a reason, or the format cannot hold the model.
            MissingDependencyError: a package is missing.
            DataError: the recipe needs calibration data and there is none.
            WorkerError: the converter broke its contract.
        """
        reason = self.why_not(request.model.kind, request.recipe) or self.why_not_open(request.model)
        if reason is not None:
            title = f"{self.runtime} {request.recipe.name}"
            raise ConversionError(f"{request.model.source} cannot become {title}: {reason}")
        if request.image is not None and not self.takes_pixels:
            raise ConversionError(
                f"{request.model.source} cannot become {self.runtime} with an image input: its converter writes none. "
                "Export without --image-input."
            )
        made = find_format(self.runtime)
        if missing := made.missing():
            raise MissingDependencyError(
                f"{self.runtime} needs {', '.join(missing)}, which is not installed. {made.install_advice}"
            )
        if request.recipe.needs_calibration and request.calibration is None:
            raise DataError(
                f"{self.runtime} {request.recipe.name} needs calibration data and the task names none. Give it as "
                "--calibration DATA or [data] calibration in edgekit.toml (a function, an .npz file or a folder of "
                "images), or take a precision that needs none: --precision int8-dynamic, int8-weights or fp16."
            )
        partial = output.with_name(f".partial-{output.name}")
        remove_artifact(partial)
        try:
            conversion = self.convert(request, partial, progress)
            if not partial.exists():
                raise WorkerError(f"The {self.runtime} converter returned without writing {output.name}.")
            remove_artifact(output)
            partial.rename(output)
        finally:
            remove_artifact(partial)
        return replace(conversion, narrowed=_narrowed(request.model, conversion, made.title))


def _narrowed(model: CapturedModel, made: Conversion, title: str) -> tuple[str, ...]:
    """Returns a sentence for each input and output whose integers the artifact holds in fewer bits."""
    pairs = [*zip(model.inputs, made.inputs, strict=False), *zip(model.outputs, made.outputs, strict=False)]
    return tuple(
        f'"{spec.name}" is {artifact.dtype} where the float model has {spec.dtype}: {title} narrows it, so larger '
        "numbers do not fit."
        for spec, artifact in pairs
        if artifact.scale is None and (spec.dtype, artifact.dtype) in _NARROWER
    )


def _open_formats() -> str:
    """Returns the formats whose artifacts leave sizes open: `onnx or executorch`."""
    return " or ".join(one.name for one in all_formats() if converter(one.name).leaves_open)


def converter(name: str) -> Converter:
    """Returns the converter of the format `name`.

    Raises:
        KeyError: no such format; callers check names against `registry.format_names()` first.
        PluginError: a third party's plug-in cannot be loaded.
    """
    made: Converter = load_plugin("converter", name, find_format(name).converter)()
    return made
