"""`edgekit bench`: measure an artifact here, on a device over SSH or adb, or import what another tool measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from edgekit.benchmarking.request import BenchRequest, run_bench
from edgekit.cli import options
from edgekit.cli.options import CHOICE, MODEL_AND_DATA, OUTPUT, RUNNING, option
from edgekit.task.input_sizes import read_input_sizes
from edgekit.terminal.console import console, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.measurements.measurement import Measurement

On = Annotated[
    str | None,
    option(CHOICE, "--on", help="ssh://USER@HOST[:PORT], adb or adb:SERIAL; this machine without it."),
]
Threads = Annotated[
    int, option(CHOICE, "--threads", "-t", min=1, show_default=True, help="Threads that the runtime may use.")
]
Runs = Annotated[int, option(CHOICE, "--runs", min=1, show_default=True, help="Timed inferences.")]
Warmup = Annotated[int, option(CHOICE, "--warmup", min=0, show_default=True, help="Inferences before the timed ones.")]
Seconds = Annotated[
    float,
    option(
        CHOICE, "--seconds", min=0.0, show_default=True,
        help="Timing ends after this long, but not before 10 runs.",
    ),
]  # fmt: skip
Data = Annotated[
    str | None,
    option(
        MODEL_AND_DATA, "--data",
        help="Sample inputs: data.py:function, .npz or a folder of images. The outputs come back and are compared.",
    ),
]  # fmt: skip
Outputs = Annotated[Path | None, option(OUTPUT, "--outputs", help="Keep the outputs on --data in this folder.")]
Python = Annotated[str, option(RUNNING, "--python", show_default=True, help="Python on the device, for --on ssh://.")]
BenchmarkModel = Annotated[
    str,
    option(
        RUNNING, "--benchmark-model", show_default=True,
        help="TFLite's benchmark_model for --on adb: a file here, or a path on the device.",
    ),
]  # fmt: skip
From = Annotated[
    Path | None,
    option(CHOICE, "--from", help="Measure nothing: take the output of benchmark_model or a Qualcomm AI Hub profile."),
]
Output = Annotated[
    Path | None,
    option(OUTPUT, "--output", "-o", help="Measurement file, for --measurements of validate and gate."),
]


def bench(
    artifact: options.Artifact,
    on: On = None,
    device: options.Device = None,
    threads: Threads = 1,
    runs: Runs = 100,
    warmup: Warmup = 10,
    seconds: Seconds = 20.0,
    data: Data = None,
    inputs: options.Inputs = None,
    outputs: Outputs = None,
    python: Python = "python3",
    benchmark_model: BenchmarkModel = "",
    source: From = None,
    output: Output = None,
    *,
    workers: options.Workers,
    screen: options.Screen,
) -> int:
    """Measure an artifact in its own runtime: latency, load time, peak memory above the empty runtime.

    The times are those of the machine that ran it. They count as a device's (in validate and gate) only where --device
    says which device that machine is.
    """
    requested = BenchRequest(
        artifact=artifact,
        on=on,
        device=device,
        threads=threads,
        runs=runs,
        warmup=warmup,
        seconds=seconds,
        data=data,
        input_sizes=read_input_sizes(inputs or ()),
        outputs=outputs,
        python=python,
        benchmark_model=benchmark_model,
        source=source,
        output=output,
    )
    requested.check()
    from edgekit.cli.settings import pipeline_settings

    with pipeline_settings(screen, workers, jobs=1) as (settings, _):
        made = run_bench(requested, settings)
    if screen.as_json:
        write_json(made.to_json())
    else:
        _show(made.measurement, made.path, quiet=screen.quiet, no_color=screen.no_color)
    return 0


def _show(measurement: Measurement, output: Path | None, *, quiet: bool, no_color: bool) -> None:
    screen = console(no_color=no_color)
    artifact = measurement.artifact
    if not quiet:
        where = ", ".join(filter(None, (measurement.host, measurement.engine)))
        screen.print(f"{artifact.file} ({artifact.runtime}, {artifact.precision})", markup=False, soft_wrap=True)
        screen.print(f"on {measurement.place}" + (f": {where}" if where else ""), markup=False, soft_wrap=True)
        screen.print()
    screen.print(_table(measurement))
    if not quiet:
        screen.print()
        for note in (*measurement.notes, _whose_time(measurement)):
            screen.print(note, markup=False, soft_wrap=True)
    if output is not None:
        screen.print(str(output), markup=False, soft_wrap=True)


def _table(measurement: Measurement) -> Table:
    from rich.table import Table

    from edgekit.units import format_bytes, format_milliseconds

    latency = measurement.latency
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)

    def add(title: str, value: float | None, detail: str = "") -> None:
        table.add_row(title, "not measured" if value is None else format_milliseconds(value), detail)

    band = ""
    if latency.low_ms is not None and latency.high_ms is not None:
        band = f"{format_milliseconds(latency.low_ms)} to {format_milliseconds(latency.high_ms)} (95 %)"
    threads = measurement.threads
    runs = f"{latency.runs} runs" if latency.runs else ""
    with_threads = f"{threads} thread{'' if threads == 1 else 's'}" if threads else ""
    add(f"latency {latency.statistic}", latency.value_ms, band)
    add("latency p95", latency.p95_ms, ", ".join(filter(None, (runs, with_threads))))
    add("load", measurement.load_ms)
    memory = measurement.memory
    table.add_row("memory", "not measured" if memory is None else format_bytes(memory.above_empty_bytes),
                  "" if memory is None else memory.method)  # fmt: skip
    return table


def _whose_time(measurement: Measurement) -> str:
    """Returns whose time it is: the sentence that keeps a host's time from being taken for a device's."""
    if measurement.device is not None:
        return f"These are {measurement.device}'s figures, because --device says that this is one."
    machine = "this machine" if measurement.place == "this machine" else "that machine"
    return (
        f"This is {machine}'s time and no device's: validate and gate do not count it. If {machine} is the device, "
        "say so with --device NAME."
    )
