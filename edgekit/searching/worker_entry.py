"""The worker process's side of a search: user code runs here and nowhere else.

`look` finds out which function takes which parameter and captures every variant untrained. `train` trains one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, final

from edgekit.errors import EdgekitError, ModelError, TechniqueError
from edgekit.model import CapturedModel, SourceKind
from edgekit.pipeline.analysis import write_analysis
from edgekit.pipeline.capture import capture_in_worker
from edgekit.searching.binding import Role, bind, find_bindings
from edgekit.searching.grid import Variant
from edgekit.sources.base import CaptureRequest, Source
from edgekit.task.task import Training
from edgekit.torch_program.facts import Capture
from edgekit.training.schedule import Schedule
from edgekit.workers.request_key import Place
from edgekit.workers.worker import Job, Progress, silent

_TRAINING_ROLES: Final[tuple[Role, ...]] = ("batches", "held_out")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsRequest:
    """Which variants to capture.

    Attributes:
        references: The task's functions by role.
        variants: With their parameters.
        base: Folder that references start from.
        training: The task's.
        calibration: The task's data; None without.
        metadata: To embed in artifacts.
        seed: Random seed of the untrained weights.
        folder: Each variant goes into the sub-folder of its name.
    """

    references: Mapping[Role, str]
    variants: tuple[Variant, ...]
    base: Place
    training: Training
    calibration: str | None
    metadata: Mapping[str, str]
    seed: int
    folder: Place


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFacts:
    """What came of capturing a variant.

    Attributes:
        error: Why it cannot be built, "" where it can.
        training_sha256: Hash of its training data.
    """

    error: str = ""
    training_sha256: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsResult:
    """All variants, looked at.

    Attributes:
        bindings: Parameter to the functions that have it.
        variants: By name.
    """

    bindings: Mapping[str, tuple[Role, ...]]
    variants: Mapping[str, VariantFacts]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """Which variant to train, and until when.

    Attributes:
        name: Name of the variant.
        references: Its functions by role, bound to its parameters.
        base: Folder that references start from.
        training: The task's.
        training_sha256: Hash of the variant's training data.
        untrained: What it was captured as before it was trained; None where it was not.
        calibration: The task's data; None without.
        metadata: To embed in artifacts.
        schedule: Schedule of all epochs.
        seed: Random seed of weights and batches.
        until: Epoch to stop after.
        key: Key of the whole training: a checkpoint of another one is not gone on with.
        checkpoint: Where the training is kept.
        output: Where the trained model goes; None not to capture it.
    """

    name: str
    references: Mapping[Role, str]
    base: Place
    training: Training
    training_sha256: str
    untrained: CapturedModel | None
    calibration: str | None
    metadata: Mapping[str, str]
    schedule: Schedule
    seed: int
    until: int = 0
    key: str = ""
    checkpoint: Place = Path()
    output: Place | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What the held-out batches said: `loss`, `accuracy` and `score`, None for what is no number.

    Attributes:
        best: Result of the epoch whose weights are kept.
        history: Results of each epoch.
    """

    best: Mapping[str, float | None]
    history: tuple[Mapping[str, float | None], ...]


def look(request: VariantsRequest, progress: Progress) -> VariantsResult:
    """Captures every variant, untrained, each into the sub-folder of its name.

    A variant that cannot be built is no failure of the others: its entry says why.

    Raises:
        ConfigError: a reference is wrong, or a parameter belongs to no function.
    """
    from edgekit.training.training_data import fingerprint, seed_all

    base, variants = request.base, request.variants
    progress("looking at the task's functions", None)
    bindings = find_bindings(request.references, [name for name, _ in variants[0].arguments], base)
    hashes: dict[Training, str] = {}
    found: dict[str, VariantFacts] = {}
    for index, item in enumerate(variants):
        progress(f"capturing variant {index + 1} of {len(variants)}", index / len(variants))
        references = bind(request.references, dict(item.arguments), bindings)
        training = training_of(request.training, references)
        try:
            seed_all(request.seed, 0)
            capture_in_worker(_capture_request(request, references, item.name, request.folder / item.name), silent)
            if training not in hashes:
                hashes[training] = fingerprint(training, base, request.seed)
        except EdgekitError as error:
            found[item.name] = VariantFacts(error=error.message)
        else:
            found[item.name] = VariantFacts(training_sha256=hashes[training])
    return VariantsResult(bindings={name: tuple(roles) for name, roles in bindings.items()}, variants=found)


