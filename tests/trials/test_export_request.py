"""What an export refuses before any work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.pipeline.settings import Settings
from edgekit.task.request import make_request
from edgekit.trials.export_request import ExportRequest, run_export


def test_pixels_and_integers_of_the_models_own_are_not_requested_together(tmp_path: Path) -> None:
    request = make_request(model=None, device="pixel8", config=None, limits={}, image_input=True, cwd=tmp_path)
    requested = ExportRequest(request=request, output=tmp_path / "out", io="int8")
    message = (
        "An image input takes pixels in 8 bits, and --io int8 asks for the model's own integers: give one of them."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        run_export(requested, Settings(), lambda _stage, _phrase: None)
    assert not (tmp_path / "out").exists()
