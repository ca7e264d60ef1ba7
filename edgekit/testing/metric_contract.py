"""What every metric promises: no loss for equal outputs, more loss for worse ones, an interval around each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import pytest

from edgekit import registry
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.measure_drop import check_metric, measure_drop
from edgekit.metrics.table import find_metric
from edgekit.samples import Samples, SampleWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MetricExample:
    """Outputs of a float model on which it is good, and the evaluation's targets.

    Attributes:
        outputs: One array (rows, ...) an output, float32.
        targets: One an item; None for a metric that needs none.
        item_of_row: Item of each row; None where each row is one.
    """

    outputs: tuple[NDArray[Any], ...]
    targets: NDArray[Any] | None = None
    item_of_row: NDArray[np.int64] | None = None


def classification(rows: int = 200, classes: int = 5) -> MetricExample:
    """Returns class scores (rows, classes) of a model that is right nine times of ten."""
    generator = np.random.default_rng(0)
    scores = generator.standard_normal((rows, classes)).astype(np.float32)
    labels = scores.argmax(1)
    labels[::10] = (labels[::10] + 1) % classes
    return MetricExample(outputs=(scores,), targets=labels)


class MetricContract:
    """Inherit it as `class TestName(MetricContract)`; override `example` where class scores do not fit the metric.

    Class attributes:
        name: The metric, as its entry point calls it.
        needs_float: Without the float model's outputs it has no value at all.
        settings: What is written behind the name, such as `(k=5)`.
        inputs: Shape of the model's one input, without the batch, for a metric that asks for it.
    """

    name: ClassVar[str]
    needs_float: ClassVar[bool] = False
    settings: ClassVar[str] = ""
    inputs: ClassVar[tuple[int, ...] | None] = None

    @property
    def text(self) -> str:
        """The metric as users write it."""
        return f"{self.name}{self.settings}"

    def example(self) -> MetricExample:
        """Returns outputs on which the metric is high."""
        return classification()

    def noisy(self, noise: float) -> MetricExample:
        """Returns the example with worse outputs: noise of this size relative to the outputs' own."""
        example = self.example()
        generator = np.random.default_rng(1)
        outputs = tuple(
            (array + noise * array.std() * generator.standard_normal(array.shape)).astype(np.float32)
            for array in example.outputs
        )
        return MetricExample(outputs=outputs, targets=example.targets, item_of_row=example.item_of_row)

    def measure(self, folder: Path, noise: float, *, with_float: bool = True) -> Drop:
        """Returns what outputs with this much noise lose."""
        evaluation = self.evaluation(folder / "evaluation")
        reference = _write(folder / "float", self.example()) if with_float else None
        return measure_drop(self.text, _write(folder / "noisy", self.noisy(noise)), reference, evaluation)

    def evaluation(self, folder: Path) -> Samples:
        """Returns the example's evaluation data: inputs of the shape `inputs`, or the outputs in their place."""
        example = self.example()
        if self.inputs is None:
            return _write(folder, example, targets=True)
        inputs = np.zeros((len(example.outputs[0]), *self.inputs), np.float32)
        shaped = MetricExample(outputs=(inputs,), targets=example.targets, item_of_row=example.item_of_row)
        return _write(folder, shaped, targets=True)

    def test_it_is_registered_under_its_name(self) -> None:
        assert self.name in registry.metric_names()
        assert find_metric(self.text).name == self.name

    def test_its_stand_in_is_a_metric_too(self) -> None:
        stand_in = find_metric(self.text).stand_in
        assert not stand_in or stand_in in registry.metric_names()

    def test_good_data_passes_its_check(self, tmp_path: Path) -> None:
        evaluation = self.evaluation(tmp_path / "evaluation")
        check_metric(self.text, _write(tmp_path / "float", self.example()), evaluation)

    def test_equal_outputs_lose_nothing(self, tmp_path: Path) -> None:
        drop = self.measure(tmp_path, 0.0)
        assert drop.value == pytest.approx(0.0, abs=1e-4)
        assert drop.low is not None
        assert drop.high is not None
        assert drop.low <= 1e-4
        assert drop.high >= -1e-4

    def test_worse_outputs_lose_more(self, tmp_path: Path) -> None:
        values = [self.measure(tmp_path / str(noise), noise).value for noise in (0.0, 0.5, 5.0)]
        assert all(value is not None and math.isfinite(value) for value in values)
        assert values == sorted(values, key=lambda value: value or 0.0)
        assert values[0] != values[2]

    def test_the_interval_holds_the_value(self, tmp_path: Path) -> None:
        drop = self.measure(tmp_path, 0.5)
        assert drop.value is not None
        assert drop.low is not None
        assert drop.high is not None
        assert drop.low <= drop.value <= drop.high

    def test_the_drop_is_the_difference_of_the_two_values(self, tmp_path: Path) -> None:
        drop = self.measure(tmp_path, 0.5)
        assert drop.metric == self.name
        assert drop.float_value is not None
        assert drop.artifact_value is not None
        assert drop.value == pytest.approx(drop.float_value - drop.artifact_value, abs=1e-6)

    def test_the_same_data_gives_the_same_drop(self, tmp_path: Path) -> None:
        assert self.measure(tmp_path / "a", 0.5) == self.measure(tmp_path / "b", 0.5)

    def test_without_a_float_model_there_is_no_drop(self, tmp_path: Path) -> None:
        drop = self.measure(tmp_path, 0.5, with_float=False)
        assert (drop.value, drop.low, drop.high) == (None, None, None)
        assert (drop.artifact_value is None) == self.needs_float

    def test_the_detail_is_a_sentence_with_the_metric_s_words(self, tmp_path: Path) -> None:
        detail = self.measure(tmp_path, 0.5).detail
        assert detail.endswith(".")
        assert "95 % interval of the drop" in detail

    def test_outputs_that_are_not_finite_are_reported_and_not_counted(self, tmp_path: Path) -> None:
        broken = self.example()
        broken.outputs[0][0] = np.nan
        evaluation = self.evaluation(tmp_path / "evaluation")
        with pytest.raises(DataError, match=r"nothing can be compared with such outputs\.$"):
            check_metric(self.text, _write(tmp_path / "broken", broken), evaluation)


def _write(folder: Path, example: MetricExample, *, targets: bool = False) -> Samples:
    with SampleWriter(folder, [f"output_{i}" for i in range(len(example.outputs))]) as writer:
        for row in range(len(example.outputs[0])):
            item = None if example.item_of_row is None else int(example.item_of_row[row])
            writer.add(tuple(array[row : row + 1] for array in example.outputs), item)
        for target in example.targets if targets and example.targets is not None else ():
            writer.add_item(target)
    return Samples.open(folder)
