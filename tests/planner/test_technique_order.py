"""Warnings about the order of techniques."""

from __future__ import annotations

import pytest

from edgekit.planner.technique_order import PLACES, order_warning
from edgekit.registry import TECHNIQUES


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("qat",),
        ("distill", "prune_channels", "factorize", "equalize", "round_weights"),
        ("sparsify", "share_weights"),
        ("prune_channels", "lora_recovery", "qat"),
        ("round_weights", "somebody's own"),
    ],
    ids=["none", "one", "all in order", "zeros and codebooks", "recovery", "a stranger"],
)
def test_a_wise_order_needs_no_word(names):
    assert order_warning(names) == ""


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("qat", "prune_channels"),
            (
                "What qat does comes before prune_channels, which takes parts away and changes what is left, so it no "
                "longer fits; wiser: prune_channels, qat."
            ),
        ),
        (
            ("equalize", "own", "round_weights", "distill"),
            (
                "What round_weights does comes before distill, which trains another network in the model's place, so "
                "nothing of it is left; wiser: distill, equalize, round_weights."
            ),
        ),
    ],
    ids=["qat before pruning", "distilling last"],
)
def test_an_unwise_order_is_reported_in_one_sentence(names, words):
    assert order_warning(names) == words


def test_every_technique_has_a_place():
    assert set(PLACES) == set(TECHNIQUES)
