"""The contract of a technique.

Implement `Technique` as a final frozen dataclass in a file of its own: its fields are its settings. Never override
`run`. A technique changes the float model, so what it rescues is rescued in every format.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import MissingDependencyError, TechniqueError, WorkerError
from edgekit.model import IMPORTABLE, CapturedKind, CapturedModel, LearnedRange
from edgekit.plugins import load
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Step
from edgekit.registry import technique_targets
from edgekit.samples import Samples
from edgekit.task.task import Task
from edgekit.techniques.settings import read_settings
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from edgekit.training.training_data import TrainingData

Data = Literal["nothing", "calibration", "training"]
"""What a technique learns from. Where there is nothing to train on, calibration inputs take its place: what the float
model makes of them is imitated (see `unlabelled`)."""

DEFAULT_SEED: Final = 0

TYPICAL_SAMPLES: Final = 50_000
"""Training samples of an epoch, for estimates: a graph does not tell how many there are."""

TOLERANCE = 1e-4
"""Largest difference of a preserved function's outputs, relative to the largest output."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a technique is expected to do, from the graph alone.

    Attributes:
        parameters: Number of weights afterwards.
        macs: Multiply-accumulates of one inference afterwards.
        seconds: About how long it takes on one core.
        effect: One sentence: what it is good for.
    """

    parameters: int
    macs: int
    seconds: float
    effect: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TorchModel:
    """A captured torch model that has been opened.

    Attributes:
        facts: What is known about it.
        program: torch.export.ExportedProgram in canonical form: batch 1, batch norms folded.
    """

    facts: CapturedModel
    program: ExportedProgram


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a technique may use.

    Attributes:
        samples: Calibration samples, None where the technique needs none.
        scratch: An empty folder for intermediate files; removed afterwards.
        progress: Callback that gets what is going on.
        seed: Random seed.
        training: The user's batches and loss, None where the technique does not train.
        checkpoints: Folder that outlives an interrupted run of this very technique on this model; None keeps none.
        base: Folder that references of settings start from.
    """

    samples: Samples | None
    scratch: Path
    progress: Progress
    seed: int = DEFAULT_SEED
    training: TrainingData | None = None
    checkpoints: Path | None = None
    base: Path = Path()

    def calibration(self) -> Samples:
        """Returns the calibration samples of a technique that needs them.

        Raises:
            WorkerError: there are none, which `Technique.run` rules out.
        """
        if self.samples is None:
            raise WorkerError("A technique asked for calibration samples and declares that it needs none.")
        return self.samples

    def training_data(self) -> TrainingData:
        """Returns the training data of a technique that needs it.

        Raises:
            WorkerError: there is none, which `Technique.run` rules out.
        """
        if self.training is None:
            raise WorkerError("A technique asked for training data and declares that it needs none.")
        return self.training

    def checkpoint(self, name: str) -> Path | None:
        """Returns where the training run `name` of this technique keeps its state, None where nothing is kept."""
        return None if self.checkpoints is None else self.checkpoints / f"{name}.ckpt"


def _digest_with_ranges(digest: str, ranges: tuple[LearnedRange, ...]) -> str:
    """Returns a digest that tells models apart which differ in their learned ranges alone."""
    return hashlib.sha256(f"{digest} {ranges}".encode()).hexdigest() if ranges else digest


