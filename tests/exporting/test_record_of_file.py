"""A report is held against what the artifact's file says by itself, also where report and lock were edited alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.exporting.record_of_file import contradictions_of_file
from edgekit.recipe import Recipe, Step
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.requested import requested_metadata
from edgekit.validators.stored_facts.facts import StoredFacts

DIGEST = "ab" * 32
MODEL = {"source": "net.py:build", "digest": DIGEST, "embedded_default": False}


def write(path: Path, *, dtype: Any = np.int8, techniques: str = "", io: str = "float") -> dict[str, str]:
    """Writes a product of stored integers, or of floats, that says that INT8 was requested; returns its metadata."""
    metadata = {
        **requested_metadata(Recipe(default="int8_static"), io),
        "edgekit.digest": DIGEST,
        **({"edgekit.techniques": techniques} if techniques else {}),
    }
    integer = dtype == np.int8
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        *([helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["w_dq"])] if integer else []),
        helper.make_node("MatMul", ["dq", "w_dq" if integer else "w"], ["y"], "product"),
    ]
    constants = {"w": np.ones((8, 6), dtype), "scale": np.float32(0.1), "zero": np.int8(0)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph)
    helper.set_model_props(model, {**metadata, "other.tool": "1"})
    onnx.save(model, path)
    return metadata


def entry(metadata: dict[str, str], coverage: float = 100.0) -> dict[str, Any]:
    return {
        "runtime": "onnx",
        "precision": "int8-static",
        "recipe": Recipe(default="int8_static").to_json(),
        "steps": [Step(technique="quantize_static").to_json()],
        "artifact": {"metadata": metadata},
        "checks": [{"name": "integer_coverage", "value": coverage}],
    }


def found(path: Path, reported: dict[str, Any], model: Any = MODEL, io: str = "float") -> list[str]:
    return list(contradictions_of_file(path.name, path, reported, model, io))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def test_a_report_that_says_what_the_file_says_is_believed(path: Path) -> None:
    assert found(path, entry(write(path))) == []


Edit = Callable[[dict[str, Any]], object]
EDITS: dict[str, tuple[Edit, str]] = {
    "recipe": (
        lambda reported: reported["recipe"].update(default="fp32"),
        "net.onnx: report.json says the recipe fp32, the file was made with int8-static",
    ),
    "techniques": (
        lambda reported: reported["steps"].insert(0, Step(technique="equalize").to_json()),
        "net.onnx: report.json says the techniques equalize, the file was made with none",
    ),
    "metadata": (
        lambda reported: reported["artifact"]["metadata"].update({"edgekit.source": "other.py:build"}),
        "net.onnx: report.json says other metadata edgekit.source than the file",
    ),
}


@pytest.mark.parametrize(("edit", "sentence"), EDITS.values(), ids=EDITS)
def test_an_edit_of_the_settings_is_named(path: Path, edit: Edit, sentence: str) -> None:
    reported = copy.deepcopy(entry(write(path)))
    edit(reported)
    assert found(path, reported) == [sentence]


def test_another_io_is_named(path: Path) -> None:
    assert found(path, entry(write(path, io="int8"))) == [
        "net.onnx: the lock says --io float, the file was made with --io int8"
    ]


def test_another_model_is_named(path: Path) -> None:
    reported = entry(write(path))
    assert found(path, reported, {**MODEL, "digest": "cd" * 32}) == [
        "net.onnx: report.json says the model's digest cdcdcdcdcdcd, the file says abababababab"
    ]


def test_coverage_that_the_file_cannot_have_is_named(path: Path) -> None:
    reported = entry(write(path, dtype=np.float32))
    (sentence,) = found(path, reported)
    assert sentence == (
        "net.onnx: report.json says integer_coverage 100, the file shows 0: Of 1 operators requested in integers. "
        "In float: product (MatMul)."
    )
    assert found(path, entry(write(path, dtype=np.float32), coverage=0.0)) == []


def test_a_file_that_says_nothing_about_itself_contradicts_nothing(path: Path) -> None:
    write(path)
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.save(model, path)
    assert found(path, entry({})) == []


@pytest.mark.parametrize(
    ("weights", "channels", "bits", "kind", "is_named"),
    [
        pytest.param(64, 8, 8, "FULLY_CONNECTED", False, id="stored integers, as an unrolled layer has them"),
        pytest.param(64, 32, 16, "FULLY_CONNECTED", False, id="narrow half floats, as an unrolled layer has them"),
        pytest.param(64, 8, 16, "FULLY_CONNECTED", True, id="half floats"),
        pytest.param(64, 8, 8, "CONV_2D", True, id="a convolution"),
        pytest.param(64, 8, 32, "FULLY_CONNECTED", True, id="floats"),
    ],
)
def test_what_may_be_a_recurrent_layer_is_not_blamed(
    path: Path, monkeypatch: pytest.MonkeyPatch, weights: int, channels: int, bits: int, kind: str, is_named: bool
) -> None:
    metadata = write(path)
    operators = [
        ArtifactOperator(
            name=name, kind=kind, arithmetic=arithmetic, macs=9, weights=weights, weight_bits=bits, channels=channels
        )
        for name, arithmetic in (("a", "float"), ("b", "integer"))
    ]
    facts = StoredFacts(metadata=metadata, operators=tuple(operators))
    monkeypatch.setattr("edgekit.exporting.record_of_file.read_stored_facts", lambda *_: facts)
    assert any("integer_coverage" in sentence for sentence in found(path, entry(metadata))) == is_named


@pytest.mark.parametrize(("claimed", "is_named"), [(50.0, False), (100.0, True)])
def test_a_part_that_may_be_a_recurrent_layer_counts_as_fulfilled(
    path: Path, monkeypatch: pytest.MonkeyPatch, claimed: float, is_named: bool
) -> None:
    metadata = write(path)
    operators = tuple(
        ArtifactOperator(
            name=name, kind="linear", arithmetic="float", macs=9, weights=64, weight_bits=bits, channels=8
        )
        for name, bits in (("floats", 32), ("stored integers", 8))
    )  # fmt: skip
    facts = StoredFacts(metadata=metadata, operators=operators)
    monkeypatch.setattr("edgekit.exporting.record_of_file.read_stored_facts", lambda *_: facts)
    sentences = found(path, entry(metadata, coverage=claimed))
    assert any("integer_coverage" in sentence for sentence in sentences) == is_named


def with_two_layers(recipe: Recipe) -> dict[str, str]:
    """Returns metadata that speak of two layers: of 48 weights, and `head` of 64."""
    builder = GraphBuilder()
    builder.tensor("x", (1, 8), "float32")
    for name, before, shape in (("body", "x", (8, 6)), ("head", "body", (6, 8)), ("last", "head", (8, 8))):
        builder.store(f"{name}.weight", shape, "float32", lambda shape=shape: np.ones(shape, np.float32))
        builder.tensor(name, (1, shape[1]), "float32")
        builder.add(
            name=name, type="linear", kernel="linear", module=name, reads=[before, f"{name}.weight"], outputs=[name],
            macs=shape[0] * shape[1], roles={f"{name}.weight": ("kernel", shape[1])},
        )  # fmt: skip
    return requested_metadata(recipe, "float", builder.finish(["x"], ["last"]))


@pytest.mark.parametrize(
    ("in_integers", "sentences"),
    [
        pytest.param({"a", "b"}, [], id="as requested"),
        pytest.param(
            {"a"},
            [
                (
                    "net.tflite: report.json says integer_coverage 100, the file shows 50: Of 9.6e-05 M multiply-"
                    "accumulates requested in integers. In float: b (linear)."
                )
            ],
            id="one layer lost",
        ),
    ],
)
def test_the_file_of_a_mixed_recipe_says_which_layers_may_be_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_integers: set[str], sentences: list[str]
) -> None:
    recipe = Recipe(default="int8_static", overrides=(("last", "fp16"),))
    metadata = {**with_two_layers(recipe), "edgekit.digest": DIGEST}
    operators = tuple(
        ArtifactOperator(
            name=name, kind="linear", arithmetic="integer" if name in in_integers else "float", macs=48,
            weights=weights, weight_bits=8 if name in in_integers else 32, channels=6,
        )
        for name, weights in (("a", 48), ("b", 48), ("last", 64))
    )  # fmt: skip
    facts = StoredFacts(metadata=metadata, operators=operators)
    monkeypatch.setattr("edgekit.exporting.record_of_file.read_stored_facts", lambda *_: facts)
    reported = {**entry(metadata), "runtime": "tflite", "precision": recipe.name, "recipe": recipe.to_json()}
    assert found(tmp_path / "net.tflite", reported) == sentences


def test_a_mixed_recipe_without_a_table_of_which_nothing_is_stored_in_integers_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(default="int8_static", overrides=(("head", "fp16"),))
    metadata = {**write(path), **requested_metadata(recipe, "float")}
    reported = {**entry(metadata), "precision": recipe.name, "recipe": recipe.to_json()}

    def sentences(bits: int) -> list[str]:
        operator = ArtifactOperator(name="a", kind="MatMul", arithmetic="float", macs=9, weights=64, weight_bits=bits)
        facts = StoredFacts(metadata=metadata, operators=(operator,))
        monkeypatch.setattr("edgekit.exporting.record_of_file.read_stored_facts", lambda *_: facts)
        return [sentence for sentence in found(path, reported) if "integer_coverage" in sentence]

    assert sentences(8) == []
    assert sentences(16) == [
        "net.onnx: report.json says integer_coverage 100, and nothing in the file is stored in integers"
    ]
