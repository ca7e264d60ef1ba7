"""How much evaluation data lies on disk."""

from __future__ import annotations

import os
from typing import Final

from edgekit.errors import ConfigError, InputError
from edgekit.units import parse_bytes

LIMIT_VARIABLE: Final = "EDGEKIT_DATA_SIZE"
DEFAULT_LIMIT: Final = "4 GB"


def data_limit_bytes() -> int:
    """Returns the largest size of evaluation rows that are kept on disk: `EDGEKIT_DATA_SIZE`, else 4 GB.

    Raises:
        ConfigError: the variable holds no size.
    """
    try:
        return parse_bytes(os.environ.get(LIMIT_VARIABLE) or DEFAULT_LIMIT, LIMIT_VARIABLE)
    except InputError as error:
        raise ConfigError(error.message) from error
