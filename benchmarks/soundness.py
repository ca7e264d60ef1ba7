"""Whether the verdict can be fooled: faults planted in real artifacts, and sound artifacts that must raise no alarm.

    python benchmarks/soundness.py [--work FOLDER] [--cache FOLDER] [--only alarms|faults] [--format NAME]
        [--network NAME] [--write]

*Alarms*: the artifacts of `soundness_artifacts.CASES`, each made and run in its own runtime; every check that fails is
an alarm. *Faults*: `planted_faults.FAULTS`, each in several constants of several of these artifacts. What a fault costs
is measured here, apart from edgekit's validators: it breaks an artifact where it takes 6 dB or more from a counted
channel and leaves it below the floor of its precision (60, 35, 6, 4 dB), makes one constant or NaN that was not, or
changes more than a tenth of an integer output. A channel counts where the float model moves it by more than half a step
of its own 8-bit grid. `--write` puts the tables into `benchmarks/results/soundness.md`. Needs no data.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import planted_faults
import soundness_artifacts as artifacts
from numpy.typing import NDArray

from edgekit.workers.cache import Cache

HERE = Path(__file__).parent
FORMATS = ("tflite", "onnx", "executorch", "coreml")
COSTLY_DB = 6.0
FLOORS_DB = {"fp32": 60.0, "fp16": 35.0, "int4": 4.0}
INTEGER_FLOOR_DB = 6.0
MOST_UNEQUAL = 10.0

FAULTY = (
    ("detector", "fp32"),
    ("detector", "int8-static"),
    ("segmenter", "int8-static"),
    ("table", "int8-static"),
    ("table", "int4"),
    ("recurrent", "fp32"),
)
"""(network, precision) of the artifacts that faults are planted in."""

MOST = 2
"""Constants that one fault is planted in, spread over the artifact: the first and the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a fault does, by this file's own arithmetic.

    Attributes:
        worst_db: SQNR of the worst counted channel or output after it; -inf where a value is not finite.
        lost_db: The largest loss of one of them against the sound artifact.
        lost_below_db: SQNR of the worst of those that lost 6 dB or more.
        dead: Counted ones that are constant or not finite now and were not.
        unequal: Percent of integer values that changed, of the worst output.
    """

    worst_db: float
    lost_db: float
    lost_below_db: float
    dead: int
    unequal: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One planted fault and its verdict."""

    case: str
    runtime: str
    precision: str
    fault: str
    where: str
    cost: Cost | None
    failed: tuple[str, ...]
    error: str

    @property
    def is_caught(self) -> bool:
        return bool(self.failed or self.error)

    @property
    def must_fail(self) -> bool:
        """True where the artifact is broken; a file that its runtime refuses has no cost."""
        floor = FLOORS_DB.get(self.precision, INTEGER_FLOOR_DB)
        price = self.cost
        return price is None or price.dead > 0 or price.lost_below_db < floor or price.unequal > MOST_UNEQUAL

    @property
    def is_costly(self) -> bool:
        """True where it costs 6 dB or more, however good the artifact is after it."""
        return self.must_fail or (self.cost is not None and self.cost.lost_db >= COSTLY_DB)


def channels(reference: NDArray[np.generic], found: NDArray[np.generic]) -> list[tuple[float, bool]]:
    """Returns (SQNR in dB, constant or not finite) of the whole and of each channel that counts, along every axis."""
    expected, got = (np.asarray(x, np.float64).reshape(reference.shape) for x in (reference, found))
    step = step_of(expected)
    pieces = [(expected, got)]
    for axis in range(1, expected.ndim):
        rows = (np.moveaxis(x, axis, 0) for x in (expected, got))
        pieces += list(zip(*rows, strict=True))
    measured = []
    for one, other in pieces:
        counts = np.abs(one - one[:1]).max() > step / 2
        broken = not np.isfinite(other).all() or float(np.abs(other - other[:1]).max()) == 0
        error = float(((one - other) ** 2).sum())
        ratio = 10 * np.log10(float((one**2).sum()) / error) if error > 0 else 200.0
        measured.append((ratio if counts else np.nan, bool(broken and counts)))
    return measured


