"""The precisions of layers by size: what an artifact writes down, and what is read back from it."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.errors import InputError
from edgekit.recipe import Recipe
from edgekit.validators.layer_precisions import LayerPrecisions
from edgekit.validators.requested import REQUESTED_KEY, read_requested

MIXED = Recipe(default="int8_static", overrides=(("last", "fp32"),))


def test_only_what_the_default_does_not_say_is_written_down() -> None:
    layers = LayerPrecisions(
        by_weights={20: ("int8_static", "int8_static"), 30: ("fp32",)}, by_macs={9: ("fp32", "int8_static", "fp32")}
    )
    assert layers.to_json(MIXED) == {
        "weights": {"30": [["fp32", 1]]},
        "macs": {"9": [["fp32", 2], ["int8_static", 1]]},
    }


def test_a_hybrid_recipe_writes_down_every_layer() -> None:
    layers = LayerPrecisions(by_weights={20: ("int8_static",), 30: ("int8_dynamic",)})
    assert layers.to_json(Recipe(default="int8_hybrid")) == {
        "weights": {"20": [["int8_static", 1]], "30": [["int8_dynamic", 1]]}
    }


def test_what_was_written_down_is_read_back() -> None:
    layers = LayerPrecisions(
        by_weights={30: ("fp32", "int8_static")}, by_macs={9: ("fp32",)}, recurrent=frozenset({7, 3})
    )
    assert LayerPrecisions.from_json(layers.to_json(MIXED)) == layers


@pytest.mark.parametrize(
    "table",
    [
        pytest.param({"weights": {"30": [["int7", 1]]}}, id="a precision that nobody knows"),
        pytest.param({"weights": {"30": [["fp32", 1_000_001]]}}, id="more layers than a model has"),
    ],
)
def test_a_table_that_edgekit_did_not_write_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^The artifact's table of layers was not written by edgekit\.$"):
        LayerPrecisions.from_json(table)


@pytest.mark.parametrize(
    "text", ['{"layers": {"weights": {"many": [["fp32", 1]]}}}', '{"layers": {"weights": [1]}}', '{"layers": 3}']
)
def test_an_artifact_whose_table_cannot_be_read_says_nothing_about_its_layers(text: str) -> None:
    found = read_requested({"edgekit.precision": "int8-static+mixed", REQUESTED_KEY: text})
    assert found is not None
    assert found.layers == LayerPrecisions()
    assert not found.knows_layers
