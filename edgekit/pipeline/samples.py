"""Calibration and evaluation data as sample folders, and the float model's outputs on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError
from edgekit.model import CapturedModel, State, TensorSpec
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import Settings
from edgekit.samples import SAMPLES_NAME, Samples, SampleWriter, write_samples
from edgekit.task.data import MATERIALIZE, DataRequest, Purpose, is_picture_folder
from edgekit.task.data_limit import data_limit_bytes
from edgekit.task.image_input import ImageInput
from edgekit.task.sample_feed import PictureStep, SampleSource, as_values, reopened
from edgekit.task.task import Task
from edgekit.workers.request_key import Contents, request_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PICTURE_TOOLS: Final = ("pillow", "numpy")
_MOST_STATE_BYTES: Final = 8_000_000_000

_RUNNER_CODE: Final = ("edgekit.validators.execution", "edgekit.validators.runners")
"""The runner is started by its path, so imports do not lead to it."""
_RUNNER_TOOLS: Final = ("torch", "onnxruntime", "tensorflow-cpu", "tensorflow", "ai-edge-litert")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFolderRequest:
    """What the samples of a folder of pictures depend on: no user code runs, so they are known before they are read.

    Attributes:
        data: How they are read.
        files: The folder.
    """

    data: DataRequest
    files: Contents


def prepare_samples(task: Task, model: CapturedModel, purpose: Purpose, settings: Settings) -> Samples | None:
    """Returns the task's calibration or evaluation data as samples, or None where it names none.

    The samples of a model with states hold those too, as the float model gives them call by call.

    Args:
        task: Names the data.
        model: What takes the data.
        purpose: calibration or evaluation.
        settings: How to run.

    Raises:
        DataError: empty, wrong shape or dtype, NaN and so on.
    """
    reference = task.calibration if purpose == "calibration" else task.evaluation
    if reference is None:
        return None
    samples = _read_samples(task, reference, model, purpose, settings)
    return with_states(samples, model, settings) if model.states else samples


def _read_samples(task: Task, reference: str, model: CapturedModel, purpose: Purpose, settings: Settings) -> Samples:
    inputs = model.data_inputs
    ready = _written_for(task.base / reference, inputs) if model.open_sizes is None else None
    if ready is not None:
        return ready
    request = DataRequest(
        reference=reference,
        base=task.base,
        purpose=purpose,
        inputs=inputs,
        metric=task.metric,
        preprocessing=task.preprocessing,
        folder=Path(),
        images=task.images,
        labels=tuple(task.metadata.get("labels", "").splitlines()),
        sequences=bool(model.states),
        reset_every=task.reset_every,
        open_sizes=model.open_sizes,
        most_bytes=most_bytes_of(purpose, model),
    )
    source = SampleSource(data=request)
    key: str | None = None
    if task.embedded_default:
        from edgekit.task.default_model import DISTRIBUTIONS

        key = MATERIALIZE.key(request, tools=DISTRIBUTIONS)
    elif is_picture_folder(request):
        key = request_key(
            PictureFolderRequest(data=request, files=task.base / reference),
            code=(MATERIALIZE.work.__module__,),
            tools=_PICTURE_TOOLS,
        )
    if key and (found := settings.cache.find("samples", key)):
        return reopened(found, source)
    with settings.cache.scratch() as scratch:
        folder = scratch / "samples"
        title = f"reading of the {purpose} data"
        made = settings.run(title, MATERIALIZE, replace(request, folder=folder), settings.stage("data")).value
        # User code can depend on anything, so it ran; what it gave is kept once.
        key = key or request_key(made, code=(MATERIALIZE.work.__module__,))
        return reopened(settings.cache.make("samples", key, lambda place: move_contents(folder, place)), source)


def most_bytes_of(purpose: Purpose, model: CapturedModel) -> int | None:
    """Returns how many bytes of rows are kept on disk; None for all.

    Only evaluation rows are read one after the other; those of models with states are calls that follow each other.
    """
    return None if purpose != "evaluation" or model.states or model.open_sizes else data_limit_bytes()


def _written_for(folder: Path, inputs: Sequence[TensorSpec]) -> Samples | None:
    """Returns the samples that were written from memory for these very inputs; None where that is to be checked yet."""
    if not (folder / SAMPLES_NAME).is_file():
        return None
    samples = Samples.open(folder)
    same_names = samples.names == tuple(spec.name for spec in inputs)
    dtypes = [str(array.dtype) for array in samples.arrays()]
    same_forms = list(zip(samples.shapes(), dtypes, strict=True)) == [(spec.shape, spec.dtype) for spec in inputs]
    return samples if same_names and same_forms else None


def keep_samples(samples: Samples, settings: Settings) -> Samples:
    """Returns the samples as they lie in the cache; their folder may vanish afterwards."""
    key = request_key(samples, code=(MATERIALIZE.work.__module__,))
    return Samples.open(settings.cache.make("samples", key, lambda place: move_contents(samples.folder, place)))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PixelRequest:
    """What samples of whole pixels depend on.

    Attributes:
        samples: The rows.
        image: Which of their inputs is a picture, and how it was made.
    """

    samples: Samples
    image: ImageInput


def whole_pixels(samples: Samples, image: ImageInput, settings: Settings) -> Samples:
    """Returns the samples with pictures of whole pixels: what artifacts with an image input can be fed.

    Raises:
        DataError: the rows were not made of pixels.
    """
    key = request_key(PixelRequest(samples=samples, image=image), code=(as_values.__module__,))
    folder = settings.cache.make("samples", key, lambda place: _write_whole(samples, image, place))
    if not samples.part_rows:
        return Samples.open(folder)
    return reopened(folder, SampleSource.of(samples).then(PictureStep(image=image.to_text())))


def _write_whole(samples: Samples, image: ImageInput, place: Path) -> None:
    as_values(samples, image, place)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StateRequest:
    """What the rows of a model with states depend on.

    Attributes:
        model: The float model.
        samples: Its other inputs, in the order of calls.
    """

    model: CapturedModel
    samples: Samples


def with_states(samples: Samples, model: CapturedModel, settings: Settings) -> Samples:
    """Returns the samples with the states that each call begins with, as the float model gives them.

    So a row holds everything that one call needs, and ranges of states are those of real sequences.

    Args:
        samples: The model's other inputs, in the order of calls.
        model: The float model.
        settings: How to run.

    Raises:
        DataError: so many calls with states of that size that they would fill the disk.
    """
    shapes = {spec.name: spec for spec in model.inputs}
    size = sum(math.prod(shapes[state.input].shape) * 8 for state in model.states) * samples.count
    if size > _MOST_STATE_BYTES:
        raise DataError(
            f"{samples.count} calls with the states of {model.source} would take up to {size / 1e9:.0f} GB; at most "
            f"{_MOST_STATE_BYTES / 1e9:.0f} GB are written. Give fewer items, or smaller states for calibration."
        )
    key = request_key(StateRequest(model=model, samples=samples), code=_RUNNER_CODE, tools=_RUNNER_TOOLS)
    outputs = reference_outputs(model, samples, settings)
    return Samples.open(
        settings.cache.make("samples", key, lambda place: _write_states(samples, outputs, model, place))
    )


def _write_states(samples: Samples, outputs: Samples, model: CapturedModel, folder: Path) -> None:
    """Writes rows of all inputs in the model's order: a state is what the call before gave, or how it begins."""
    import numpy as np

    specs = {spec.name: spec for spec in model.inputs}
    places = {state.input: outputs.names.index(state.output) for state in model.states}
    begins = {state.input: initial_value(state, specs[state.input]) for state in model.states}
    starts, items = set(samples.starts()), samples.item_of_row()
    with SampleWriter(folder, [spec.name for spec in model.inputs], sequences=True) as writer:
        before: tuple[NDArray[Any], ...] = ()
        for i, (row, made) in enumerate(zip(samples.rows(), outputs.rows(), strict=True)):
            if i in starts:
                writer.start_sequence()
            given = dict(zip(samples.names, row, strict=True))
            for name, place in places.items():
                spec = specs[name]
                given[name] = begins[name] if i in starts else np.asarray(before[place], spec.dtype).reshape(spec.shape)
            writer.add(tuple(given[spec.name] for spec in model.inputs), item=int(items[i]))
            before = made
        targets, slices = samples.targets(), samples.slices()
        for item in range(samples.items):
            writer.add_item(None if targets is None else targets[item], slices[item] if slices else None)


