"""Benchmarks through adb: a script plays adb and the device."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from edgekit.benchmarking.adb_target import AdbTarget
from edgekit.benchmarking.bench import bench, plain_artifact
from edgekit.benchmarking.target import AdbAddress, Order
from edgekit.errors import DeviceError, EdgekitError, MissingDependencyError, ResourceError, UsageError
from edgekit.samples import write_samples
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.worker import silent

SETTINGS = RunSettings(runs=50, warmup=5, threads=4, timing_s=10.0, timeout_s=5.0)

# /data/local/tmp on the device is a folder here; what the device's own programs say comes from files in it.
ADB = """\
#!{python}
import pathlib, subprocess, sys
device = pathlib.Path({device!r})
arguments = sys.argv[1:]
with (device / "calls").open("a") as calls:
    calls.write(" ".join(arguments) + "\\n")
if arguments[0] == "-s":
    arguments = arguments[2:]
verb, rest = arguments[0], arguments[1:]
def here(text):
    return text.replace("/data/local/tmp", str(device / "tmp"))
if verb == "get-state":
    said = (device / "state").read_text()
    (sys.stdout if said == "device" else sys.stderr).write(said + "\\n")
    sys.exit(0 if said == "device" else 1)
if verb == "push":
    if (device / "full").exists():
        sys.stderr.write("adb: error: failed to copy: remote No space left on device\\n")
        sys.exit(1)
    pathlib.Path(here(rest[1])).write_bytes(pathlib.Path(rest[0]).read_bytes())
    sys.exit(0)
command = "getprop() {{ cat {device}/$1; }}; uname() {{ echo aarch64; }}; " + here(rest[0])
done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
sys.stdout.write(done.stdout.replace(str(device / "tmp"), "/data/local/tmp"))
sys.stderr.write(done.stderr)
sys.exit(done.returncode)
"""

PRINTED = """\
STARTING!
Num threads: [4]
count=5 first=300 curr=300 min=290 max=310 avg=300 std=5
count=50 first=210 curr=205 min=200 max=250 avg=205 std=10 p5=201 median=204 p95=240
Inference timings in us: Init: 1500, First inference: 300, Warmup (avg): 300, Inference (avg): 205
Memory footprint delta from the start of the tool (MB): init=2 overall=3
"""


class Device:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tmp").mkdir(parents=True)
        (root / "state").write_text("device")
        for name, value in (
            ("ro.product.manufacturer", "Google"),
            ("ro.product.model", "Pixel 8"),
            ("ro.soc.model", "Tensor G3"),
            ("ro.build.version.release", "15"),
        ):
            (root / name).write_text(value + "\n")
        adb = root / "bin" / "adb"
        adb.parent.mkdir()
        adb.write_text(ADB.format(python=sys.executable, device=str(root)))
        adb.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()

    @property
    def left(self) -> list[str]:
        return [path.name for path in (self.root / "tmp").iterdir()]


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device(tmp_path / "device")
    monkeypatch.setenv("PATH", f"{made.root / 'bin'}:{os.environ['PATH']}")
    return made


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A benchmark_model that prints and fails where its model is missing."""
    path = tmp_path / "benchmark_model"
    path.write_text(f'#!/bin/sh\ntest -s ${{1#--graph=}} || exit 9\necho "args: $*"\ncat <<END\n{PRINTED}END\n')
    return path


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    return path


def measure(net: Path, tool: Any, *, serial: str | None = None, **changes: Any) -> Any:
    facts: dict[str, Any] = {"artifact": plain_artifact(net), "folder": net.parent / "out", "settings": SETTINGS}
    place = AdbTarget(address=AdbAddress(serial=serial), benchmark_model=str(tool))
    return place.measure(Order(**(facts | changes)), silent)


def test_the_device_times_the_artifact_and_nothing_stays_there(device: Device, net: Path, tool: Path) -> None:
    measurement, outputs = bench(
        plain_artifact(net),
        AdbTarget(address=AdbAddress(serial="HT123"), benchmark_model=str(tool)),
        folder=net.parent / "work",
        settings=SETTINGS,
        progress=silent,
    )
    assert (measurement.source, measurement.place, outputs) == ("TFLite benchmark_model", "adb:HT123", None)
    assert measurement.host == "Google Pixel 8, Tensor G3, Android 15, aarch64"
    assert (measurement.latency.value_ms, measurement.latency.p95_ms, measurement.threads) == (0.204, 0.24, 4)
    assert measurement.memory is not None
    assert measurement.memory.above_empty_bytes == 3 * 2**20
    assert measurement.notes == ("The engine is the one that benchmark_model was built with.",)
    assert device.left == []
    assert all(call.startswith("-s HT123 ") for call in device.calls)
    run = next(call for call in device.calls if "--graph" in call)
    assert re.fullmatch(
        r"-s HT123 shell (/data/local/tmp/edgekit-\w+)/benchmark_model --graph=\1/model\.tflite --num_threads=4 "
        r"--num_runs=50 --warmup_runs=5 --min_secs=0 --max_secs=10 2>&1",
        run,
    )


