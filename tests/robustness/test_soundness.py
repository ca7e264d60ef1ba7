"""The table of soundness: each planted fault, each degenerate evaluation and each sound artifact, with its verdict.

The outputs of artifacts are made here: a float model's outputs with the error that a format's precision has, then one
fault. `test_soundness_of_files.py` plants faults into real files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.budget import Budget, read_limit
from edgekit.checks import Check
from edgekit.recipe import Recipe
from edgekit.samples import Samples, SampleWriter
from edgekit.validators.base import Evidence, GivenModel
from edgekit.validators.evidence_quality import EvidenceValidator
from edgekit.validators.model_digest import ModelDigestValidator
from edgekit.validators.output_layout import OutputLayout
from edgekit.validators.outputs import OutputsValidator
from edgekit.validators.requested import requested_settings

Array = Any
ROWS = 48
NO_BUDGET = Budget()

NOISE_DB = {"fp32": 110.0, "fp16": 58.0, "int8_static": 24.0, "int8_dynamic": 28.0, "int4_weights": 13.0}
"""SQNR that sound files have; INT8 goes through an 8-bit grid on top."""


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def logits() -> Array:
    return random(1).standard_normal((ROWS, 12))


def features() -> Array:
    """(rows, channels, height, width): channels of very different size, as before a norm."""
    scale = np.geomspace(0.05, 4, 10).reshape(1, 10, 1, 1)
    return scale * random(2).standard_normal((ROWS, 10, 6, 6))


def tokens() -> Array:
    """(rows, time, channels)."""
    return random(3).standard_normal((ROWS, 9, 16))


def softmax() -> Array:
    """1000 classes, of which 20 ever get more than nothing."""
    scores = random(4).standard_normal((ROWS, 1000)) - 12
    scores[np.arange(ROWS), random(5).integers(0, 20, ROWS)] += 22
    exponentials = np.exp(scores - scores.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def detections() -> Array:
    """(rows, 4 + classes, anchors): boxes in pixels, scores between 0 and 1."""
    boxes = 320 + 90 * random(6).standard_normal((ROWS, 4, 64))
    return np.concatenate([boxes, 1 / (1 + np.exp(-random(7).standard_normal((ROWS, 5, 64))))], 1)


OUTPUTS: dict[str, tuple[Callable[[], Array], OutputLayout | None]] = {
    "logits": (logits, None),
    "features": (features, None),
    "tokens": (tokens, None),
    "softmax": (softmax, OutputLayout(shape=(1, 1000), bounded=(True,))),
    "detections": (detections, OutputLayout(shape=(1, 9, 64), axis=1, sizes=(4, 5), bounded=(False, True))),
}


def sound(reference: Array, precision: str, layout: OutputLayout | None) -> Array:
    """Returns what a sound artifact gives: noise as large as the precision's, each member of a join by itself."""
    pieces = [reference]
    if layout is not None and layout.axis is not None:
        pieces = np.split(reference, np.cumsum(layout.sizes)[:-1], axis=layout.axis)
    made = []
    for piece in pieces:
        noise = np.sqrt((piece**2).mean()) / 10 ** (NOISE_DB[precision] / 20)
        found = piece + noise * random(8).standard_normal(piece.shape)
        if precision.startswith("int8"):
            low, high = min(0.0, piece.min()), max(0.0, piece.max())
            step = (high - low) / 255
            found = np.clip(np.rint(found / step) * step, low, high)
        if layout is not None and layout.bounded == (True,):
            found = np.clip(found, 0, 1)
        made.append(found)
    return np.concatenate(made, layout.axis if layout is not None and layout.axis is not None else 1)


def dead_channel(found: Array, _reference: Array) -> Array:
    found[:, loudest(found)] = found[0, loudest(found)].mean()
    return found


def noise_channel(found: Array, _reference: Array) -> Array:
    place = loudest(found)
    found[:, place] = random(9).permutation(found[:, place].ravel()).reshape(found[:, place].shape)
    return found


def one_nan(found: Array, _reference: Array) -> Array:
    found.reshape(len(found), -1)[3, 1] = np.nan
    return found


def stale_weights(found: Array, _reference: Array) -> Array:
    """The outputs of another training: alike in size, not in value."""
    return np.roll(found, 1, axis=0)


def wrong_zero_point(found: Array, reference: Array) -> Array:
    return found + 40 * (reference.max() - min(0.0, reference.min())) / 255


def swapped_channels(found: Array, _reference: Array) -> Array:
    return found[:, ::-1]


def all_zero(found: Array, _reference: Array) -> Array:
    return np.zeros_like(found)