def cost(sound: Sequence[NDArray], found: Sequence[NDArray], reference: Sequence[NDArray]) -> Cost:
    """Returns what a fault costs: outputs of the sound artifact, of the edited one, and of the float model."""
    lost, worst, below, dead, unequal = 0.0, 200.0, 200.0, 0, 0.0
    for before, after, expected in zip(sound, found, reference, strict=True):
        if expected.dtype.kind in "iub":
            share = [100 * float((x.reshape(expected.shape) != expected).mean()) for x in (before, after)]
            unequal = max(unequal, share[1] - share[0])
            continue
        for (ratio, was_broken), (now, is_broken) in zip(
            channels(expected, before), channels(expected, after), strict=True
        ):
            if np.isnan(ratio):
                continue
            dead += is_broken and not was_broken
            # NaN in the artifact has made the ratio NaN.
            left = -200.0 if np.isnan(now) else now
            lost, worst = max(lost, ratio - left), min(worst, left)
            below = min(below, left) if ratio - left >= COSTLY_DB else below
    return Cost(worst_db=worst, lost_db=lost, lost_below_db=below, dead=dead, unequal=unequal)


def spread(items: list) -> list:
    """Returns the first, the last and those between, `MOST` in all."""
    if len(items) <= MOST:
        return items
    return [items[round(i * (len(items) - 1) / (MOST - 1))] for i in range(MOST)]


def planted_in(made: artifacts.Made, cache: Cache, work: Path) -> Iterator[Planted]:
    """Yields each fault that is planted in an artifact, judged."""
    checks, _, error = artifacts.judge(made, cache)
    if error or artifacts.failing(checks):
        return  # the sound artifact is judged among the alarms
    sound, path = artifacts.ARRAYS["outputs"], made.artifact.path
    found: dict[str, list] = {}
    for fault, constant in planted_faults.plantings(path):
        found.setdefault(fault, []).append(constant)
    jobs = [(fault, constant) for fault, constants in found.items() for constant in spread(constants)]
    for fault, constant in [*jobs, ("swapped outputs", None)]:
        target = work / f"faulty{path.suffix}"
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        if constant is not None:
            planted_faults.plant(path, target, fault, constant)
        elif not planted_faults.swap_outputs(path, target):
            continue
        checks, _, error = artifacts.judge(made, cache, target)
        price = cost(sound, artifacts.ARRAYS["outputs"], artifacts.ARRAYS["reference"]) if not error else None
        yield Planted(
            case=made.case.title,
            runtime=made.artifact.runtime,
            precision=made.case.recipe.name,
            fault=fault,
            where=constant.name if constant is not None else "",
            cost=price,
            failed=tuple(f"{x.name}: {x.detail}" for x in artifacts.failing(checks)),
            error=error,
        )


def find_alarms(options: argparse.Namespace, cache: Cache, work: Path) -> list[str]:
    """Judges the sound artifacts; returns the table."""
    lines = [
        "| artifact | format | floor | worst | worst at half a step | error | integers equal | alarm |",
        "|---|---|---|---|---|---|---|---|",
    ]
    total = alarms = strict = unequal = 0
    for case in artifacts.CASES:
        if options.network not in (None, case.network):
            continue
        for made in artifacts.make(case, cache, work):
            if isinstance(made, tuple):
                print(f"NOT MADE {case.title} {made[0]}: {made[1].splitlines()[0]}", flush=True)
                continue
            if options.format and made.artifact.runtime != options.format:
                continue
            checks, _, error = artifacts.judge(made, cache)
            by_name = {check.name: check for check in checks}
            floor, integers = by_name.get("parity_floor"), by_name.get("integer_outputs")
            failed = [f"{check.name}: {check.detail}" for check in artifacts.failing(checks)] + [error] * bool(error)
            half, steps = finest() if not error else (None, None)
            total, alarms = total + 1, alarms + bool(failed)
            strict += half is not None and half < FLOORS_DB.get(case.recipe.name, INTEGER_FLOOR_DB)
            unequal += case.recipe.name in ("fp32", "fp16") and integers is not None and (integers.value or 100) < 100
            cells = (
                "-" if floor is None or floor.limit is None else f"{floor.limit:.0f} dB",
                "-" if floor is None or floor.value is None else f"{floor.value:.1f} dB",
                "-" if half is None else f"{half:.1f} dB",
                "-" if steps is None else f"{steps:.2f} steps",
                "-" if integers is None or integers.value is None else f"{integers.value:.2f} %",
                "; ".join(failed) or "none",
            )
            lines.append(f"| {case.title} | {made.artifact.runtime} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    head = (
        f"**{alarms} false alarms on {total} sound artifacts.** *Worst at half a step*: if each channel counted that "
        f"moves by more than half a step, in integers too: {strict} alarms. *Error*: root mean square of the worst "
        f"output's, in steps of its own 8-bit grid. If integer outputs of float formats had to be equal: {unequal} "
        "alarms."
    )
    return [head, "", *lines]


