"""Measures on an Android device through adb with TFLite's `benchmark_model`: Android has no Python.

What is needed: the program adb (Android platform tools) here, a device with USB debugging that has accepted this
computer, and benchmark_model built for its processor, here or on the device already.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, final

from edgekit.artifact import Artifact
from edgekit.benchmarking.target import AdbAddress, Order, Target, TargetFigures
from edgekit.errors import DeviceError, MissingDependencyError, ResourceError, UsageError
from edgekit.formats.table import known_format
from edgekit.measurements.benchmark_model_output import parse_benchmark_model
from edgekit.measurements.imported import BENCHMARK_MODEL
from edgekit.samples import Samples
from edgekit.validators.runner_process import RunSettings
from edgekit.validators.runners.tflite_session import read_metadata
from edgekit.workers.worker import Progress

_BASE: Final = PurePosixPath("/data/local/tmp")
"""The one folder on Android that adb may write and whose programs may run."""

_SHORT_SECONDS: Final = 60.0
_PROPERTIES: Final = ("ro.product.manufacturer", "ro.product.model", "ro.soc.model", "ro.build.version.release")
_GET_IT: Final = (
    'benchmark_model comes from TensorFlow\'s "native benchmark binary" (build target '
    "tensorflow/lite/tools/benchmark:benchmark_model with --config=android_arm64). Give it with "
    "--benchmark-model PATH, a file here or a path on the device."
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AdbTarget(Target):
    """An Android device.

    Attributes:
        address: Which one.
        benchmark_model: The program: a file here, or a path on the device; "" where the user named none.
    """

    address: AdbAddress
    benchmark_model: str = ""

    @property
    def words(self) -> str:
        """The address."""
        return str(self.address)

    def measure(self, order: Order, progress: Progress) -> TargetFigures:
        """Runs the artifact there (see `Target.measure`); the folder on the device is removed whatever happens."""
        artifact, settings = order.artifact, order.settings
        self._check(artifact, order.samples)
        adb = Adb(program=find_adb(), serial=self.address.serial)
        progress(f"connecting to {self.words}", None)
        adb.check_state()
        host, machine = adb.describe()
        order.accept(machine)
        with _remote_folder(adb) as there:
            progress(f"copying to {self.words}", None)
            tool = self._send(adb, artifact, there)
            progress(f"{self.words}: measuring", None)
            text = adb.shell(self._command(tool, there, settings), "benchmark_model", settings.timeout_s)
        output = parse_benchmark_model(text, self.words)
        notes = (
            "The engine is the one that benchmark_model was built with.",
            *(() if output.memory else ("Memory was not measured: this benchmark_model does not report it.",)),
        )
        metadata = read_metadata(artifact.path)
        return TargetFigures(
            artifact=replace(artifact, metadata=metadata),
            host=host,
            engine="TFLite benchmark_model",
            source=BENCHMARK_MODEL,
            units=output.units,
            latency=output.latency,
            load_ms=output.load_ms,
            memory=output.memory,
            notes=notes,
        )

    def _check(self, artifact: Artifact, samples: Samples | None) -> None:
        made = known_format(artifact.runtime)
        if made is None or not made.runtime.android_benchmark:
            raise UsageError(
                f"{artifact.path.name} cannot be measured over adb: Android has no Python, and benchmark_model runs "
                ".tflite files only. Export to tflite, or measure over ssh:// where the device runs Linux."
            )
        if samples is not None:
            raise UsageError(
                "--data needs a Python on the device, and over adb there is none: benchmark_model makes up its inputs. "
                "Leave --data out."
            )
        if not self.benchmark_model:
            raise UsageError(f"--on {self.words} needs TFLite's benchmark_model. {_GET_IT}")

    def _send(self, adb: Adb, artifact: Artifact, there: PurePosixPath) -> str:
        """Copies the artifact, and the program where it is here. Returns the program's path there, quoted."""
        adb.push(artifact.path, there / "model.tflite")
        here = Path(os.path.expanduser(self.benchmark_model))  # noqa: PTH111  Path's raises where there is no such home
        if here.is_file():
            adb.push(here, there / "benchmark_model")
            adb.shell(f"chmod 755 {there}/benchmark_model", "chmod", _SHORT_SECONDS)
            return f"{there}/benchmark_model"
        quoted = shlex.quote(self.benchmark_model)
        found = adb.shell(f"[ -x {quoted} ] && echo found || echo none", "test", _SHORT_SECONDS)
        if found.strip() != "found":
            raise DeviceError(f"{self.benchmark_model} is neither a file here nor a program on {self.words}. {_GET_IT}")
        return quoted

    @staticmethod
    def _command(tool: str, there: PurePosixPath, settings: RunSettings) -> str:
        return (
            f"{tool} --graph={there}/model.tflite --num_threads={settings.threads} --num_runs={settings.runs} "
            f"--warmup_runs={settings.warmup} --min_secs=0 --max_secs={settings.timing_s:g} 2>&1"
        )