class Technique(ABC):
    """Changes a float model.

    Class attributes:
        name: What users write: an imperative in snake case.
        needs: What it learns from.
        works_on: Kinds of captured models that it can change.
        keeps_function: True if the float model computes the same afterwards; `run` checks it.
        packages: Import name to distribution name, of what must be installed.
    """

    name: ClassVar[str]
    needs: ClassVar[Data]
    works_on: ClassVar[tuple[CapturedKind, ...]] = ("pt2",)
    keeps_function: ClassVar[bool]
    packages: ClassVar[Mapping[str, str]] = {"torch": "torch"}

    @abstractmethod
    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can. Imports no framework.

        The data that it `needs` may be missing: `why_not_usable` says so where nothing else stands in the way, so that
        nobody is sent for data that would not help.
        """

    @abstractmethod
    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns what it will do. Cheap: never runs the model."""

    @abstractmethod
    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the changed model and leaves `model` alone. Runs inside a worker process.

        Raises:
            TechniqueError: this model cannot be changed this way; the message names the layer.
        """

    @final
    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], source: str) -> Technique:
        """Returns the technique with these settings; `source` is who gave them, for messages.

        Raises:
            UsageError: a setting that it does not have, or a value of another kind.
        """
        return cls(**read_settings(cls, cls.name, settings, source))

    @final
    def settings(self) -> dict[str, Any]:
        """Returns the settings by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]  # a dataclass

    @final
    def step(self) -> Step:
        """Returns the technique as plans and reports show it."""
        return Step(technique=self.name, settings=self.settings())

    @final
    def why_not_usable(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used on this model with this task, or None if it can."""
        if model.kind not in self.works_on and model.kind not in IMPORTABLE:
            return f"it changes torch models, and {model.source} was captured as {model.kind}"
        if model.open_sizes is not None:
            return f"it changes programs with fixed sizes, and the task leaves open {model.open_sizes.words}"
        if reason := self.why_not(model, task, profile):
            return reason
        if self.needs == "calibration" and task.calibration is None:
            return "it needs calibration data and the task has none; give --calibration, or [data] calibration"
        if self.needs == "training" and task.training is None and task.calibration is None:
            return (
                "it trains, and the task has neither [training] batches and loss nor calibration data to imitate the "
                "float model on; give one of them"
            )
        return None

    @final
    def missing(self) -> tuple[str, ...]:
        """Returns the distributions that are needed and not installed."""
        return tuple(dist for name, dist in self.packages.items() if importlib.util.find_spec(name) is None)

    @final
    def run(self, model: CapturedModel, context: Context, output: Path) -> CapturedModel:
        """Applies it with the contract enforced: refuses with a reason, checks the result, writes all or nothing.

        Args:
            model: The captured model; its file is left alone.
            context: What the technique may use.
            output: Folder for the changed model and its `model.json`; a path that does not exist yet.

        Raises:
            TechniqueError: the model is of another kind, there is no calibration data, or the technique has a reason.
            MissingDependencyError: a package is missing.
            WorkerError: the technique broke its contract.
        """
        self._check_usable(model, context)
        from edgekit.sources.captured_file import write_captured
        from edgekit.techniques.program_checks import check_result
        from edgekit.torch_program import program_facts
        from edgekit.torch_program.program_archive import load_program

        opened = TorchModel(facts=model, program=load_program(model.path, model.source))
        before = program_facts.digest(opened.program)
        changed = self.apply(opened, context)
        if program_facts.digest(opened.program) != before:
            raise WorkerError(f"The technique {self.name} changed the model that it was given.")
        check_result(self.name, opened.program, changed.program, TOLERANCE if self.keeps_function else None)
        partial = output.with_name(f".partial-{output.name}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            # Relative to what the graph had: the model may have come with weights that capturing has folded away.
            lost, kept = (program_facts.count_parameters(p.parameters()) for p in (opened.program, changed.program))
            parameters = model.parameters - lost + kept
            saved = program_facts.save(changed.program, partial, parameters, [spec.name for spec in model.outputs])
            # Names and layouts of inputs and outputs stay the source's: the graph alone may not tell them.
            found = replace(
                changed.facts,
                path=output / saved.file,
                digest=_digest_with_ranges(saved.digest, changed.facts.learned_ranges),
                parameters=parameters,
                macs=saved.architecture.macs if saved.architecture.macs is not None else model.macs,
            )
            write_captured(found, partial)
            partial.rename(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return found

    @final
    def _check_usable(self, model: CapturedModel, context: Context) -> None:
        if model.kind not in self.works_on:
            raise TechniqueError(
                f"{self.name} cannot be used on {model.source}: it changes {' and '.join(self.works_on)} models, and "
                f"this one was captured as {model.kind}. Give the torch model (module:factory or a .pt2 file)."
            )
        if model.open_sizes is not None:
            raise TechniqueError(
                f"{self.name} cannot be used on {model.source}: it changes programs with fixed sizes, and the task "
                f"leaves open {model.open_sizes.words}. Omit it, or give numbers in --input or [inputs]."
            )
        if missing := self.missing():
            raise MissingDependencyError(
                f"{self.name} needs {', '.join(missing)}, which is not installed. "
                "Install it from the checkout: pip install -e '.[torch]'"
            )
        if self.needs == "calibration" and context.samples is None:
            raise TechniqueError(
                f"{self.name} needs calibration data and the task names none. Give it as --calibration DATA or [data] "
                "calibration in edgekit.toml: a function, an .npz file or a folder of images."
            )
        if self.needs == "training" and context.training is None:
            raise TechniqueError(
                f"{self.name} trains, and the task names nothing to train on. Give [training] batches and loss in "
                "edgekit.toml, two functions of yours, or calibration data to imitate the float model on."
            )


def technique(name: str) -> type[Technique]:
    """Returns the technique `name`, a dataclass whose fields are its settings.

    Raises:
        KeyError: no such technique; callers check names against `technique_names()` first.
    """
    loaded: type[Technique] = load(technique_targets()[name])
    return loaded
