"""What walking a damaged graph raises, as one message that names the file."""

from __future__ import annotations

import struct
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from edgekit.errors import ModelError

_RAISED: Final = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, struct.error)
"""An offset or a name that leads nowhere, a type or a size that no tensor has, a field that is missing."""


@contextmanager
def damage_named(title: str) -> Generator[None, None, None]:
    """Turns what a graph's walk raises into an error about the file.

    A file is not checked before it is walked: its standard's checker, where there is one, takes longer than the walk.

    Args:
        title: The file, for the message.

    Raises:
        ModelError: in the place of what the body raised because the graph does not hold what it must.
    """
    try:
        yield
    except _RAISED as error:
        name = "an offset leads out of the file" if isinstance(error, struct.error) else type(error).__name__
        text = str(error).strip().splitlines()
        reason = ": ".join((name, *text[:1])).rstrip(".")
        raise ModelError(
            f"{title}: its graph cannot be read ({reason}). It is damaged, or built in a way that edgekit does not "
            "know: copy or export the file again."
        ) from error
