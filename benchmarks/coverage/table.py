"""The table of `coverage.py`: cells, totals, and the reason of each cell that is not green."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
FORMATS = ("tflite", "onnx", "executorch", "coreml")
PRECISIONS = ("fp32", "int8")
GOAL_DB = {"fp32": 60.0, "int8": 15.0}


def is_green(row: Row, bare: Row | None) -> bool:
    """Returns whether a cell is as it should be: made and near the module; at int8, or as near as the best bare tool's."""
    if row["db"] is None:
        return False
    if row["db"] >= GOAL_DB[row["precision"]]:
        return True
    return row["precision"] == "int8" and bare is not None and bare["db"] is not None and row["db"] >= bare["db"]


def text(cells: dict[tuple[str, str, str, str], Row], names: list[str]) -> str:
    """Returns the results as Markdown."""
    return str(len(cells)) + " ".join(names)
