"""What every technique promises: it leaves its input alone, keeps the model's facts, and refuses with a reason."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
import pytest

from edgekit import registry
from edgekit.analysis.analyze import analyze
from edgekit.errors import TechniqueError
from edgekit.model import IMPORTABLE, CapturedKind, CapturedModel
from edgekit.profiles.profile import find_profile
from edgekit.sources.captured_file import open_captured
from edgekit.task.request import parse_technique
from edgekit.task.task import Task, Training
from edgekit.techniques.base import Context, Technique
from edgekit.techniques.base import technique as find_technique
from edgekit.testing.tiny_fixture import tiny_model
from edgekit.testing.tiny_models import TinyModel
from edgekit.training.training_data import TrainingData
from edgekit.workers.worker import silent

if TYPE_CHECKING:
    from torch import Tensor

KNOWN_TASK = Task(
    model="net.py:build",
    base=Path(),
    calibration="data.py:calibration",
    training=Training(batches="train.py:batches", loss="train.py:loss"),
)
"""A task that has everything a technique can need."""


def training_data() -> TrainingData:
    """Returns batches for the tiny model `convolutions`: random images in 10 classes."""
    import torch

    def batches(_epoch: int) -> Iterable[tuple[tuple[Tensor, ...], object]]:
        for _ in range(3):
            yield (torch.randn(8, 3, 16, 16),), torch.randint(0, 10, (8,))

    return TrainingData(batches=batches, loss=torch.nn.functional.cross_entropy)


class TechniqueContract:
    """Inherit it as `class TestName(TechniqueContract)`.

    Class attributes:
        name: The technique, as its entry point calls it.
        suited: Name of the tiny model that it changes.
        settings: Settings that make it quick.
        cuts: It changes how many weights and multiplications there are.
        most_loss: Largest difference of the outputs relative to the largest one; None where it trains.
    """

    name: ClassVar[str]
    suited: ClassVar[str] = "convolutions"
    settings: ClassVar[Mapping[str, Any]] = {}
    cuts: ClassVar[bool] = False
    most_loss: ClassVar[float | None] = 0.1

    pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports

    @pytest.fixture(scope="class")
    def applied(self, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """Returns a function to (what it was given, what it made, where), applied once."""

        @cache
        def run() -> tuple[TinyModel, CapturedModel, Path]:
            folder = tmp_path_factory.mktemp(self.name)
            made = self.technique().run(self.tiny().model, self.context(folder), folder / "out")
            return self.tiny(), made, folder

        return run

    def technique(self) -> Technique:
        """Returns it with the suite's settings."""
        return find_technique(self.name).from_settings(self.settings, "test")

    def tiny(self) -> TinyModel:
        """Returns the model that it changes."""
        return tiny_model(self.suited)

    def context(self, folder: Path, **changes: Any) -> Context:
        """Returns what it may use."""
        known = Context(
            samples=self.tiny().samples, scratch=folder / "scratch", progress=silent, training=training_data()
        )
        return replace(known, **changes)

    def why_not(self, model: CapturedModel, task: Task = KNOWN_TASK) -> str | None:
        """Returns why it cannot be used."""
        return self.technique().why_not_usable(model, task, find_profile("pi4", Path()))

    def needs(self, data: str) -> None:
        """Skips a test of techniques that learn from other data."""
        if self.technique().needs != data:
            pytest.skip(f"{self.name} needs no {data} data")

    def test_it_is_registered_under_its_name(self) -> None:
        assert self.name in registry.technique_names()
        assert find_technique(self.name).name == self.name

    def test_it_is_a_final_frozen_dataclass_with_default_settings(self) -> None:
        cls: Any = find_technique(self.name)
        assert getattr(cls, "__final__", False)
        assert cls.__dataclass_params__.frozen
        assert cls() == cls.from_settings({}, "test")

    def test_its_step_and_the_step_s_text_give_it_back(self) -> None:
        step = self.technique().step()
        assert find_technique(self.name).from_settings(step.to_json()["settings"], "test") == self.technique()
        assert parse_technique(str(step), "test") == step

    def test_the_model_that_was_given_is_left_alone(self, applied: Any) -> None:
        given, changed, _ = applied()
        assert changed.path != given.model.path
        digests = {hashlib.sha256(model.path.read_bytes()).hexdigest() for model in (given.model, changed)}
        assert len(digests) == 2
        for before, after in zip(given.outputs(), given.outputs(given.model), strict=True):
            np.testing.assert_array_equal(before, after)

    def test_inputs_outputs_and_facts_stay(self, applied: Any) -> None:
        given, changed, _ = applied()
        kept: dict[str, Any] = {"path": given.model.path, "digest": given.model.digest}
        if self.cuts:
            kept |= {"parameters": given.model.parameters, "macs": given.model.macs}
        if self.technique().needs == "training":
            kept |= {"learned_ranges": ()}
        assert replace(changed, **kept) == given.model
        assert changed.digest != given.model.digest

    def test_the_changed_model_reads_as_a_captured_one(self, applied: Any) -> None:
        _, changed, folder = applied()
        out = folder / "out"
        assert sorted(path.name for path in out.iterdir()) == ["float.pt2", "model.json"]
        assert open_captured(out) == changed
        assert [path.name for path in folder.iterdir()] == ["out"]

    def test_the_function_is_kept_where_it_says_so(self, applied: Any) -> None:
        if self.most_loss is None:
            pytest.skip(f"{self.name} trains: what it loses is the training's")
        given, changed, _ = applied()
        for before, after in zip(given.outputs(), given.outputs(changed), strict=True):
            difference = np.abs(before - after).max() / np.abs(before).max()
            assert difference < (1e-4 if self.technique().keeps_function else self.most_loss)

    def test_the_same_samples_give_the_same_model(self, applied: Any, tmp_path: Path) -> None:
        given, changed, _ = applied()
        assert self.technique().run(given.model, self.context(tmp_path), tmp_path / "out").digest == changed.digest

    def test_an_estimate_never_runs_the_model(self) -> None:
        estimate = self.technique().estimate(analyze("pt2", self.tiny().model.path))
        assert estimate.parameters > 0
        assert 0 < estimate.seconds < (3600 if self.technique().needs == "training" else 60)
        assert estimate.effect.endswith(".")

    def test_a_suitable_model_is_not_refused(self) -> None:
        assert self.why_not(self.tiny().model) is None

    def test_a_model_of_another_kind_is_refused_with_the_reason(self) -> None:
        kind = next(kind for kind in get_args(CapturedKind) if kind not in ("pt2", *IMPORTABLE))
        model = replace(self.tiny().model, kind=kind, source="net")
        assert self.why_not(model) == f"it changes torch models, and net was captured as {kind}"

    def test_a_model_of_another_kind_cannot_be_run(self, tmp_path: Path) -> None:
        model = replace(self.tiny().model, kind="keras", source="net.keras")
        message = (
            f"{self.name} cannot be used on net.keras: it changes pt2 models, and this one was captured as keras. "
            "Give the torch model (module:factory or a .pt2 file)."
        )
        with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
            self.technique().run(model, self.context(tmp_path), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_a_task_without_calibration_data_is_refused_with_the_reason(self) -> None:
        self.needs("calibration")
        reason = self.why_not(self.tiny().model, replace(KNOWN_TASK, calibration=None))
        assert reason == "it needs calibration data and the task has none; give --calibration, or [data] calibration"

    def test_calibration_samples_must_be_there(self, tmp_path: Path) -> None:
        self.needs("calibration")
        message = (
            f"{self.name} needs calibration data and the task names none. Give it as --calibration DATA or [data] "
            "calibration in edgekit.toml: a function, an .npz file or a folder of images."
        )
        with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
            self.technique().run(self.tiny().model, self.context(tmp_path, samples=None), tmp_path / "out")

    def test_training_data_must_be_there(self, tmp_path: Path) -> None:
        self.needs("training")
        message = (
            f"{self.name} trains, and the task names nothing to train on. Give [training] batches and loss in "
            "edgekit.toml, two functions of yours, or calibration data to imitate the float model on."
        )
        with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
            self.technique().run(self.tiny().model, self.context(tmp_path, training=None), tmp_path / "out")