def training_of(training: Training, references: Mapping[Role, str]) -> Training:
    """Returns the `[training]` of a variant whose functions are `references`."""
    bound: dict[str, Any] = {role: references[role] for role in _TRAINING_ROLES if role in references}
    return replace(training, **bound)


def _capture_request(
    request: VariantsRequest | TrainRequest, references: Mapping[Role, str], name: str, folder: Path
) -> CaptureRequest:
    return CaptureRequest(
        source=references["factory"],
        base=request.base,
        output=folder,
        name=name,
        example_inputs=references.get("example_inputs"),
        # A folder or a file is no reference, and the request's own.
        calibration=references.get("calibration", request.calibration),
        metadata=request.metadata,
    )


def train(request: TrainRequest, progress: Progress) -> TrainResult:
    """Trains one variant until an epoch, from its checkpoint where there is one.

    The user's own module is trained, in training mode and with its batch norms; they are folded when it is captured.

    Raises:
        ModelError: the variant cannot be built, or has nothing to train.
        DataError: the batches or the loss are wrong.
        TechniqueError: the loss is not a number, in training or on the held-out batches.
    """
    from edgekit.sources.torch_factory import make_module
    from edgekit.training.loop import Run, TrainingObjective
    from edgekit.training.loop import train as run_training
    from edgekit.training.training_data import open_training, seed_all

    capture = _capture_request(request, request.references, request.name, request.output or Path())
    seed_all(request.seed, 0)
    module = make_module(capture)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ModelError(
            f"{capture.source} returned a module without a parameter that can be trained. "
            "Leave requires_grad on where edgekit search must train."
        )
    data = open_training(training_of(request.training, request.references), request.base)

    def loss(inputs: tuple[Any, ...], target: Any) -> Any:
        return data.loss_of(module.train()(*inputs), target)

    trained = run_training(
        TrainingObjective(module=module, loss=loss, predict=lambda inputs: module.eval()(*inputs), name="search"),
        data,
        request.schedule,
        Run(
            checkpoint=request.checkpoint,
            key=request.key,
            progress=progress,
            seed=request.seed,
            keeps_start=False,
            until=request.until,
        ),
    )
    if not math.isfinite(trained.best.loss):
        raise TechniqueError(
            f"The loss of {capture.source} on the held-out batches is {trained.best.loss}. Give a smaller "
            f"--learning-rate than {request.schedule.learning_rate:g}."
        )
    if request.output is not None:
        source = _TrainedModule(module.eval().requires_grad_(requires_grad=False))
        write_analysis(source.capture(capture, progress), progress)
    return TrainResult(best=_facts(trained.best), history=tuple(map(_facts, trained.history)))


def _facts(judgement: Any) -> dict[str, float | None]:
    """Returns a judgement for JSON, which has no NaN: an epoch on the way may have diverged."""
    found = {"loss": judgement.loss, "accuracy": judgement.accuracy, "score": judgement.score}
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


LOOK: Final = Job(work=look)
TRAIN: Final = Job(work=train, tools=("torch",))


@final
class _TrainedModule(Source):
    """A module that a factory made and that was trained here."""

    kind: ClassVar[SourceKind] = "torch"
    extra: ClassVar[str] = "torch"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch"}

    def __init__(self, module: Any) -> None:
        self._module = module

    def why_not(self, target: str) -> str | None:  # noqa: ARG002  the contract's argument
        """Every format can be made from an exported torch program."""
        return None

    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """Captures the module as it is."""
        from edgekit.sources.torch_factory import capture_module

        return capture_module(self._module, request, folder, progress)
