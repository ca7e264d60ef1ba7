"""The worker process's side of a search: user code runs here and nowhere else.

`look` finds out which function takes which parameter and captures every variant untrained. `train` trains one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, final

from edgekit.errors import EdgekitError, ModelError, TechniqueError
from edgekit.model import SourceKind
from edgekit.pipeline.analysis import write_analysis
from edgekit.pipeline.capture import capture_in_worker
from edgekit.searching.binding import Role, bind, find_bindings
from edgekit.sources.base import CaptureRequest, Source
from edgekit.task.task import Training
from edgekit.torch_program.facts import Capture
from edgekit.workers.worker import Progress, silent

LOOK: Final = "edgekit.searching.worker_entry:look"
TRAIN: Final = "edgekit.searching.worker_entry:train"

_TRAINING_ROLES: Final[tuple[Role, ...]] = ("batches", "held_out")


def look(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Captures every variant, untrained, each into the sub-folder of its name.

    A variant that cannot be built is no failure of the others: its entry says why.

    Args:
        payload: `references` by role, `variants` (`name`, `arguments`), `base`, `training`, `metadata`, `seed`,
            `folder`.
        progress: Told which variant it is.

    Returns:
        `bindings`, and by variant `error` ("" where there is none) and `training`, the hash of its training data.

    Raises:
        ConfigError: a reference is wrong, or a parameter belongs to no function.
    """
    from edgekit.training.training_data import fingerprint, seed_all

    base, variants = Path(payload["base"]), payload["variants"]
    progress("looking at the task's functions", None)
    bindings = find_bindings(payload["references"], list(variants[0]["arguments"]), base)
    hashes: dict[Training, str] = {}
    found: dict[str, dict[str, str]] = {}
    for index, item in enumerate(variants):
        progress(f"capturing variant {index + 1} of {len(variants)}", index / len(variants))
        references = bind(payload["references"], item["arguments"], bindings)
        training = training_of(payload["training"], references)
        try:
            seed_all(payload["seed"], 0)
            folder = Path(payload["folder"]) / item["name"]
            capture_in_worker(_request(payload, references, item["name"], folder).to_json(), silent)
            if training not in hashes:
                hashes[training] = fingerprint(training, base, payload["seed"])
        except EdgekitError as error:
            found[item["name"]] = {"error": error.message, "training": ""}
        else:
            found[item["name"]] = {"error": "", "training": hashes[training]}
    return {"bindings": bindings, "variants": found}


def training_of(training: Mapping[str, Any], references: Mapping[Role, str]) -> Training:
    """Returns the `[training]` of a variant whose functions are `references`."""
    fields: dict[str, Any] = dict(training)
    for role in _TRAINING_ROLES:
        if role in references:
            fields[role] = references[role]
    return Training(**fields)


def _request(payload: Mapping[str, Any], references: Mapping[Role, str], name: str, folder: Path) -> CaptureRequest:
    return CaptureRequest(
        source=references["factory"],
        base=Path(payload["base"]),
        output=folder,
        name=name,
        example_inputs=references.get("example_inputs"),
        # A folder or a file is no reference, and the payload's own.
        calibration=references.get("calibration", payload["calibration"]),
        metadata=payload["metadata"],
    )


def train(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Trains one variant until an epoch, from its checkpoint where there is one.

    The user's own module is trained, in training mode and with its batch norms; they are folded when it is captured.

    Args:
        payload: `references`, bound; `name`, `base`, `training`, `calibration`, `metadata`, `seed`, `schedule`,
            `until`, `checkpoint`, `key`, and `output`, where the captured model goes, None not to capture it.
        progress: Told the loss and the metric on the held-out batches.

    Returns:
        `best` and `history`: what the held-out batches said.

    Raises:
        ModelError: the variant cannot be built, or has nothing to train.
        DataError: the batches or the loss are wrong.
        TechniqueError: the loss is not a number, in training or on the held-out batches.
    """
    from edgekit.sources.torch_factory import make_module
    from edgekit.training.loop import Run, TrainingObjective
    from edgekit.training.loop import train as run_training
    from edgekit.training.schedule import Schedule
    from edgekit.training.training_data import open_training, seed_all

    output = Path(payload["output"]) if payload["output"] else None
    request = _request(payload, payload["references"], payload["name"], output or Path())
    seed_all(payload["seed"], 0)
    module = make_module(request)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ModelError(
            f"{request.source} returned a module without a parameter that can be trained. "
            "Leave requires_grad on where edgekit search shall train."
        )
    data = open_training(training_of(payload["training"], payload["references"]), request.base)

    def loss(inputs: tuple[Any, ...], target: Any) -> Any:
        return data.loss_of(module.train()(*inputs), target)

    trained = run_training(
        TrainingObjective(module=module, loss=loss, predict=lambda inputs: module.eval()(*inputs), name="search"),
        data,
        Schedule(**payload["schedule"]),
        Run(
            checkpoint=Path(payload["checkpoint"]),
            key=payload["key"],
            progress=progress,
            seed=payload["seed"],
            keeps_start=False,
            until=payload["until"],
        ),
    )
    if not math.isfinite(trained.best.loss):
        raise TechniqueError(
            f"The loss of {request.source} on the held-out batches is {trained.best.loss}. Give a smaller "
            f"--learning-rate than {payload['schedule']['learning_rate']:g}."
        )
    if output is not None:
        source = _TrainedModule(module.eval().requires_grad_(requires_grad=False))
        write_analysis(source.capture(request, progress).to_json(), output, progress)
    return {"best": _facts(trained.best), "history": [_facts(item) for item in trained.history]}


def _facts(judgement: Any) -> dict[str, float | None]:
    """Returns a judgement for JSON, which has no NaN: an epoch on the way may have diverged."""
    found = {"loss": judgement.loss, "accuracy": judgement.accuracy, "score": judgement.score}
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


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
