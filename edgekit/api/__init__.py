"""The Python API: the commands of edgekit as functions that take models and data in memory and return objects.

`import edgekit` gives the same names and loads them when they are used. Everything is a keyword but what a command
takes as its argument. The functions print nothing, raise `edgekit.errors.EdgekitError`s, and leave the process as it
is: no signal handler, no logging, no working folder, no state of a framework changes.
"""

from edgekit.api.from_artifacts import bench, debug, devices, gate, report, validate
from edgekit.api.from_matrix import sweep
from edgekit.api.from_models import export, ladder, plan, search

__all__ = ["bench", "debug", "devices", "export", "gate", "ladder", "plan", "report", "search", "sweep", "validate"]
