"""The options of commands whose jobs an engine runs: sweep, search, plan."""

from __future__ import annotations

from typing import Annotated

from edgekit.cli.options import RUNNING, option

EngineName = Annotated[
    str,
    option(RUNNING, "--engine", show_default=True, help="What runs several jobs at a time: local or ray."),
]
Address = Annotated[
    str | None, option(RUNNING, "--address", help="The cluster of the engine, such as auto or ray://head:10001.")
]