def loudest(found: Array) -> int:
    """The channel that moves most: a quiet one may be below what the precision can show."""
    moves = np.abs(found - found[:1]).reshape(*found.shape[:2], -1).max(-1).max(0)
    return int(np.argmax(moves))


FAULTS = (dead_channel, noise_channel, one_nan, stale_weights, swapped_channels, all_zero)


@pytest.fixture
def evidence(tmp_path: Path) -> Callable[..., Evidence]:
    def make(reference: Array, found: Array, precision: str = "fp32", **more: Any) -> Evidence:
        targets = more.pop("targets", ())
        layout = more.pop("layout", None)
        return replace(
            Evidence(
                artifact=Artifact(
                    path=tmp_path / "a.onnx",
                    runtime="onnx",
                    precision=precision,
                    size_bytes=1,
                    download_bytes=1,
                    sha256="",
                ),
                evaluation=write(tmp_path / "data", np.zeros((len(reference), 1), np.float32), targets),
                reference=write(tmp_path / "reference", reference),
                outputs=write(tmp_path / "outputs", found),
                requested=requested_settings(Recipe(default=precision)),  # type: ignore[arg-type]  # a key of the table
                layouts=(layout,) if layout is not None else (),
            ),
            **more,
        )

    return make


def write(folder: Path, array: Array, targets: Any = ()) -> Samples:
    with SampleWriter(folder, ["y"]) as writer:
        for row in np.asarray(array, np.float32 if np.asarray(array).dtype.kind == "f" else None):
            writer.add((row[None],))
        for target in targets:
            writer.add_item(target)
    return Samples.open(folder)


def judged(evidence: Evidence, budget: Budget = NO_BUDGET) -> dict[str, Check]:
    return {check.name: check for check in OutputsValidator().run(evidence, budget)}


def fails(evidence: Evidence, budget: Budget = NO_BUDGET) -> bool:
    return any(check.fails_gate for check in judged(evidence, budget).values())


@pytest.mark.parametrize("precision", NOISE_DB)
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_sound_artifact_raises_no_alarm(evidence: Callable[..., Evidence], name: str, precision: str) -> None:
    make, layout = OUTPUTS[name]
    reference = make()
    checks = judged(evidence(reference, sound(reference, precision, layout), precision, layout=layout))
    assert [check for check in checks.values() if check.fails_gate] == []
    assert checks["outputs_alive"].value == 100


@pytest.mark.parametrize("precision", NOISE_DB)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_planted_fault_fails(evidence: Callable[..., Evidence], name: str, fault: Any, precision: str) -> None:
    make, layout = OUTPUTS[name]
    reference = make()
    found = fault(sound(reference, precision, layout), reference)
    assert fails(evidence(reference, found, precision, layout=layout))


@pytest.mark.parametrize("precision", NOISE_DB)
def test_a_wrong_zero_point_fails(evidence: Callable[..., Evidence], precision: str) -> None:
    reference = logits()
    assert fails(evidence(reference, wrong_zero_point(sound(reference, precision, None), reference), precision))


def test_scores_beside_boxes_count_by_their_own_size(evidence: Callable[..., Evidence]) -> None:
    reference, layout = detections(), OUTPUTS["detections"][1]
    found = sound(reference, "int8_static", layout)
    found[:, 4:] = 0
    checks = judged(evidence(reference, found, "int8_static", layout=layout))
    assert checks["parity_floor"].value == 0
    assert checks["parity_floor"].detail.endswith("y[:, 4:9] with 0.0 dB.")
    assert "y[:, 4:9] is constant" in checks["outputs_alive"].detail


def test_rows_that_are_masked_in_one_place_are_found(evidence: Callable[..., Evidence]) -> None:
    reference = tokens()
    found = sound(reference, "fp32", None)
    found[:, 2] = 0
    checks = judged(evidence(reference, found))
    assert checks["parity_floor"].verdict == checks["outputs_alive"].verdict == "fail"
    assert "y[:, 2] is constant" in checks["outputs_alive"].detail


@pytest.mark.parametrize(
    ("precision", "wrong", "verdict"),
    [("fp32", 0, "pass"), ("fp32", 40, "fail"), ("int8_static", 150, "pass"), ("int8_static", 200, "fail")],
)
def test_class_maps_are_judged_by_equality(
    evidence: Callable[..., Evidence], precision: str, wrong: int, verdict: str
) -> None:
    reference = random().integers(0, 5, (ROWS, 6, 6))
    found = reference.copy()
    found.reshape(-1)[:wrong] += 1
    check = judged(evidence(reference, found, precision))["integer_outputs"]
    assert check.verdict == verdict
    assert check.value == pytest.approx(100 * (1 - wrong / reference.size))


