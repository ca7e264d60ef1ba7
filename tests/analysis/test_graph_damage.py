"""What walking a damaged graph raises becomes one message that names the file; edgekit's own errors pass through."""

from __future__ import annotations

import re
import struct

import pytest

from edgekit.analysis.graph_damage import damage_named
from edgekit.errors import ModelError, ResourceError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("conv.weight"), "KeyError: 'conv.weight'"),
        (IndexError("list index out of range"), "IndexError: list index out of range"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (struct.error("needs 4 bytes."), "an offset leads out of the file: needs 4 bytes"),
    ],
)
def test_what_a_walk_raises_names_the_file(error: Exception, reason: str) -> None:
    message = (
        f"net.onnx: its graph cannot be read ({reason}). It is damaged, or built in a way that edgekit does not know: "
        "copy or export the file again."
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"), damage_named("net.onnx"):
        raise error


def test_errors_that_say_more_pass_through() -> None:
    with pytest.raises(ResourceError, match=r"^no memory$"), damage_named("net.onnx"):
        raise ResourceError("no memory")
