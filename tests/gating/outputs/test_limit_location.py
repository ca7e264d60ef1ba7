from __future__ import annotations

import pytest

from edgekit.gating.outputs.limit_location import find_line

TOML = """\
# [budget]
[model]
source = "a.py:b"

[budget]  # all devices
size = "1 MB"
"memory" = "2 MB"
[devices."pi 4"]
format = "tflite"
budget.size = "3 MB"
budget . memory = "4 MB"
[devices.pi5]
budget = { size = "5 MB", memory = { limit = "6 MB", level = "warn" } }
[devices.pi6.budget]
size = "7 MB"
"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        pytest.param(("budget", "size"), 6, id="a table"),
        pytest.param(("budget", "memory"), 7, id="a quoted key"),
        pytest.param(("devices", "pi 4", "budget", "size"), 10, id="a dotted key in a quoted table"),
        pytest.param(("devices", "pi 4", "budget", "memory"), 11, id="spaces about the dot"),
        pytest.param(("devices", "pi5", "budget", "memory"), 13, id="an inline table"),
        pytest.param(("devices", "pi6", "budget", "size"), 15, id="a dotted table"),
        pytest.param(("budget", "latency"), None, id="not there"),
        pytest.param(("devices", "pi5", "budget", "latency"), None, id="not in the inline table"),
    ],
)
def test_the_line_of_a_key_is_found(keys: tuple[str, ...], line: int | None) -> None:
    assert find_line(TOML.splitlines(), keys) == line
