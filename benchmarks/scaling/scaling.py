"""How the costs of an export grow with parameters, operators, evaluation samples and formats.

    python benchmarks/scaling/scaling.py [--axes parameters,operators,samples,formats] [--write]

Each point is one `edgekit export` at INT8 in a cache of its own: CPU seconds of the command and its children, wall
time, and the largest sum of their proportional sets. The exponent is the slope of log CPU (and of log memory) over the
last doubling: 1 is in proportion, 0 is not at all. `--write` puts the table and the plot beside this file. Needs
matplotlib and no data; about ten minutes on two quiet cores. Rows lie in `rows.jsonl` as they come: a run that was
ended goes on behind them, and `--anew` begins again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROWS = HERE / "rows.jsonl"
sys.path.insert(0, str(HERE.parent))
from export_memory import ENCODER, peak_of

CHAIN = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()]
    for _ in range({operators} // 2 - 2):
        layers += [nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)).eval()

def example_inputs():
    return (torch.zeros(1, 3, 32, 32),)

def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randn(1, 3, 32, 32, generator=generator)

def calibration():
    for row in rows(8, 1):
        yield (row,)

def evaluation():
    for row in rows({samples}, 2):
        yield (row,), None
"""
FORMATS = ("onnx", "tflite", "executorch", "coreml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One export.

    Attributes:
        axis: What is varied.
        size: Of it.
        code: The user's file.
        formats: What is made.
        data_size: Limit on the evaluation data on disk.
    """

    axis: str
    size: int
    code: str
    formats: str = "onnx"
    data_size: str = "4 GB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an export took."""

    cpu_s: float
    wall_s: float
    peak_bytes: int


def chain(operators: int, samples: int) -> str:
    return CHAIN.replace("{operators}", str(operators)).replace("{samples}", str(samples))


def points() -> list[Point]:
    encoders = [
        (layers, ENCODER.replace("{width}", "512").replace("{layers}", str(layers))) for layers in (2, 4, 8, 16)
    ]
    found = [Point(axis="parameters", size=12 * 512**2 * layers, code=code) for layers, code in encoders]
    found += [Point(axis="operators", size=size, code=chain(size, 8)) for size in (25, 50, 100, 200)]
    for axis, limit in (("samples on disk", "4 GB"), ("samples read anew", "1 MB")):
        sizes = (1000, 2000, 4000, 8000)
        found += [Point(axis=axis, size=size, code=chain(10, size), data_size=limit) for size in sizes]
    found += [
        Point(axis="formats", size=count, code=chain(50, 8), formats=",".join(FORMATS[:count]))
        for count in (1, 2, 3, 4)
    ]
    return found


def _lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def measure(point: Point) -> Cost:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.py").write_text(point.code)
        words = "-m edgekit export net.py:build --example-inputs net.py:example_inputs --calibration net.py:calibration"
        rest = f"--evaluation net.py:evaluation -d iphone15 --format {point.formats} --precision int8 -o out"
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "EDGEKIT_CACHE_DIR": str(folder / "cache"),
            "EDGEKIT_DATA_SIZE": point.data_size,
        }
        before = os.times()
        peak = peak_of([sys.executable, *words.split(), *rest.split()], folder, environment)
        after = os.times()
        if peak.failed:
            raise SystemExit(f"{point.axis} {point.size}: {peak.failed}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(cpu_s=cpu_s, wall_s=peak.seconds, peak_bytes=peak.bytes_)


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Returns the slope of log cost over the last two sizes."""
    return math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])


def plot(found: dict[str, list[tuple[int, Cost]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5))
    for panel, title, value in (
        (panels[0], "CPU seconds", lambda cost: cost.cpu_s),
        (panels[1], "peak memory, GB", lambda cost: cost.peak_bytes / 1e9),
    ):
        for axis, rows in found.items():
            first = rows[0][0]
            panel.plot([size / first for size, _ in rows], [value(cost) for _, cost in rows], "o-", label=axis)
        panel.set(title=title, xlabel="size, of the smallest", xscale="log", ylim=(0, None))
        panel.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
        panel.grid(alpha=0.3)
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", default="")
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    chosen = [point for point in points() if not options.axes or point.axis.split()[0] in options.axes.split(",")]
    if options.anew:
        ROWS.unlink(missing_ok=True)
    known = {(axis, size): Cost(**cost) for axis, size, cost in map(json.loads, _lines_of(ROWS))}
    found: dict[str, list[tuple[int, Cost]]] = {}
    lines = ["| what grows | size | CPU | wall | peak memory |", "|---|---|---|---|---|"]
    for point in chosen:
        cost = known.get((point.axis, point.size))
        if cost is None:
            cost = measure(point)
            with ROWS.open("a") as rows_file:
                rows_file.write(json.dumps([point.axis, point.size, asdict(cost)]) + "\n")
        found.setdefault(point.axis, []).append((point.size, cost))
        lines.append(
            f"| {point.axis} | {point.size:,} | {cost.cpu_s:.1f} s | {cost.wall_s:.1f} s "
            f"| {cost.peak_bytes / 1e9:.2f} GB |"
        )
        print(lines[-1], flush=True)
    lines += ["", "| what grows | exponent of CPU | exponent of memory |", "|---|---|---|"]
    for axis, rows in found.items():
        sizes = [size for size, _ in rows]
        cpu = exponent(sizes, [cost.cpu_s for _, cost in rows])
        memory = exponent(sizes, [float(cost.peak_bytes) for _, cost in rows])
        lines.append(f"| {axis} | {cpu:.2f} | {memory:.2f} |")
        print(lines[-1], flush=True)
    if options.write:
        head = (
            "# How costs grow\n\nOutput of `python benchmarks/scaling/scaling.py` "
            f"({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end: wall times say little where it is "
            "above the cores). Each row is one export in a cache of its own.\n\n![CPU and memory](scaling.png)\n\n"
        )
        (HERE / "results.md").write_text(head + "\n".join(lines) + "\n")
        plot(found, HERE / "scaling.png")


if __name__ == "__main__":
    main()
