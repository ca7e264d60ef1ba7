"""What the published rows say about energy, and for which devices.

    python benchmarks/latency_fidelity/energy.py [--write]

Some rows of MLPerf Tiny carry the energy of one inference beside its latency (another run at low power). Each model of
a board with one runtime is left out; its energy is its own latency times the mean power of the board's other models.
`--write` puts the table into `energy.md`.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
from published import table_path
from targets import targets

_ENERGY: Final = re.compile(r"energy ([\d.]+) uJ/inf")
_FEWEST_MODELS: Final = 3
_CONCLUSION: Final = """
edgekit predicts no energy. Every row with an energy is of a microcontroller or of an accelerator beside one, with four
small networks; no shipped profile is of such a board. No row of a phone, a Raspberry Pi, a Jetson or a watch has an
energy or a power: Jetson rows name a power mode, which is a limit and no measurement. Power differs between boards by
more than a factor of ten, so it cannot be lent from one kind of device to another.
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One published inference.

    Attributes:
        board: Device and runtime, as the source names them.
        model: Network.
        latency_ms: Its latency.
        energy_uj: Its energy.
    """

    board: str
    model: str
    latency_ms: float
    energy_uj: float

    @property
    def power_mw(self) -> float:
        """Mean power."""
        return self.energy_uj / self.latency_ms


def read_energies(path: Path) -> Iterator[Measured]:
    """Yields the rows that carry an energy, each once: later rounds of MLPerf print results of earlier ones again."""
    seen: set[Measured] = set()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if match := _ENERGY.search(row["notes"] or ""):
                board = f"{row['device']}, {row['runtime'].partition('=')[0]} {row['runtime_version']}".strip()
                found = Measured(
                    board=board,
                    model=row["model"],
                    latency_ms=float(row["latency_ms"]),
                    energy_uj=float(match[1]),
                )
                if found not in seen:
                    seen.add(found)
                    yield found


def leave_one_out(rows: list[Measured]) -> list[float]:
    """Returns |predicted / published - 1| for each row, from the power of the same board's other models."""
    found: list[float] = []
    for row in rows:
        others = [other.power_mw for other in rows if other.model != row.model]
        found.append(abs(float(np.mean(others)) / row.power_mw - 1))
    return found


def table(rows: list[Measured]) -> Iterator[str]:
    """Yields the lines of the results."""
    by_board: defaultdict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        by_board[row.board].append(row)
    yield "| board and runtime | rows | power (mW) | energy, model left out: median error |"
    yield "| --- | ---: | ---: | ---: |"
    everything: list[float] = []
    for board, mine in sorted(by_board.items()):
        if len({row.model for row in mine}) < _FEWEST_MODELS:
            continue
        errors = leave_one_out(mine)
        everything += errors
        powers = [row.power_mw for row in mine]
        yield f"| {board} | {len(mine)} | {min(powers):.1f} to {max(powers):.1f} | {np.median(errors):.1%} |"
    yield f"| all | {len(everything)} | | {np.median(everything):.1%} |"


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write energy.md")
    options = parser.parse_args()
    rows = list(read_energies(table_path()))
    lines = list(table(rows))
    devices = {target.source.device for target in targets()}
    shared = sum(any(device in row.board for device in devices) for row in rows)
    lines += ["", f"Rows with an energy: {len(rows)}; of a device that a profile has: {shared}."]
    print("\n".join(lines))
    if options.write:
        head = [
            "# Energy: what is published",
            "",
            "Written by `python benchmarks/latency_fidelity/energy.py --write`.",
            "",
        ]
        text = "\n".join([*head, *lines]) + "\n" + _CONCLUSION
        (Path(__file__).parent / "energy.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
