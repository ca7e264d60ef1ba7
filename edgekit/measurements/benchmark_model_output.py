"""Reads what TFLite's `benchmark_model` prints.

It prints one line of statistics for the warm-up and one for the timed runs, each "count=50 first=249042 curr=250889
min=247067 max=254474 avg=249684 std=1442", newer builds with " p5=... median=... p95=..." behind; one line "Inference
timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): 249684"; and one line on
memory (tensorflow/lite/tools/benchmark/benchmark_model.cc). Times are in microseconds, memory in MiB. On Android each
line may have a log prefix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from edgekit.errors import DataError
from edgekit.measurements.latency_figures import LatencyFigures
from edgekit.measurements.measurement import MemoryFigures

_NUMBER: Final = r"(?:\d{1,15}\.?\d{0,15}(?:[eE][+-]?\d{1,2})?(?![\deE]))"
"""As C++ prints it. What is longer is no figure of a tool, and would become infinite."""

_STATISTICS: Final = re.compile(
    rf"\bcount=(?P<count>\d{{1,15}})(?!\d)(?P<rest>(?:\s+\w+={_NUMBER}(?:\s*\(all same\))?)*)"
)
_PAIR: Final = re.compile(rf"(\w+)=({_NUMBER})")
_TIMINGS: Final = re.compile(
    rf"Inference timings in us: Init: (?P<init>{_NUMBER}), First inference: {_NUMBER}, "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): (?P<average>{_NUMBER})"
)
_DELTA: Final = re.compile(
    rf"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    rf"init=-?{_NUMBER} overall=(?P<overall>-?{_NUMBER})"
)
_SIZE: Final = re.compile(rf"The input model file size \(MB\): (?P<size>{_NUMBER})")
_GRAPH: Final = re.compile(r"\bGraph: \[(?P<graph>[^\]\n]*)\]")
_THREADS: Final = re.compile(r"(?:Num threads: \[|#threads used for CPU inference: \[)(?P<threads>\d{1,9})\]")
_DELEGATE: Final = re.compile(r"(?:Explicitly applied|Applied) (?P<name>\w+) delegate")
_MIB: Final = 2**20

_UNITS: Final[Mapping[str, str]] = {"GPU": "GPU", "NNAPI": "NPU", "HEXAGON": "NPU", "EDGETPU": "NPU", "COREML": "NPU"}
"""A delegate's name in capitals to what computes under it; every other one (XNNPACK) computes on the CPU."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkModelOutput:
    """What one run of `benchmark_model` said.

    Attributes:
        latency: Latency of one inference.
        load_ms: Time of initialization.
        memory: None where the build cannot report it.
        threads: None where they were not set.
        graph: Path of the model as the tool was given it, "" where it is not printed.
        model_bytes: Size of the model's file, rounded as the tool prints it; None where it is not printed.
        units: What computed.
    """

    latency: LatencyFigures
    load_ms: float | None
    memory: MemoryFigures | None
    threads: int | None
    graph: str
    model_bytes: float | None
    units: tuple[str, ...]


def is_benchmark_model_output(text: str) -> bool:
    """Returns True if `text` was printed by `benchmark_model`, as far as one can tell."""
    return "Inference timings in us:" in text or ("benchmark" in text.lower() and _STATISTICS.search(text) is not None)


def parse_benchmark_model(text: str, where: str) -> BenchmarkModelOutput:
    """Returns what `benchmark_model` measured.

    Args:
        text: Everything that it printed.
        where: The file or device that it came from, for messages.

    Raises:
        DataError: the run did not end, or timed nothing.
    """
    timings = _TIMINGS.search(text)
    if timings is None:
        raise DataError(
            f"{where}: benchmark_model printed no result (a line that begins with "
            f'"Inference timings in us:"). Its last line is "{_last_line(text)}". Run it to its end and keep all it '
            "prints: benchmark_model --graph=model.tflite > FILE 2>&1"
        )
    found = list(_STATISTICS.finditer(text))
    # The last line is that of the timed runs; one alone was the warm-up's, if the timed runs were cut away.
    numbers = _numbers(found[-1]) if found else {}
    average = float(timings["average"]) / 1e3
    if not math.isfinite(average) or average <= 0:
        raise DataError(f"{where}: benchmark_model timed no inference (--dry_run?). Run it without that flag.")
    memory = _DELTA.search(text)
    size = _SIZE.search(text)
    graph = _GRAPH.search(text)
    threads = [int(match["threads"]) for match in _THREADS.finditer(text) if int(match["threads"]) > 0]
    return BenchmarkModelOutput(
        latency=_latency(numbers, average),
        load_ms=float(timings["init"]) / 1e3 or None,
        memory=_memory(memory),
        threads=threads[-1] if threads else None,
        graph=graph["graph"] if graph else "",
        model_bytes=float(size["size"]) * 1e6 if size else None,
        units=_units(text),
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip()[:120] if lines else ""


def _numbers(match: re.Match[str]) -> dict[str, float]:
    """Returns the statistics of one line, in ms but for `count`."""
    found = {name: float(value) / 1e3 for name, value in _PAIR.findall(match["rest"])}
    return {**found, "count": float(match["count"])}


def _latency(numbers: Mapping[str, float], average: float) -> LatencyFigures:
    count = int(numbers.get("count", 0))
    # A single run, or runs that are all the same, are printed as "curr" alone.
    only = numbers.get("curr") if "avg" not in numbers else None
    low, high = _mean_interval(average, numbers.get("std"), count)
    median = numbers.get("median") or None
    return LatencyFigures(
        value_ms=median or average,
        statistic="median" if median else "mean",
        low_ms=None if median else low,
        high_ms=None if median else high,
        p95_ms=numbers.get("p95") or None,
        min_ms=numbers.get("min", only) or None,
        max_ms=numbers.get("max", only) or None,
        runs=count or None,
    )


def _mean_interval(mean: float, deviation: float | None, count: int) -> tuple[float | None, float | None]:
    """Returns the mean's 95 % interval by Student's t from what is printed; it is cut off at a tenth of the mean."""
    if deviation is None or count < 2:
        return None, None
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)
    return max(mean - half, mean / 10), mean + half


def _memory(match: re.Match[str] | None) -> MemoryFigures | None:
    if match is None or float(match["overall"]) <= 0:
        return None
    return MemoryFigures(
        above_empty_bytes=round(float(match["overall"]) * _MIB),
        method="growth since benchmark_model's own start, approximate by its own word",
    )


def _units(text: str) -> tuple[str, ...]:
    found = {_UNITS.get(match["name"].upper(), "CPU") for match in _DELEGATE.finditer(text)}
    return tuple(sorted(found)) or ("CPU",)