def test_a_program_on_the_device_is_used_where_it_lies(device: Device, net: Path, tool: Path) -> None:
    there = device.root / "tmp" / "benchmark_model"
    there.write_bytes(tool.read_bytes())
    there.chmod(0o755)
    assert measure(net, PurePosixPath("/data/local/tmp/benchmark_model")).latency.value_ms == 0.204
    assert device.left == ["benchmark_model"]


def test_a_device_that_is_another_one_is_reported_before_anything_is_copied(
    device: Device, net: Path, tool: Path
) -> None:
    def refuse(machine: str) -> None:
        raise UsageError(f"not {machine}")

    with pytest.raises(UsageError, match=r"^not aarch64$"):
        measure(net, tool, accept=refuse)
    assert not any("push" in call for call in device.calls)


def fail(error: type[EdgekitError], message: str, net: Path, tool: Any, **how: Any) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        measure(net, tool, **how)


GET_IT = (
    'benchmark_model comes from TensorFlow\'s "native benchmark binary" (build target '
    "tensorflow/lite/tools/benchmark:benchmark_model with --config=android_arm64). Give it with "
    "--benchmark-model PATH, a file here or a path on the device."
)


def test_without_adb_it_is_said_how_to_get_it(
    net: Path, tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    fail(
        MissingDependencyError,
        "--on adb needs the program adb, which is not on the PATH. Install Android's platform tools: sudo apt install "
        "adb, brew install android-platform-tools, or https://developer.android.com/tools/releases/platform-tools",
        net,
        tool,
    )


def test_without_benchmark_model_it_is_said_what_is_needed(net: Path) -> None:
    fail(UsageError, f"--on adb needs TFLite's benchmark_model. {GET_IT}", net, "")


def test_a_program_that_is_nowhere_is_reported(device: Device, net: Path) -> None:
    fail(DeviceError, f"/no/such is neither a file here nor a program on adb. {GET_IT}", net, "/no/such")
    assert device.left == []


def test_artifacts_of_other_runtimes_are_refused(tmp_path: Path, tool: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"x")
    fail(
        UsageError,
        "net.onnx cannot be measured over adb: Android has no Python, and benchmark_model runs .tflite files only. "
        "Export to tflite, or measure over ssh:// where the device runs Linux.",
        path,
        tool,
    )


def test_data_is_refused(net: Path, tool: Path, tmp_path: Path) -> None:
    import numpy as np

    fail(
        UsageError,
        "--data needs a Python on the device, and over adb there is none: benchmark_model makes up its inputs. Leave "
        "--data out.",
        net,
        tool,
        samples=write_samples(tmp_path / "rows", ["x"], [(np.zeros((1, 2), np.float32),)]),
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "error: device unauthorized.",
            (
                'adb is not ready: error: device unauthorized. Unlock its screen and answer "Allow USB debugging?" '
                "with yes."
            ),
        ),
        (
            "error: more than one device/emulator",
            (
                "adb is not ready: error: more than one device/emulator. Name one with --on adb:SERIAL; adb devices "
                "lists them."
            ),
        ),
        (
            "error: no devices/emulators found",
            (
                "adb is not ready: error: no devices/emulators found. Connect it, turn on USB debugging in its "
                "developer options, and look for it in: adb devices -l"
            ),
        ),
        (
            "",
            (
                "adb is not ready: adb said nothing. Connect it, turn on USB debugging in its developer options, and "
                "look for it in: adb devices -l"
            ),
        ),
    ],
    ids=["unauthorized", "several", "none", "silence"],
)
def test_a_device_that_is_not_ready_is_reported(device: Device, net: Path, tool: Path, said: str, message: str) -> None:
    (device.root / "state").write_text(said)
    fail(DeviceError, message, net, tool)


def test_full_storage_is_reported(device: Device, net: Path, tool: Path) -> None:
    (device.root / "full").touch()
    with pytest.raises(DeviceError) as caught:
        measure(net, tool)
    assert re.fullmatch(
        r"net\.tflite cannot be copied to /data/local/tmp/edgekit-\w+ on adb: adb: error: failed to copy: remote No "
        r"space left on device\. Its storage may be full\.",
        caught.value.message,
    )
    assert device.left == []


def test_a_program_that_fails_there_is_reported_with_its_words(device: Device, net: Path, tool: Path) -> None:
    tool.write_text("#!/bin/sh\necho 'Failed to initialize'; exit 1\n")
    fail(
        DeviceError,
        "benchmark_model on adb ended with exit code 1.\n  Failed to initialize\nA program that was built for another "
        "processor, or a model with operators that it lacks, ends so.",
        net,
        tool,
    )
    assert device.left == []


def test_a_program_that_takes_too_long_is_stopped(device: Device, net: Path, tool: Path) -> None:
    tool.write_text("#!/bin/sh\nexec sleep 3\n")
    fail(
        ResourceError,
        "adb benchmark_model on adb was stopped after 1 s, its time limit. Raise the limit with --timeout, or measure "
        "fewer runs with --runs.",
        net,
        tool,
        settings=RunSettings(timeout_s=1.0),
    )
    assert device.left == []
