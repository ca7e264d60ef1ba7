"""`edgekit bench`: measure an artifact here, on a device over SSH or adb, or import what another tool measured."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.artifact import runtime_of
from edgekit.cli.console import console, write_json
from edgekit.cli.options import Device, InputSizesOption, JsonOption, MemoryLimit, NoColor, Quiet, Timeout
from edgekit.cli.validate import ArtifactArgument
from edgekit.errors import UsageError
from edgekit.profiles.profile import DeviceProfile, find_profile
from edgekit.task.input_sizes import InputSizes, read_input_sizes
from edgekit.workers.process_folder import temporary_folder

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.benchmarking.target import Target
    from edgekit.measurements.measurement import Measurement
    from edgekit.pipeline.settings import Settings
    from edgekit.samples import Samples
    from edgekit.validators.execution import RunSettings

JSON_SCHEMA = 1

On = Annotated[
    str | None,
    typer.Option(
        "--on", help="ssh://USER@HOST[:PORT], adb or adb:SERIAL; this machine without it.", show_default=False
    ),
]
Threads = Annotated[int, typer.Option("--threads", "-t", min=1, help="Threads that the runtime may use.")]
Runs = Annotated[int, typer.Option("--runs", min=1, help="Timed inferences.")]
Warmup = Annotated[int, typer.Option("--warmup", min=0, help="Inferences before the timed ones.")]
Seconds = Annotated[
    float, typer.Option("--seconds", min=0.0, help="Timing ends after this long, but not before 10 runs.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Sample inputs: data.py:function, .npz or a folder of images. The outputs come back and are compared.",
        show_default=False,
    ),
]
Outputs = Annotated[
    Path | None, typer.Option("--outputs", help="Keep the outputs on --data in this folder.", show_default=False)
]
PythonOption = Annotated[str, typer.Option("--python", help="Python on the device, for --on ssh://.")]
BenchmarkModel = Annotated[
    str,
    typer.Option(
        "--benchmark-model", help="TFLite's benchmark_model for --on adb: a file here, or a path on the device."
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Measure nothing: take the output of benchmark_model or a Qualcomm AI Hub profile.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Measurement file, for --measurements of validate and gate.", show_default=False
    ),
]


def bench(
    artifact: ArtifactArgument,
    on: On = None,
    device: Device = None,
    threads: Threads = 1,
    runs: Runs = 100,
    warmup: Warmup = 10,
    seconds: Seconds = 20.0,
    data: Data = None,
    inputs: InputSizesOption = [],  # noqa: B006  Typer copies it
    outputs: Outputs = None,
    python: PythonOption = "python3",
    benchmark_model: BenchmarkModel = "",
    source: From = None,
    output: Output = None,
    timeout: Timeout = 1800.0,
    memory_limit: MemoryLimit = None,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> int:
    """Measure an artifact in its own runtime: latency, load time, peak memory above the empty runtime.

    The times are those of the machine that ran it. They count as a device's (in validate and gate) only where --device
    says which device that machine is.
    """
    runtime_of(artifact)
    if outputs is not None and data is None and not inputs:
        raise UsageError("--outputs keeps the outputs on sample inputs: give them too, with --data.")
    sizes = read_input_sizes(inputs)
    profile = find_profile(device, Path.cwd()) if device else None
    if source is not None:
        measurement = _import(source, artifact, profile, on)
    else:
        from edgekit.cli.settings import pipeline_settings
        from edgekit.validators.execution import RunSettings

        with pipeline_settings(
            show_progress=not (quiet or as_json),
            no_color=no_color,
            no_cache=False,
            jobs=1,
            timeout_s=timeout,
            memory_limit=memory_limit,
        ) as (settings, _):
            run_settings = RunSettings(
                timeout_s=timeout,
                memory_limit_bytes=settings.memory_limit_bytes,
                threads=threads,
                runs=runs,
                warmup=warmup,
                timing_s=seconds,
            )
            place = _place(on, python, benchmark_model)
            measurement = _measure(artifact, place, profile, data, sizes, outputs, run_settings, settings)
    if output is not None:
        from edgekit.measurements.measurement import write_measurement

        write_measurement(measurement, output)
    if as_json:
        write_json(_json(measurement, output))
    else:
        _show(measurement, output, quiet=quiet, no_color=no_color)
    return 0


def _import(source: Path, artifact: Path, profile: DeviceProfile | None, on: str | None) -> Measurement:
    if on is not None:
        raise UsageError("--from takes figures from a file and --on measures: give one of them.")
    if profile is None:
        raise UsageError(
            f"--from {source} needs --device NAME: the file does not say which device profile it was measured on."
        )
    from edgekit.benchmarking.bench import plain_artifact
    from edgekit.measurements.imported import import_measurement

    return import_measurement(source, plain_artifact(artifact), profile.name)


def _place(on: str | None, python: str, benchmark_model: str) -> Target:
    from edgekit.benchmarking.target import AdbAddress, parse_address

    address = parse_address(on) if on is not None else None
    if address is None:
        from edgekit.benchmarking.this_machine import ThisMachine

        return ThisMachine()
    if isinstance(address, AdbAddress):
        from edgekit.benchmarking.adb_target import AdbTarget

        return AdbTarget(address=address, benchmark_model=benchmark_model)
    from edgekit.benchmarking.ssh_target import SshTarget

    return SshTarget(address=address, python=python)


def _measure(
    path: Path,
    place: Target,
    profile: DeviceProfile | None,
    data: str | None,
    sizes: tuple[InputSizes, ...],
    outputs: Path | None,
    run_settings: RunSettings,
    settings: Settings,
) -> Measurement:
    from edgekit.benchmarking.bench import bench as run_bench
    from edgekit.benchmarking.bench import plain_artifact
    from edgekit.exporting.artifact_data import ArtifactData, read_samples
    from edgekit.validators.execution import describe_artifact

    artifact = plain_artifact(path)
    with temporary_folder("bench") as folder, _kept(outputs) as keep:
        samples = None
        if data is not None or sizes:
            # The data is shaped by the artifact's inputs, which only its runtime knows.
            artifact = describe_artifact(path, settings=run_settings, progress=settings.stage("artifact"))
            base, rows = Path.cwd(), folder / "samples"
            if data is not None:
                samples = read_samples(artifact, data, "sample", base, rows, settings)
            else:
                samples, _ = ArtifactData(base=base, input_sizes=sizes).samples_for(artifact, rows, settings)
        measurement, made = run_bench(
            artifact,
            place,
            folder=folder,
            profile=profile,
            samples=samples,
            settings=run_settings,
            progress=settings.stage("bench"),
        )
        if keep is not None and made is not None:
            _copy(made, keep)
    return measurement


@contextmanager
def _kept(outputs: Path | None) -> Generator[Path | None, None, None]:
    """Yields the folder for outputs, tried before the work; None where none is wanted."""
    if outputs is None:
        yield None
        return
    from edgekit.workers.output_folder import output_folder

    with output_folder(outputs) as folder:
        yield folder


def _copy(samples: Samples, folder: Path) -> None:
    import shutil

    for file in samples.folder.iterdir():
        shutil.copyfile(file, folder / file.name)


def _json(measurement: Measurement, output: Path | None) -> dict[str, object]:
    return {
        "schema_version": JSON_SCHEMA,
        "command": "bench",
        "device": measurement.device,
        "runtime": measurement.artifact.runtime,
        "measurement": measurement.to_json(),
        "path": None if output is None else str(output),
    }


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
