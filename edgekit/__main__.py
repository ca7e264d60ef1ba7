"""`python -m edgekit` and the console script: what interrupts a command, from its first moment to its last."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Final

# -m puts the current folder first on the path: a json.py or onnx.py that lies there would be imported in the place of
# the package. Whoever wants it there says so with PYTHONPATH.
if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

_INTERRUPTS: Final = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C; what CI systems and containers send; a terminal that was closed."""

_INTERRUPTED: Final = 130


def run() -> int:
    """Runs the command line and returns its exit code. Every interrupt ends it as Ctrl-C does, with 130."""
    for number in _INTERRUPTS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` and a shell's `&` have theirs ignored
            signal.signal(number, _interrupt)
    try:
        from edgekit.cli.app import main

        return main()
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        _ignore_interrupts()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt: workers are ended, nothing is half-written, temporary files go."""
    del number, frame
    _ignore_interrupts()  # a second one would interrupt just that
    raise KeyboardInterrupt


def _ignore_interrupts() -> None:
    for number in _INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    raise SystemExit(run())