def find_adb() -> str:
    """Returns the path of the program adb.

    Raises:
        MissingDependencyError: it is not installed.
    """
    program = shutil.which("adb")
    if program is None:
        raise MissingDependencyError(
            "--on adb needs the program adb, which is not on the PATH. Install Android's platform tools: "
            "sudo apt install adb, brew install android-platform-tools, or "
            "https://developer.android.com/tools/releases/platform-tools"
        )
    return program


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Adb:
    """The program adb, speaking to one device."""

    program: str
    serial: str | None

    @property
    def target(self) -> str:
        """The device, for messages."""
        return str(AdbAddress(serial=self.serial))

    def check_state(self) -> None:
        """Checks that the device is there and lets us in.

        Raises:
            DeviceError: none, several, or one that has not accepted this computer.
        """
        done = self._run(["get-state"], "get-state", _SHORT_SECONDS)
        said = (done.stdout + done.stderr).strip()
        if done.returncode == 0 and done.stdout.strip() == "device":
            return
        if "unauthorized" in said:
            advice = 'Unlock its screen and answer "Allow USB debugging?" with yes.'
        elif "more than one" in said:
            advice = "Name one with --on adb:SERIAL; adb devices lists them."
        else:
            advice = "Connect it, turn on USB debugging in its developer options, and look for it in: adb devices -l"
        raise DeviceError(f"{self.target} is not ready: {_last_line(said)}. {advice}")

    def push(self, path: Path, target: PurePosixPath) -> None:
        """Copies a file to the device.

        Raises:
            DeviceError: it cannot be written there.
        """
        done = self._run(["push", str(path), str(target)], "push", 600.0)
        if done.returncode:
            raise DeviceError(
                f"{path.name} cannot be copied to {target.parent} on {self.target}: "
                f"{_last_line(done.stderr + done.stdout)}. Its storage may be full."
            )

    def shell(self, command: str, title: str, timeout_s: float) -> str:
        """Returns what a command on the device wrote.

        Raises:
            DeviceError: it failed; the message holds its last lines.
            ResourceError: it took longer than `timeout_s`.
        """
        done = self._run(["shell", command], title, timeout_s)
        if done.returncode:
            lines = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).strip().splitlines()[-8:])
            raise DeviceError(
                f"{title} on {self.target} ended with exit code {done.returncode}.\n{lines or '  (it said nothing)'}\n"
                "A program that was built for another processor, or a model with operators that it lacks, ends so."
            )
        return done.stdout

    def describe(self) -> tuple[str, str]:
        """Returns the device in its own words, and its instruction set."""
        command = "; ".join([*(f"getprop {name}" for name in _PROPERTIES), "uname -m"])
        lines = [line.strip() for line in self.shell(command, "getprop", _SHORT_SECONDS).splitlines()]
        lines += [""] * (5 - len(lines))
        maker, model, chip, release, machine = lines[:5]
        words = [f"{maker} {model}".strip(), chip, f"Android {release}" if release else "", machine]
        return ", ".join(word for word in words if word), machine

    def _run(self, arguments: Sequence[str], title: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        device = ["-s", self.serial] if self.serial else []
        try:
            return subprocess.run(
                [self.program, *device, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ResourceError(
                f"adb {title} on {self.target} was stopped after {timeout_s:.0f} s, its time limit. "
                "Raise the limit with --timeout, or measure fewer runs with --runs."
            ) from error


@contextmanager
def _remote_folder(adb: Adb) -> Generator[PurePosixPath, None, None]:
    """Yields a new folder on the device and removes it."""
    name = adb.shell(f"mktemp -d {_BASE}/edgekit-XXXXXXXX", "mktemp", _SHORT_SECONDS).strip()
    try:
        yield PurePosixPath(name)
    finally:
        # benchmark_model is ended by its own limits; a folder that is gone does not stop it.
        adb.shell(f"rm -rf {shlex.quote(name)}", "rm", _SHORT_SECONDS)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else "adb said nothing"
