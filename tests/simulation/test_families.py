"""Transformers and recurrent models: run-time ranges, groups of 4 bits, tables, LSTM weights."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from edgekit.model import CapturedModel, TensorSpec
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.simulation import jobs


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 32)
        self.join, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 8)

    def forward(self, ids):
        x = self.words(ids)
        query, key, value = (part.view(1, 10, 4, 8).transpose(1, 2) for part in self.join(x).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(1, 10, 32)
        return self.head(self.norm(x + self.out(mixed)).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(6, 16, 2, batch_first=True), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Hybrid(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16, 16), nn.Linear(16, 5)
        self.norm = nn.LayerNorm(16)

    def forward(self, x):
        tokens = torch.relu(self.stem(x)).flatten(2).transpose(1, 2)
        y = self.norm(tokens)
        return self.head((tokens + torch.softmax(y @ y.transpose(1, 2), -1) @ self.mix(y)).mean(1))


MODELS = {
    "hybrid": (Hybrid, lambda: torch.randn(1, 3, 12, 12)),
    "encoder": (Encoder, lambda: torch.randint(0, 50, (1, 10))),
    "recurrent": (Recurrent, lambda: torch.randn(1, 7, 6)),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """What is simulated, by name."""
    from edgekit.torch_program.canonical_program import canonical

    made = {}
    for name, (build, example) in MODELS.items():
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(name)
        model, rows = build().eval(), [example() for _ in range(12)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = canonical(torch.export.export(model, (rows[0],)), (rows[0],), name)
            torch.export.save(program, folder / "float.pt2")
        spec = TensorSpec(name="x", shape=tuple(rows[0].shape), dtype=str(rows[0].dtype).removeprefix("torch."))
        captured = CapturedModel(
            name=name, source=name, source_kind="torch", kind="pt2", path=folder / "float.pt2", inputs=(spec,),
            outputs=(), digest="d", parameters=1, macs=None, family="unknown",
        )  # fmt: skip
        samples = write_samples(folder / "samples", ["x"], ((row.numpy(),) for row in rows))
        made[name] = (captured, samples)

    return {name: jobs.SimulationData(model=captured, samples=samples) for name, (captured, samples) in made.items()}


def simulated(data, folder, *wanted, metric="cosine"):
    """Returns the result of each (format, recipe)."""
    journal = folder / "j"
    journal.mkdir(exist_ok=True)
    trials = tuple(
        jobs.RecipeTrial(runtime=runtime, recipe=recipe, metric=metric, metric_sha256=None)
        for runtime, recipe in wanted
    )
    request = jobs.SimulationRequest(data=data, journal=journal, base=folder, trials=trials)
    return jobs.simulate(request, lambda *_: None).results


def ratios(data, folder, *wanted):
    found = simulated(data, folder, *wanted)
    return {f"{runtime}-{recipe.name}": item.sqnr_db for (runtime, recipe), item in zip(wanted, found, strict=True)}


def test_four_bits_lose_more_than_eight_and_eight_more_than_half_floats(opened, tmp_path):
    found = ratios(
        opened["encoder"],
        tmp_path,
        ("tflite", Recipe(default="fp16")),
        ("tflite", Recipe(default="int8_weights")),
        ("tflite", Recipe(default="int8_dynamic")),
        ("tflite", Recipe(default="int4_weights")),
    )
    values = list(found.values())
    assert values == sorted(values, reverse=True)
    assert found["tflite-fp16"] > 60
    assert 30 < found["tflite-int8-dynamic"] < 60
    assert 10 < found["tflite-int4"] < 30


def test_core_ml_computes_in_float_where_others_round_activations(opened, tmp_path):
    found = ratios(
        opened["encoder"],
        tmp_path,
        ("coreml", Recipe(default="int8_dynamic")),
        ("executorch", Recipe(default="int8_dynamic")),
    )
    assert found["coreml-int8-dynamic"] > found["executorch-int8-dynamic"]


def test_a_hybrid_recipe_puts_convolutions_on_grids_where_a_dynamic_one_does_not(opened, tmp_path):
    found = ratios(
        opened["hybrid"],
        tmp_path,
        ("onnx", Recipe(default="int8_hybrid")),
        ("onnx", Recipe(default="int8_hybrid", overrides=(("stem", "fp32"),))),
        ("onnx", Recipe(default="int8_dynamic", overrides=(("stem", "fp32"),))),
    )
    assert 30 < found["onnx-int8-hybrid"] < found["onnx-int8-hybrid+mixed"]
    # Without its convolution the rest of the network is the same under both.
    assert found["onnx-int8-hybrid+mixed"] == found["onnx-int8-dynamic+mixed"]


def test_a_hybrid_recipe_is_measured_layer_by_layer(opened, tmp_path):
    (tmp_path / "j").mkdir()
    request = jobs.SensitivityRequest(
        data=opened["hybrid"], runtime="onnx", recipe=Recipe(default="int8_hybrid"), precisions=("int8_hybrid",),
        metric="cosine", metric_sha256=None, base=tmp_path, journal=tmp_path / "j",
    )  # fmt: skip
    found = jobs.measure(request, lambda *_: None)
    assert {item.module for item in found.layers if item.noise > 0} == {"stem", "mix", "head"}


def test_layers_of_both_integer_precisions_are_measured(opened, tmp_path):
    (tmp_path / "j").mkdir()
    request = jobs.SensitivityRequest(
        data=opened["encoder"], runtime="tflite", recipe=Recipe(), precisions=("int8_dynamic", "int4_weights"),
        metric="cosine", metric_sha256=None, base=tmp_path, journal=tmp_path / "j",
    )  # fmt: skip
    found = jobs.measure(request, lambda *_: None)
    noise = {(item.module, item.precision): item.noise for item in found.layers}
    assert {module for module, _ in noise} == {"words", "join", "out", "head"}
    assert noise["join", "int4_weights"] > noise["join", "int8_dynamic"]
    assert found.margins is None


def test_recurrent_weights_are_integers_where_the_runtime_has_them(opened, tmp_path):
    found = ratios(
        opened["recurrent"],
        tmp_path,
        ("onnx", Recipe(default="int8_dynamic")),
        ("executorch", Recipe(default="int8_dynamic")),
    )
    assert 25 < found["onnx-int8-dynamic"] < found["executorch-int8-dynamic"]


def test_without_targets_spearman_is_replaced_by_cosine(opened, tmp_path):
    wanted = ("tflite", Recipe(default="int8_dynamic"))
    (found,) = simulated(opened["encoder"], tmp_path, wanted, metric="spearman")
    assert found.drop.metric == "cosine"
    assert 0 <= found.drop.value < 1


def test_a_metric_that_needs_targets_gives_a_reason_and_the_ratio(opened, tmp_path):
    (tmp_path / "metrics.py").write_text("def f(outputs, targets):\n    return float(targets.mean())\n")
    wanted = ("tflite", Recipe(default="int8_dynamic"))
    (found,) = simulated(opened["encoder"], tmp_path, wanted, metric="metrics.py:f")
    assert found.drop is None
    assert found.reason
    assert found.sqnr_db > 20
