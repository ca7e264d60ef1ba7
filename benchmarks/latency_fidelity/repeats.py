"""How far repeated published rows of one model disagree: no predictor is nearer to them than they are to each other.

    python benchmarks/latency_fidelity/repeats.py

A repeat is another row of the same model on the same device with the same build, precision and threads. Each row is
predicted by the median of the others, so the figures read as those of a predictor that has seen the very model there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from published import Group, Timing, read_timings, table_path

_FEWEST_ROWS: Final = 20


def disagreement(timings: Sequence[Timing]) -> list[float]:
    """Returns |median of the other rows / row - 1| for each row that has others."""
    found: list[float] = []
    for timing in timings:
        values = np.array(timing.values_ms)
        if len(values) > 1:
            found += [abs(float(np.median(np.delete(values, i))) / values[i] - 1) for i in range(len(values))]
    return found


def repeats_table(timings: Sequence[Timing], wanted: Callable[[Group], bool]) -> Iterator[str]:
    """Yields a row for each group with enough repeats, and one for all that are wanted."""
    yield "| device | engine | precision | threads | models | repeated rows | median | within 10 % | within 20 % |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    chosen = [timing for timing in timings if wanted(timing.group) and len(timing.values_ms) > 1]
    groups = {replace(timing.group, build="") for timing in chosen}
    for group in sorted(groups, key=lambda group: (group.device, group.engine, group.precision, group.threads)):
        mine = [timing for timing in chosen if replace(timing.group, build="") == group]
        if sum(len(timing.values_ms) for timing in mine) >= _FEWEST_ROWS:
            yield f"| {group.device} | {group.engine} | {group.precision} | {group.threads or ''} | {_cells(mine)} |"
    yield f"| all | | | | {_cells(chosen)} |"


def _cells(timings: Sequence[Timing]) -> str:
    errors = np.array(disagreement(timings))
    return (
        f"{len({timing.model for timing in timings})} | {len(errors)} | {np.median(errors):.1%} | "
        f"{np.mean(errors <= 0.1):.0%} | {np.mean(errors <= 0.2):.0%}"
    )


def main() -> None:
    """Prints the table of the groups that profiles use."""
    from fit import read_features
    from machines import is_used
    from targets import is_judged

    timings = [timing for timing in read_timings(table_path(), read_features()[0]) if is_used(timing.group)]
    print("\n".join(repeats_table(timings, is_judged)))


if __name__ == "__main__":
    main()
