"""How much evaluation data lies on disk."""

from __future__ import annotations

import pytest

from edgekit.errors import ConfigError
from edgekit.task.data_limit import data_limit_bytes


@pytest.mark.parametrize(("text", "size"), [(None, 4_000_000_000), ("", 4_000_000_000), ("1.5 MB", 1_500_000)], ids=str)
def test_the_limit_is_the_variables_or_four_gigabytes(
    monkeypatch: pytest.MonkeyPatch, text: str | None, size: int
) -> None:
    monkeypatch.delenv("EDGEKIT_DATA_SIZE", raising=False)
    if text is not None:
        monkeypatch.setenv("EDGEKIT_DATA_SIZE", text)
    assert data_limit_bytes() == size


def test_a_limit_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_DATA_SIZE", "much")
    with pytest.raises(ConfigError) as caught:
        data_limit_bytes()
    assert (
        caught.value.message == 'EDGEKIT_DATA_SIZE "much" is not a quantity: write a number and a unit, such as '
        '"800 kB", "6 MB" or "64 MiB".'
    )