def finest() -> tuple[float | None, float | None]:
    """Returns the worst SQNR of all that moves by half a step, and the error in steps, of what was judged last."""
    worst, steps = 200.0, 0.0
    for found, expected in zip(artifacts.ARRAYS["outputs"], artifacts.ARRAYS["reference"], strict=True):
        if expected.dtype.kind != "f":
            continue
        measured = [ratio for ratio, _ in channels(expected, found) if not np.isnan(ratio)]
        worst = min([worst, *measured])
        error = np.sqrt(((found.reshape(expected.shape).astype(float) - expected) ** 2).mean())
        steps = max(steps, error / step_of(np.asarray(expected, float)))
    return worst, steps


def step_of(expected: NDArray) -> float:
    """Returns the step of an output's own 8-bit grid."""
    if expected.min() >= 0 and expected.max() <= 1:
        return 1 / 256
    return float(max(expected.max(), 0) - min(expected.min(), 0)) / 255


def find_misses(options: argparse.Namespace, cache: Cache, work: Path) -> list[str]:
    """Plants faults and judges them; returns the tables."""
    all_planted: list[Planted] = []
    for case in artifacts.CASES:
        if case.techniques or (case.network, case.recipe.name) not in FAULTY:
            continue
        if options.network not in (None, case.network):
            continue
        for made in artifacts.make(case, cache, work):
            if isinstance(made, tuple) or (options.format and made.artifact.runtime != options.format):
                continue
            for planted in planted_in(made, cache, work):
                all_planted.append(planted)
                mark = "" if planted.is_caught or not planted.must_fail else "MISSED "
                print(f"{mark}{json.dumps(asdict(planted))}", flush=True)
    return table_of_faults(all_planted)


def table_of_faults(planted: list[Planted]) -> list[str]:
    """Returns failed / planted by format and fault, and each one that passed and must not."""
    names = [*planted_faults.FAULTS, "swapped outputs"]
    lines = [f"| format | {' | '.join(names)} | all |", "|---" * (len(names) + 2) + "|"]
    broken = [item for item in planted if item.must_fail]
    for runtime in FORMATS:
        cells = []
        for name in (*names, None):
            of_it = [x for x in broken if x.runtime == runtime and name in (None, x.fault)]
            cells.append(f"{sum(x.is_caught for x in of_it)} / {len(of_it)}" if of_it else "-")
        lines.append(f"| {runtime} | {' | '.join(cells)} |")
    missed = [item for item in broken if not item.is_caught]
    costly = [item for item in planted if item.is_costly]
    head = (
        f"**{len(broken) - len(missed)} of {len(broken)} planted faults that break an artifact failed**, of "
        f"{len(planted)} that were planted. Of those that cost 6 dB or more, however good the artifact is after it: "
        f"{sum(x.is_caught for x in costly)} of {len(costly)}."
    )
    listed = [
        f"- passed: {x.fault} in {x.where} of {x.case}, {x.runtime}: lost {x.cost.lost_db:.1f} dB, worst "
        f"{x.cost.worst_db:.1f} dB, {x.cost.dead} dead"
        for x in missed
        if x.cost is not None
    ]
    return [head, "", *lines, *([""] * bool(listed)), *listed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="where task files and edited artifacts go; default: a temporary one")
    parser.add_argument("--cache", type=Path, help="edgekit's cache for the artifacts; default: beside the task files")
    parser.add_argument("--only", choices=("alarms", "faults"))
    parser.add_argument("--format", choices=FORMATS)
    parser.add_argument("--network", choices=artifacts.NETWORKS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        cache = Cache(root=options.cache or work / "cache")
        sections = {
            "Sound artifacts": find_alarms if options.only != "faults" else None,
            "Planted faults": find_misses if options.only != "alarms" else None,
        }
        text = ["# Soundness", "", "Output of `python benchmarks/soundness.py --write`. How: the head of that file."]
        for title, find in sections.items():
            if find is not None:
                text += ["", f"## {title}", "", *find(options, cache, work)]
    print("\n".join(text))
    if options.write:
        (HERE / "results" / "soundness.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