def test_a_floor_can_be_set_and_waived(evidence: Callable[..., Evidence]) -> None:
    reference = logits()
    found = reference + 0.1 * random(10).standard_normal(reference.shape)
    case = evidence(reference, found)
    assert fails(case)
    assert not fails(case, Budget().overridden_by([read_limit("parity_floor", "15 dB", "--min-parity-floor")]))
    waived = Budget().without(["parity_floor"], "--without")
    assert not fails(case, waived)
    assert judged(case, waived)["parity_floor"].detail.endswith("Waived by --without parity_floor.")


def test_the_floor_compares_with_the_model_after_its_techniques(
    evidence: Callable[..., Evidence], tmp_path: Path
) -> None:
    before, after = logits(), logits() + random(11).standard_normal((ROWS, 12))
    case = evidence(before, sound(after, "fp32", None))
    assert fails(case)
    assert not fails(replace(case, converted_reference=write(tmp_path / "after", after)))


def test_without_the_model_after_techniques_only_the_floor_is_not_measured(evidence: Callable[..., Evidence]) -> None:
    reference = logits()
    case = evidence(reference, reference, missing={"converted_reference": "It was not exported here."})
    checks = judged(case)
    assert [(check.verdict, check.level) for check in checks.values()] == [
        ("not_run", "warn"), ("not_run", "warn"), ("pass", "error"),
    ]  # fmt: skip
    assert checks["parity_floor"].detail == "It was not exported here."


def evidence_check(evidence: Evidence, limit: str | None = None, *, without: bool = False) -> Check:
    budget = Budget().overridden_by([read_limit("accuracy_drop", limit, "test")] if limit else [])
    budget = budget.without(["evidence"], "--without") if without else budget
    (check,) = EvidenceValidator().run(evidence, budget)
    return check


def labels(count: int = ROWS) -> list[int]:
    return [i % 12 for i in range(count)]


@pytest.mark.parametrize(
    ("reference", "found", "targets", "limit", "flaw"),
    [
        (logits()[:1], logits()[:1], labels(1), None, "The evaluation has one item"),
        (logits(), logits(), [3] * ROWS, None, "All 48 items have the same label: give items of several."),
        (np.ones((ROWS, 12)), logits(), labels(), None, "The float model gives the same outputs on all 48 rows"),
        (logits(), np.ones((ROWS, 12)), labels(), None, "The artifact gives the same outputs on all 48 rows."),
        (logits(), logits(), labels(), "0.1 pp", "more than 10 times the limit of 0.10 pp: give more items."),
    ],
    ids=["one item", "one label", "constant float model", "constant artifact", "blind"],
)
def test_degenerate_evidence_is_named_and_fails_unless_it_is_waived(
    evidence: Callable[..., Evidence], reference: Array, found: Array, targets: Any, limit: str | None, flaw: str
) -> None:
    case = evidence(reference, found, targets=targets, metric="top1")
    check = evidence_check(case, limit)
    assert check.fails_gate
    assert flaw in check.detail
    waived = evidence_check(case, limit, without=True)
    assert not waived.fails_gate
    assert waived.detail == f"{check.detail} Waived by --without evidence."


def test_sound_evidence_passes(evidence: Callable[..., Evidence]) -> None:
    case = evidence(logits(), logits(), targets=labels(), metric="top1")
    assert evidence_check(case, "1 pp").verdict == "pass"
    # Labels that the metric does not read are nobody's business.
    assert evidence_check(replace(case, metric="agreement"), "10 pp").verdict == "pass"


@pytest.mark.parametrize(("carried", "verdict"), [("a" * 64, "pass"), ("b" * 64, "fail"), (None, "not_run")])
def test_another_models_artifact_fails_with_both_names(
    evidence: Callable[..., Evidence], carried: str | None, verdict: str
) -> None:
    metadata = {"edgekit.digest": carried, "edgekit.source": "net.py:other"} if carried else {}
    case = evidence(logits(), logits(), model=GivenModel(name="net.py:build", digests=("a" * 64,)), embedded=metadata)
    (check,) = ModelDigestValidator().run(case, Budget())
    assert check.verdict == verdict
    assert check.fails_gate == (verdict == "fail")
    if verdict == "fail":
        assert check.detail == (
            "The artifact was made from net.py:other with digest bbbbbbbbbbbb; the model given is net.py:build with "
            "digest aaaaaaaaaaaa. Give the one that it was made from."
        )