def initial_value(state: State, spec: TensorSpec) -> NDArray[Any]:
    """Returns a state's value before the first call, in the shape of `spec`."""
    import numpy as np

    values = np.asarray(state.initial, dtype=spec.dtype)
    return np.full(spec.shape, values[0]) if len(values) == 1 else values.reshape(spec.shape)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRequest:
    """What the float model's outputs depend on.

    Attributes:
        model: The float model.
        samples: Its inputs.
    """

    model: CapturedModel
    samples: Samples


def reference_outputs(model: CapturedModel, samples: Samples, settings: Settings) -> Samples:
    """Returns the float model's outputs on `samples`, computed once in a runner process."""
    from edgekit.validators.execution import run_reference
    from edgekit.validators.runner_process import RunSettings

    key = request_key(ReferenceRequest(model=model, samples=samples), code=_RUNNER_CODE, tools=_RUNNER_TOOLS)
    run_settings = RunSettings(timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes)

    def build(folder: Path) -> None:
        run_reference(
            model, samples, folder, settings=run_settings, progress=settings.stage("reference"), cache=settings.cache
        )
        settings.progress("reference", f"float outputs of {samples.count} samples", 1.0)

    return Samples.open(settings.cache.make("reference", key, build))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RowsRequest:
    """Which rows of samples are wanted by themselves."""

    samples: Samples
    rows: tuple[int, ...]


def hold_out(samples: Samples, every: int, settings: Settings) -> tuple[Samples, Samples]:
    """Returns the samples without every `every`-th row, and those rows by themselves.

    For rows that stand alone: they are cut apart.
    """
    held = [row % every == every - 1 for row in range(samples.count)]
    kept = chosen_rows(samples, [row for row in range(samples.count) if not held[row]], settings)
    return kept, chosen_rows(samples, [row for row in range(samples.count) if held[row]], settings)


def rows_stand_alone(samples: Samples) -> bool:
    """Returns True where each row is an item of one size by itself, so that some may be taken without the others."""
    return samples.items == samples.count and not samples.sequence_lengths() and samples.sizes() is None


def chosen_rows(samples: Samples, rows: Sequence[int], settings: Settings) -> Samples:
    """Returns some rows by themselves, without targets; for rows that stand alone."""
    key = request_key(RowsRequest(samples=samples, rows=tuple(rows)), code=(__name__,))

    def build(place: Path) -> None:
        write_samples(place, samples.names, samples.rows(rows))

    return Samples.open(settings.cache.make("samples", key, build))
