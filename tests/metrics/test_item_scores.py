"""Scores of items as JSON: read back as they were, and no more than they say."""

from __future__ import annotations

import base64
import subprocess
import sys
import zlib

import numpy as np
import pytest

from edgekit.metrics.item_scores import MOST_FLOATS, decode_scores, encode_scores


@pytest.mark.parametrize(
    "scores", [[0.0, 1.0, 1.0], [1.0] * 17, [0.25, 0.5], []], ids=["bits", "three bytes", "floats", "none"]
)
def test_scores_are_read_back(scores: list[float]) -> None:
    encoded = encode_scores(np.asarray(scores))
    assert encoded is not None
    assert decode_scores(encoded).tolist() == scores


def test_too_many_floats_are_not_kept() -> None:
    assert encode_scores(np.full(MOST_FLOATS + 1, 0.5)) is None


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        pytest.param("<b>", "Only base64 data is allowed", id="no base64"),
        pytest.param("AAAA", "Error -3 while decompressing data: unknown compression method", id="not compressed"),
        pytest.param(
            base64.b64encode(zlib.compress(bytes(1 << 30))).decode(), "3 bytes where 2 are 9 scores", id="a bomb"
        ),
        pytest.param(base64.b64encode(zlib.compress(b"")).decode(), "0 bytes where 2 are 9 scores", id="too few"),
    ],
)
def test_what_holds_no_scores_is_refused(packed: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        decode_scores({"kind": "bits", "count": 9, "zlib_base64": packed})


def test_a_report_is_checked_without_numpy() -> None:
    code = (
        "import sys; from edgekit.exporting.report_parts_schema import ScoresRecord; "
        f"ScoresRecord.model_validate({encode_scores(np.ones(3))!r}); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
