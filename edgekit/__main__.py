"""`python -m edgekit` and the console script: what interrupts a command, from its first moment to its last."""

from __future__ import annotations

import math
import signal
import sys
import time
from types import FrameType
from typing import Final, final

# -m puts the current folder first on the path: a json.py or onnx.py that lies there would be imported in the place of
# the package. Whoever wants it there says so with PYTHONPATH.
if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

_INTERRUPTS: Final = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C; what CI systems and containers send; a terminal that was closed."""

_INTERRUPTED: Final = 130


_AGAIN_S: Final = 0.01
_ONE_END_S: Final = 5.0
"""Signals that follow within this time belong to the same end: shells, `timeout` and CI systems send several."""


def run() -> int:
    """Runs the command line and returns its exit code. Every interrupt ends it as Ctrl-C does, with 130."""
    interrupt = _Interrupt()
    for number in _INTERRUPTS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` and a shell's `&` have theirs ignored
            signal.signal(number, interrupt.come)
    sys.unraisablehook = interrupt.come_again
    try:
        from edgekit.cli.app import main

        return main()
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        for number in _INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)


@final
class _Interrupt:
    """What signals do: raise KeyboardInterrupt, so that workers are ended and temporary files go."""

    def __init__(self) -> None:
        self._came_at = -math.inf

    def come(self, number: int, frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt, once an end: a second one would interrupt the cleaning up."""
        del number, frame
        came_before, self._came_at = self._came_at, time.monotonic()
        if self._came_at - came_before > _ONE_END_S:
            raise KeyboardInterrupt

    def come_again(self, lost: sys.UnraisableHookArgs) -> None:
        """Raises an interrupt anew that came while Python drops all errors: in a finalizer, in a callback of a fork."""
        if lost.exc_type is not KeyboardInterrupt or not hasattr(signal, "setitimer"):
            sys.__unraisablehook__(lost)
            return
        self._came_at = -math.inf
        signal.signal(signal.SIGALRM, self.come)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)  # not here: what is raised in this hook is dropped too


if __name__ == "__main__":
    raise SystemExit(run())
