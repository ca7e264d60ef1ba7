"""A folder that lives as long as the object that holds it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import final


@final
class TemporaryFolder:
    """A new empty folder, removed when this object is garbage or the process ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="edgekit-out-"))
        # Not tempfile's own class: that one warns where it is not closed by hand.
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
