"""The table of `coverage.py`: totals, cells, and the reason of each cell that is not green."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from judge import WRONG_DB

Row = dict[str, Any]
Key = tuple[str, str, str, str]
Cells = dict[Key, Row]
FORMATS: Final = ("tflite", "onnx", "executorch", "coreml")
PRECISIONS: Final = ("fp32", "int8")
GOAL_DB: Final = {"fp32": 60.0, "int8": 15.0}
GOAL_EQUAL: Final = {"fp32": 99.9, "int8": 90.0}
"""Percentages of equal values in integer outputs: the floors of `edgekit validate` (validators/floors.py)."""
_HEAD: Final = """# Coverage of architectures

Written by `python benchmarks/coverage/coverage.py --work FOLDER --write` from `coverage.jsonl` beside this file, which
holds each cell as it was measured: random weights, so that shapes, operators and parity count, and no accuracy. SQNR in
dB of the worst output against the module in torch, over three calls; the bare tool's in brackets where it was run.
Integer outputs (classes, places, masks) are choices: the share of equal values is judged, over 32 calls, by the floors
of `edgekit validate`, 99.9 % at fp32 and 90 % at int8. Green: at fp32 made and at least 60 dB; at int8 made and at
least 15 dB, or as near as the best quantizer of the bare tools. **Bold** is not green; its reason stands below. What
has no figure has not been measured yet.
"""


def is_green(row: Row, bare: Row | None) -> bool:
    """Returns whether a cell is as it should be, the same cell of the bare tool beside it where it was made."""
    if row["db"] is None:
        return False
    precision = row["precision"]
    decibels, equal = row["db"], row.get("equal", 100.0)
    if decibels >= GOAL_DB[precision] and equal >= GOAL_EQUAL[precision]:
        return True
    if precision != "int8" or bare is None or bare["db"] is None:
        return False
    return bool(decibels >= bare["db"] and equal >= bare.get("equal", 100.0))


def text(cells: Cells, names: list[str]) -> str:
    """Returns the results as Markdown."""
    parts = [_HEAD, *_totals(cells), ""]
    for precision in PRECISIONS:
        parts += [f"## {precision}", "", *_table(cells, names, precision), ""]
    parts += ["## Reasons of the cells that are not green", "", *_reasons(cells, names)]
    return "\n".join(parts) + "\n"


def _totals(cells: Cells) -> list[str]:
    lines = ["| precision | format | measured | green | not made | bare makes it, edgekit does not | median s |"]
    lines.append("|---|---|---|---|---|---|---|")
    for precision in PRECISIONS:
        for runtime in (*FORMATS, "all"):
            chosen = [
                row for key, row in cells.items() if key[2:] == (precision, "edgekit") and runtime in (key[1], "all")
            ]
            if not chosen:
                continue
            green = sum(is_green(row, _bare(cells, row)) for row in chosen)
            refused = [row for row in chosen if row["db"] is None]
            lost = sum(_made(_bare(cells, row)) for row in refused)
            seconds = sorted(row.get("seconds", 0.0) for row in chosen)[len(chosen) // 2]
            share = f"{green} ({100 * green / len(chosen):.0f} %)"
            lines.append(f"| {precision} | {runtime} | {len(chosen)} | {share} | {len(refused)} | {lost} | {seconds} |")
    return lines


def _table(cells: Cells, names: list[str], precision: str) -> list[str]:
    lines = ["| architecture | " + " | ".join(FORMATS) + " |", "|---|" + "---|" * len(FORMATS)]
    for name in names:
        words = [_cell(cells, (name, runtime, precision, "edgekit")) for runtime in FORMATS]
        if any(words):
            lines.append(f"| {name} | " + " | ".join(words) + " |")
    return lines


def _cell(cells: Cells, key: Key) -> str:
    row = cells.get(key)
    if row is None:
        return ""
    bare = _bare(cells, row)
    word = shown(row["db"]) if is_green(row, bare) else f"**{shown(row['db'])}**"
    if bare is not None:
        word += f" ({shown(bare['db'])})"
    equal = f", {row['equal']:.0f} % equal" if "equal" in row else ""
    share = f", {row['integers']:.0f} % integers" if row.get("integers") is not None else ""
    return word + equal + share


def _reasons(cells: Cells, names: Iterable[str]) -> list[str]:
    lines = []
    for name in names:
        for precision in PRECISIONS:
            for runtime in FORMATS:
                row = cells.get((name, runtime, precision, "edgekit"))
                if row is not None and not is_green(row, _bare(cells, row)):
                    equal = f", {row['equal']:.0f} % of an integer output equal," if "equal" in row else ""
                    why = row["reason"] or f"{shown(row['db'])} dB{equal} with {row.get('recipe', precision)}"
                    lines.append(f"- {name}, {runtime} {precision}: {' '.join(why.split())}")
    return lines


def _bare(cells: Cells, row: Row) -> Row | None:
    return cells.get((row["name"], row["format"], row["precision"], "bare"))


def _made(bare: Row | None) -> bool:
    """Returns whether the bare tool makes a file that computes the model, not merely a file."""
    return bare is not None and bare["db"] is not None and bare["db"] >= GOAL_DB[bare["precision"]]


def shown(decibels: float | None) -> str:
    """Returns dB for a table."""
    if decibels is None:
        return "not made"
    if decibels <= WRONG_DB:
        return "other shapes or NaN"
    return "equal" if decibels >= 200 else f"{decibels:.0f}"
