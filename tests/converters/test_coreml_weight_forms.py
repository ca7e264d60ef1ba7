"""Core ML packages store weights with zeros and weights of few values as what they are, exactly."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from edgekit.converters.base import ConversionRequest, converter
from edgekit.converters.to_coreml_program import deployment_target
from edgekit.model import CapturedModel
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.sources.captured_file import write_captured
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def sparse_and_shared(tmp_path_factory):
    """Returns a captured network: a layer with three quarters of zeros, one of 16 values, one like any other."""
    import torch
    from torch import nn

    from edgekit.torch_program import program_facts
    from edgekit.torch_program.canonical_program import canonical

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)).eval()
    with torch.no_grad():
        net[0].weight *= torch.rand(64, 64) > 0.75
        net[2].weight.copy_((net[2].weight * 60).round().clamp(-7, 7) / 60)
    example = (torch.randn(1, 64),)
    folder = tmp_path_factory.mktemp("forms")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = canonical(torch.export.export(net, example, strict=False), example, "net")
        capture = program_facts.save(program, folder, 1)
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=folder / capture.file,
        inputs=capture.inputs, outputs=capture.outputs, digest=capture.digest, parameters=1, macs=1, family="mlp",
    )  # fmt: skip
    write_captured(model, folder)
    rows = [(np.random.default_rng(i).normal(size=(1, 64)).astype(np.float32),) for i in range(4)]
    return model, write_samples(folder / "samples", [capture.inputs[0].name], iter(rows)), net


def converted(found, recipe, folder):
    model, samples, _ = found
    folder.mkdir()
    (folder / "scratch").mkdir()
    request = ConversionRequest(model=model, recipe=recipe, calibration=samples.folder, scratch=folder / "scratch")
    made = converter("coreml").run(request, folder / "net.mlpackage", silent)
    size = sum(path.stat().st_size for path in (folder / "net.mlpackage").rglob("*") if path.is_file())
    return made, size


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("precision", "sparse", "target"),
    [
        ("fp16", "constexpr_sparse_to_dense", None),
        ("int8_weights", "constexpr_sparse_blockwise_shift_scale", "iOS 18"),
    ],
    ids=["float", "integers"],
)
def test_zeros_and_tables_are_stored_as_such(sparse_and_shared, tmp_path, precision, sparse, target):
    made, _ = converted(sparse_and_shared, Recipe(default=precision), tmp_path / "out")
    assert made.operators["constexpr_lut_to_dense"] == 1
    assert made.operators[sparse] == 1
    assert "Weights that are stored by lookup tables: 1." in made.notes
    assert "Weights that are stored by the places of their zeros: 1." in made.notes
    assert any(str(target) in note for note in made.notes) == (target is not None)


@pytest.mark.parametrize(
    ("recipe", "zeros", "target"),
    [
        (Recipe(default="fp16"), 3, "iOS17"),
        (Recipe(default="int8_weights"), 0, "iOS17"),
        (Recipe(default="int8_weights"), 1, "iOS18"),
        (Recipe(default="int4_weights"), 0, "iOS18"),
    ],
    ids=["float with zeros", "integers", "integers with zeros", "4 bits"],
)
def test_only_what_needs_newer_systems_asks_for_them(recipe, zeros, target):
    assert deployment_target(recipe, "float", zeros=zeros) == target
