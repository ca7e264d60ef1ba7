"""A measurement from what was given to the record: what the command line and the Python API both call."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.artifact import runtime_of
from edgekit.errors import UsageError
from edgekit.profiles.profile import DeviceProfile, find_profile
from edgekit.task.input_sizes import InputSizes
from edgekit.task.task import find_config, load_task
from edgekit.workers.process_folder import temporary_folder

if TYPE_CHECKING:
    from edgekit.artifact import Artifact
    from edgekit.benchmarking.target import Target
    from edgekit.measurements.measurement import Measurement
    from edgekit.pipeline.settings import Settings
    from edgekit.samples import Samples
    from edgekit.validators.runner_process import RunSettings

JSON_SCHEMA: Final = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """What to measure, where, and how.

    Attributes:
        artifact: Its path.
        on: `ssh://USER@HOST[:PORT]`, `adb` or `adb:SERIAL`; None for this machine.
        device: The profile of the machine that measures, by the user's word; None where it is no device.
        threads: Threads that the runtime may use.
        runs: Timed inferences.
        warmup: Inferences before the timed ones.
        seconds: Timing ends after this long, but not before 10 runs.
        data: Sample inputs: `data.py:function`, .npz or a folder of images; None without.
        input_sizes: Sizes of made-up sample inputs, where there is no `data`.
        outputs: Folder that keeps the outputs on the sample inputs; None keeps none.
        python: Python on the device, for ssh.
        benchmark_model: TFLite's tool for adb: a file here, or a path on the device.
        source: Another tool's output to take the figures from; None measures.
        output: File for the measurement; None writes none.
    """

    artifact: Path
    on: str | None = None
    device: str | DeviceProfile | None = None
    threads: int = 1
    runs: int = 100
    warmup: int = 10
    seconds: float = 20.0
    data: str | None = None
    input_sizes: tuple[InputSizes, ...] = ()
    outputs: Path | None = None
    python: str = "python3"
    benchmark_model: str = ""
    source: Path | None = None
    output: Path | None = None

    def check(self) -> None:
        """Checks what can be known before any work.

        Raises:
            InputError: no such artifact, or options that exclude each other.
        """
        runtime_of(self.artifact)
        if self.outputs is not None and self.data is None and not self.input_sizes:
            raise UsageError("--outputs keeps the outputs on sample inputs: give them too, with --data.")

    def profile(self) -> DeviceProfile | None:
        """Returns the device's profile, None where the machine is no device.

        Raises:
            ProfileError: no profile has that name.
        """
        if isinstance(self.device, str):
            return find_profile(self.device, Path.cwd()) if self.device else None
        return self.device


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A measurement, and the file that it was written to."""

    measurement: Measurement
    path: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form that CI users rely on."""
        return {
            "schema_version": JSON_SCHEMA,
            "command": "bench",
            "device": self.measurement.device,
            "runtime": self.measurement.artifact.runtime,
            "measurement": self.measurement.to_json(),
            "path": None if self.path is None else str(self.path),
        }


def run_bench(requested: BenchRequest, settings: Settings) -> Benchmark:
    """Measures, or imports what another tool measured, and writes the measurement where a file is named for it.

    Raises:
        InputError: the artifact, the data, the place or the file is wrong.
        MachineError: it cannot be measured there.
    """
    requested.check()
    profile = requested.profile()
    measurement = (
        _import(requested, profile) if requested.source is not None else _measure(requested, profile, settings)
    )
    if requested.output is not None:
        from edgekit.measurements.measurement import write_measurement

        write_measurement(measurement, requested.output)
    return Benchmark(measurement=measurement, path=requested.output)


def _import(requested: BenchRequest, profile: DeviceProfile | None) -> Measurement:
    source = requested.source or Path()
    if requested.on is not None:
        raise UsageError("--from takes figures from a file and --on measures: give one of them.")
    if profile is None:
        raise UsageError(
            f"--from {source} needs --device NAME: the file does not say which device profile it was measured on."
        )
    from edgekit.benchmarking.bench import plain_artifact
    from edgekit.measurements.imported import import_measurement

    return import_measurement(source, plain_artifact(requested.artifact), profile.name)


def _target(requested: BenchRequest) -> Target:
    from edgekit.benchmarking.target import AdbAddress, parse_address

    address = parse_address(requested.on) if requested.on is not None else None
    if address is None:
        from edgekit.benchmarking.this_machine import ThisMachine

        return ThisMachine()
    if isinstance(address, AdbAddress):
        from edgekit.benchmarking.adb_target import AdbTarget

        return AdbTarget(address=address, benchmark_model=requested.benchmark_model)
    from edgekit.benchmarking.ssh_target import SshTarget

    return SshTarget(address=address, python=requested.python)


def _measure(requested: BenchRequest, profile: DeviceProfile | None, settings: Settings) -> Measurement:
    from edgekit.benchmarking.bench import bench, plain_artifact
    from edgekit.exporting.artifact_data import ArtifactData, read_samples
    from edgekit.validators.execution import describe_artifact

    target, run_settings = _target(requested), _run_settings(requested, settings)
    artifact = plain_artifact(requested.artifact)
    with temporary_folder("bench") as folder, _kept(requested.outputs) as keep:
        samples, sizes = None, requested.input_sizes or _sizes_in_task_file()
        if requested.data is not None or sizes:
            # The data is shaped by the artifact's inputs, which only its runtime knows.
            artifact = describe_artifact(requested.artifact, settings=run_settings, progress=settings.stage("artifact"))
            base, rows = Path.cwd(), folder / "samples"
            if requested.data is not None:
                samples = read_samples(artifact, requested.data, "sample", base, rows, settings)
            elif requested.input_sizes or _are_of(sizes, artifact):
                samples, _ = ArtifactData(base=base, input_sizes=sizes).samples_for(artifact, rows, settings)
        measurement, made = bench(
            artifact,
            target,
            folder=folder,
            profile=profile,
            samples=samples,
            settings=run_settings,
            progress=settings.stage("bench"),
        )
        if keep is not None and made is not None:
            _copy(made, keep)
    return measurement


def _sizes_in_task_file() -> tuple[InputSizes, ...]:
    """Returns what `[inputs]` of the current folder's task file says; nothing where there is none."""
    path = find_config(Path.cwd())
    return () if path is None else load_task(path).input_sizes


def _are_of(sizes: Sequence[InputSizes], artifact: Artifact) -> bool:
    """Returns whether a task file's sizes are those of an artifact, which may be another model's."""
    return {item.name for item in sizes} <= {spec.name for spec in artifact.inputs}


def _run_settings(requested: BenchRequest, settings: Settings) -> RunSettings:
    from edgekit.validators.runner_process import RunSettings

    return RunSettings(
        timeout_s=settings.timeout_s,
        memory_limit_bytes=settings.memory_limit_bytes,
        threads=requested.threads,
        runs=requested.runs,
        warmup=requested.warmup,
        timing_s=requested.seconds,
    )


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
    for file in samples.folder.iterdir():
        shutil.copyfile(file, folder / file.name)
