"""Faults planted into real artifacts of all four formats fail. The whole matrix: `benchmarks/soundness.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.artifact import Artifact, measure_files
from edgekit.budget import Budget
from edgekit.checks import Check
from edgekit.converters.base import ConversionRequest, converter
from edgekit.errors import EdgekitError
from edgekit.exporting.judge import judge_evidence
from edgekit.formats.table import find_format
from edgekit.recipe import Precision, Recipe
from edgekit.samples import Samples, write_samples
from edgekit.testing.tiny_models import TinyModel, TinyNetwork, capture_tiny
from edgekit.validators.execution import collect_evidence
from edgekit.validators.output_pairing import pair_outputs, reorder
from edgekit.validators.requested import requested_settings
from edgekit.workers.worker import silent

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.filterwarnings("ignore"),  # frameworks warn while they convert
]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SOUND: tuple[tuple[str, Precision], ...] = (
    ("tflite", "fp32"),
    ("tflite", "int8_static"),
    ("onnx", "fp32"),
    ("onnx", "int8_static"),
    ("executorch", "fp32"),
    ("executorch", "int8_static"),
    ("coreml", "fp16"),
    ("coreml", "int8_static"),
)

FLOAT_FAULTS = ("dead channel", "stale weights", "one NaN", "swapped outputs")
INTEGER_FAULTS = ("dead channel", "stale weights", "one wrong scale", "wrong zero point")
CASES = [
    (runtime, precision, fault)
    for runtime, precision in SOUND
    for fault in (INTEGER_FAULTS if precision == "int8_static" else FLOAT_FAULTS)
]


class TwoHeads(nn.Module):
    """Convolutions with two heads of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())
        self.first, self.second = nn.Linear(16, 6), nn.Linear(16, 6)

    def forward(self, image: Any) -> Any:
        x = self.body(image).mean((2, 3))
        return 9 * self.first(x), 5 * self.second(x)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The benchmark's own module: it is a script and no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import planted_faults

    yield planted_faults
    sys.modules.pop("planted_faults", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The float model and what it gives."""

    tiny: TinyModel
    reference: Samples


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    network = TinyNetwork(
        build=TwoHeads, example=lambda: (torch.randn(1, 3, 8, 8) + torch.randn(1, 3, 1, 1),), family="cnn"
    )
    tiny = capture_tiny("heads", network, folder)
    rows = zip(*tiny.outputs(), strict=True)
    names = [spec.name for spec in tiny.model.outputs]
    return Model(
        tiny=tiny,
        reference=write_samples(folder / "reference", names, [tuple(x[None] for x in row) for row in rows]),
    )


@pytest.fixture(scope="module")
def sound(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns a function from a format and a precision to a sound artifact, made once."""

    @cache
    def make(runtime: str, precision: Precision) -> Artifact:
        folder = tmp_path_factory.mktemp("artifact")
        (folder / "scratch").mkdir()
        path = folder / f"net{find_format(runtime).suffix}"
        request = ConversionRequest(
            model=model.tiny.model,
            recipe=Recipe(default=precision),
            calibration=model.tiny.samples.folder,
            metadata={},
            scratch=folder / "scratch",
        )
        conversion = converter(runtime).run(request, path, silent)
        size, download, digest = measure_files(path)
        return Artifact(
            path=path,
            runtime=runtime,
            precision=Recipe(default=precision).name,
            size_bytes=size,
            download_bytes=download,
            sha256=digest,
            inputs=conversion.inputs,
            outputs=conversion.outputs,
        )

    return make


def failing(artifact: Artifact, model: Model, precision: Precision, folder: Path) -> list[Check]:
    """Returns the checks of the outputs that fail."""
    evidence = collect_evidence(
        artifact,
        folder=folder,
        evaluation=model.tiny.samples,
        reference=model.reference,
        metric="cosine",
        pieces=("outputs",),
    )
    assert evidence.outputs is not None
    pairing = pair_outputs(model.reference, evidence.outputs)
    if pairing.sentence:
        evidence = replace(evidence, outputs=reorder(evidence.outputs, pairing.order))
    evidence = replace(evidence, requested=requested_settings(Recipe(default=precision)))
    judged = ("parity_floor", "outputs_alive", "integer_outputs")
    return [x for x in judge_evidence(evidence, Budget()) if x.name in judged and x.fails_gate]


@pytest.mark.parametrize(("runtime", "precision"), SOUND)
def test_the_sound_artifact_raises_no_alarm(
    runtime: str, precision: Precision, sound: Any, model: Model, tmp_path: Path
) -> None:
    assert failing(sound(runtime, precision), model, precision, tmp_path) == []


@pytest.mark.parametrize(("runtime", "precision", "fault"), CASES)
def test_a_planted_fault_fails(
    runtime: str, precision: Precision, fault: str, sound: Any, model: Model, faults: Any, tmp_path: Path
) -> None:
    artifact = sound(runtime, precision)
    target = tmp_path / f"faulty{artifact.path.suffix}"
    if fault == "swapped outputs":
        assert faults.swap_outputs(artifact.path, target)
    else:
        # The last one is the head's, whose fault nothing behind it can hide.
        constant = [found for name, found in faults.plantings(artifact.path) if name == fault][-1]
        faults.plant(artifact.path, target, fault, constant)
    try:
        found = bool(failing(replace(artifact, path=target), model, precision, tmp_path / "run"))
    except EdgekitError as error:
        # A runtime may refuse such a file, and says which.
        found = "faulty" in error.message
    assert found
