from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.samples import Samples, SampleWriter
from edgekit.validators.output_pairing import pair_outputs, reorder, why_not_comparable

RANDOM = np.random.default_rng(0)
A, B = (RANDOM.standard_normal((20, 6)).astype(np.float32) for _ in range(2))
WIDE = RANDOM.standard_normal((20, 9)).astype(np.float32)


def write(folder: Path, **arrays: Any) -> Samples:
    with SampleWriter(folder, list(arrays)) as writer:
        for i in range(20):
            writer.add(tuple(array[i : i + 1] for array in arrays.values()))
    return Samples.open(folder)


@pytest.mark.parametrize(
    ("found", "order", "how"),
    [
        ({"boxes": A, "scores": WIDE}, (0, 1), ""),
        ({"scores": WIDE, "boxes": A}, (1, 0), "by name: boxes with boxes, scores with scores"),
        ({"out_0": WIDE, "out_1": A}, (1, 0), "by shape: out_1 with boxes, out_0 with scores"),
        ({"out_0": A, "out_1": WIDE}, (0, 1), ""),
    ],
    ids=["same", "names", "shapes", "position"],
)
def test_outputs_are_paired_by_name_then_by_shape(tmp_path: Path, found: Any, order: Any, how: str) -> None:
    pairing = pair_outputs(write(tmp_path / "float", boxes=A, scores=WIDE), write(tmp_path / "own", **found))
    assert pairing.order == order
    assert pairing.sentence == (f"The outputs come in another order and were paired {how}." if how else "")


def test_outputs_of_one_shape_are_paired_by_content(tmp_path: Path) -> None:
    reference = write(tmp_path / "float", mean=A, deviation=B)
    pairing = pair_outputs(reference, write(tmp_path / "own", u=B + 0.01, v=A))
    assert pairing.order == (1, 0)
    assert pairing.sentence.endswith("paired by content: v with mean, u with deviation.")


def test_outputs_that_names_tell_apart_are_not_swapped_because_it_fits_better(tmp_path: Path) -> None:
    reference = write(tmp_path / "float", mean=A, deviation=B)
    assert pair_outputs(reference, write(tmp_path / "own", mean=B, deviation=A)).order == (0, 1)


def test_noise_keeps_its_order(tmp_path: Path) -> None:
    noise = [RANDOM.standard_normal((20, 6)).astype(np.float32) for _ in range(2)]
    reference = write(tmp_path / "float", mean=A, deviation=B)
    assert pair_outputs(reference, write(tmp_path / "own", u=noise[0], v=noise[1])).order == (0, 1)


def test_a_folder_is_reordered_in_its_place(tmp_path: Path) -> None:
    again = Samples.open(reorder(write(tmp_path / "own", u=B, v=A), (1, 0)).folder)
    assert again.names == ("v", "u")
    np.testing.assert_array_equal(again.arrays()[0], A)
    np.testing.assert_array_equal(again.arrays()[1], B)


def test_what_cannot_be_compared_is_reported(tmp_path: Path) -> None:
    one = write(tmp_path / "one", a=A)
    assert why_not_comparable(one, write(tmp_path / "same", b=A[:, :, None])) == ""
    assert why_not_comparable(one, write(tmp_path / "wide", b=WIDE)) == (
        'Output "b" has shape (1, 9) in the artifact and (1, 6) in the float model: they cannot be compared.'
    )
    assert why_not_comparable(one, write(tmp_path / "two", b=A, c=B)) == (
        "The artifact has 2 outputs (b, c) and the float model 1 (a): they cannot be compared."
    )
