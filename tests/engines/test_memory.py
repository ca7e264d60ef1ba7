"""What a job is predicted to take, against what was measured."""

from __future__ import annotations

from pathlib import Path

from edgekit.engines.memory import judging_bytes, making_bytes
from edgekit.model import CapturedModel


def model(parameters: int) -> CapturedModel:
    return CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=Path("net.pt2"), inputs=(),
        outputs=(), digest="d", parameters=parameters, macs=1, family="cnn",
    )  # fmt: skip


def test_a_prediction_covers_what_conversions_of_efficientnet_lite2_took() -> None:
    assert 0.93e9 < making_bytes(model(6_092_072)) < 2 * 0.93e9


def test_a_larger_model_takes_more() -> None:
    assert judging_bytes(model(10**6)) < judging_bytes(model(10**8)) < making_bytes(model(10**8))
