"""Benchmarks over a real SSH connection on loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.benchmarking import ssh_shell
from edgekit.benchmarking.bench import bench, plain_artifact
from edgekit.benchmarking.ssh_target import SshTarget
from edgekit.benchmarking.target import Order, SshAddress
from edgekit.errors import ConfigError, DeviceError, EdgekitError, MissingDependencyError, ResourceError, UsageError
from edgekit.samples import write_samples
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.worker import silent

pytestmark = pytest.mark.runtime

SETTINGS = RunSettings(runs=12, warmup=1, timing_s=1.0, timeout_s=60.0)
BOARD = SshAddress(host="board")
INSTALL = (
    "Install it there:\n  python3 -m venv edgekit-venv && edgekit-venv/bin/pip install numpy onnxruntime\n"
    "and measure with --python edgekit-venv/bin/python"
)


@pytest.fixture
def measure(tmp_path: Path, tiny_onnx: Path) -> Callable[..., Any]:
    """Measures the tiny file on the board."""

    def run(*, address: SshAddress = BOARD, python: str = sys.executable, settings: RunSettings = SETTINGS) -> Any:
        order = Order(artifact=plain_artifact(tiny_onnx), folder=tmp_path / "out", settings=settings)
        return SshTarget(address=address, python=python).measure(order, silent)

    return run


def fail(measure: Callable[..., Any], error: type[EdgekitError], message: str, **how: Any) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        measure(**how)


def test_figures_and_outputs_come_back_and_nothing_stays_there(board: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((3, 1, 4)).astype(np.float32)
    samples = write_samples(tmp_path / "rows", ["x"], ((row,) for row in rows))
    measurement, outputs = bench(
        plain_artifact(tiny_onnx),
        SshTarget(address=BOARD, python=sys.executable),
        folder=tmp_path / "work",
        samples=samples,
        settings=SETTINGS,
        progress=silent,
    )
    assert measurement.place == "ssh://board"
    assert measurement.latency.runs == 12
    assert measurement.load_ms is not None
    assert measurement.memory is not None
    assert measurement.engine.startswith("onnxruntime ")
    assert (measurement.artifact.runtime, measurement.artifact.precision) == ("onnx", "fp32")
    assert outputs is not None
    assert outputs.arrays()[0].shape == (3, 3)
    assert measurement.outputs == {"y": 200.0}
    assert measurement.notes == ("Outputs are equal to this machine's over 3 rows.",)
    assert board.left == []


def test_a_port_in_the_address_wins_over_the_configuration(board: Any, measure: Callable[..., Any]) -> None:
    board.write_config(port=1)
    assert measure(address=SshAddress(host="board", user="pi", port=board.port)).latency.runs == 12


def test_a_file_with_an_odd_name_is_measured(board: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    odd = tmp_path / "my $(net); 'x'.onnx"
    odd.write_bytes(tiny_onnx.read_bytes())
    order = Order(artifact=plain_artifact(odd), folder=tmp_path / "out", settings=SETTINGS)
    assert SshTarget(address=BOARD, python=sys.executable).measure(order, silent).latency.runs == 12
    assert board.left == []


def test_a_machine_that_is_not_the_device_is_reported_before_anything_is_copied(board: Any, tiny_onnx: Path) -> None:
    def refuse(machine: str) -> None:
        raise UsageError(f"not {machine}")

    order = Order(artifact=plain_artifact(tiny_onnx), folder=Path("unused"), settings=SETTINGS, accept=refuse)
    with pytest.raises(UsageError, match=f"^not {os.uname().machine}$"):
        SshTarget(address=BOARD, python=sys.executable).measure(order, silent)
    assert board.left == []


def test_without_asyncssh_the_extra_is_named(measure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    fail(
        measure,
        MissingDependencyError,
        "Measuring over SSH needs asyncssh, which is not installed: pip install -e '.[remote]'",
    )


def test_a_host_that_nobody_knows_cannot_be_reached(silent_board: Any, measure: Callable[..., Any]) -> None:
    del silent_board
    with pytest.raises(DeviceError) as caught:
        measure(address=SshAddress(host="no-such-host.invalid", user="pi"))
    # The resolver's own words depend on the machine.
    assert re.fullmatch(
        r"ssh://pi@no-such-host\.invalid cannot be reached: [^.]+\. Check its name, that it is on, and that it runs an "
        r"SSH server: ssh pi@no-such-host\.invalid",
        caught.value.message,
    )


def test_a_closed_port_cannot_be_reached(silent_board: Any, measure: Callable[..., Any]) -> None:
    silent_board.write_config(port=1)
    fail(
        measure,
        DeviceError,
        "ssh://board cannot be reached: connection refused. Check its name, that it is on, and that it runs an SSH "
        "server: ssh board",
    )


def test_an_unknown_host_key_is_not_taken_on_trust(board: Any, measure: Callable[..., Any]) -> None:
    board.forget_host_key()
    fail(
        measure,
        DeviceError,
        "The host key of ssh://board is not among the known ones: Host key is not trusted for host 127.0.0.1. Connect "
        "once by hand, compare the fingerprint and accept it: ssh board",
    )


def test_a_key_that_the_board_does_not_accept_is_reported(board: Any, measure: Callable[..., Any]) -> None:
    board.lock_out()
    fail(
        measure,
        DeviceError,
        "ssh://board refused the login: Permission denied for user pi on host 127.0.0.1. Check the user name, and that "
        "your key is accepted there and loaded here (ssh-copy-id, ssh-add): ssh board",
    )


def test_a_wrong_line_in_the_configuration_is_reported(board: Any, measure: Callable[..., Any]) -> None:
    board.write_config(port=0)
    path = Path(os.environ["HOME"]) / ".ssh" / "config"
    path.write_text("Host board\n  Port many\n")
    with pytest.raises(ConfigError) as caught:
        measure()
    assert caught.value.message.startswith("~/.ssh/config cannot be read: ")
    assert caught.value.message.endswith(". Mend that line.")


def test_a_board_without_sftp_is_shown_what_to_install(silent_board: Any, measure: Callable[..., Any]) -> None:
    silent_board.start("--no-sftp")
    fail(
        measure,
        DeviceError,
        "ssh://board has no SFTP server, which files are copied through. Install it there: "
        "sudo apt install openssh-sftp-server",
    )
    assert silent_board.left == []


def test_a_python_that_is_not_there_is_reported(board: Any, measure: Callable[..., Any]) -> None:
    fail(
        measure,
        DeviceError,
        "ssh://board has no Python called python9. Install it there (sudo apt install python3-venv), or name another "
        "one with --python PATH.",
        python="python9",
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            '[[3, 7], "Linux", "armv7l", ["numpy", "onnxruntime"]]',
            "python3 on ssh://board is Python 3.7; the runner needs 3.9 or newer. Name another one with --python PATH.",
            id="too old",
        ),
        pytest.param(
            '[[3, 11], "Linux", "aarch64", ["onnxruntime"]]',
            f"python3 on ssh://board (Python 3.11, aarch64) has no NumPy. {INSTALL}",
            id="no numpy",
        ),
        pytest.param(
            '[[3, 11], "Linux", "aarch64", []]',
            f"python3 on ssh://board (Python 3.11, aarch64) has no NumPy and no onnxruntime. {INSTALL}",
            id="neither",
        ),
        pytest.param(
            "Python 2 says hello",
            "python3 on ssh://board does not work as a Python 3: it said Python 2 says hello. Name another one with "
            "--python PATH.",
            id="no answer",
        ),
    ],
)
def test_a_python_that_cannot_run_the_artifact_is_reported(
    board: Any, measure: Callable[..., Any], answer: str, message: str
) -> None:
    board.program("python3", f"echo 'a banner'; echo '{answer}'")
    fail(measure, DeviceError, message, python="python3")


def test_core_ml_packages_run_on_macos_only(board: Any, tmp_path: Path) -> None:
    package = tmp_path / "net.mlpackage"
    package.mkdir()
    (package / "Manifest.json").write_text("{}")
    order = Order(artifact=plain_artifact(package), folder=tmp_path / "out", settings=SETTINGS)
    message = "ssh://board runs Linux; Core ML runs on macOS only. Measure on a machine with macOS."
    with pytest.raises(DeviceError, match=f"^{re.escape(message)}$"):
        SshTarget(address=BOARD, python=sys.executable).measure(order, silent)


def test_a_full_disk_is_reported_before_anything_is_copied(board: Any, measure: Callable[..., Any]) -> None:
    board.program(
        "df", "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'; echo '/dev/x 9 9 1000 99% /'"
    )
    fail(
        measure,
        DeviceError,
        f"ssh://board has 1.02 MB free in {board.tmp}; the measurement needs 4 MB. Free some, or point TMPDIR there to "
        "a larger disk.",
    )
    assert board.left == []


def test_a_disk_that_takes_no_folder_is_reported(board: Any, measure: Callable[..., Any]) -> None:
    board.program("mktemp", "echo 'mktemp: No space left on device' >&2; exit 1")
    fail(
        measure,
        DeviceError,
        "No temporary folder can be made on ssh://board: mktemp: No space left on device. Its disk may be full (df -h) "
        "or read-only.",
    )


def test_a_folder_that_takes_no_files_is_reported(board: Any, measure: Callable[..., Any]) -> None:
    board.program("mktemp", "echo /tmp/edgekit-that-nobody-made/x")
    fail(
        measure,
        DeviceError,
        "runner.py cannot be copied to /tmp/edgekit-that-nobody-made/x on ssh://board: No such file or directory. Its "
        "disk may be full (df -h) or read-only.",
    )


def test_outputs_that_vanish_are_reported(board: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    python = fake_python(board, f'{sys.executable} "$@"; code=$?; rm -rf {board.tmp}/edgekit-*/outputs; exit $code')
    rows = write_samples(tmp_path / "rows", ["x"], [(np.ones((1, 4), np.float32),)])
    order = Order(artifact=plain_artifact(tiny_onnx), samples=rows, folder=tmp_path / "out", settings=SETTINGS)
    with pytest.raises(DeviceError) as caught:
        SshTarget(address=BOARD, python=python).measure(order, silent)
    assert re.fullmatch(
        rf"{board.tmp}/edgekit-\w+/outputs on ssh://board cannot be copied back: No such file or directory\.",
        caught.value.message,
    )
    assert board.left == []


def test_a_host_that_does_not_answer_is_reported(
    silent_board: Any, measure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_shell, "CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent_board.write_config(port=mute.getsockname()[1])
        fail(
            measure,
            DeviceError,
            "ssh://board did not answer within 1 s. Check that it is on, and its name: ssh board",
        )


def test_a_key_that_is_damaged_is_reported(board: Any, measure: Callable[..., Any]) -> None:
    (Path(os.environ["HOME"]) / ".ssh" / "broken").write_text("no key")
    board.write_config(port=board.port, key="broken")
    with pytest.raises(ConfigError) as caught:
        measure()
    assert re.fullmatch(
        r"A key for ssh://board cannot be read: [^.]+\. Load it into ssh-agent: ssh-add", caught.value.message
    )


def test_a_runtime_that_has_no_runner_is_refused(board: Any, tiny_onnx: Path) -> None:
    artifact = replace(plain_artifact(tiny_onnx), runtime="other")
    order = Order(artifact=artifact, folder=Path("unused"), settings=SETTINGS)
    message = "other artifacts cannot be run over SSH: accepted are tflite, onnx, executorch, coreml."
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        SshTarget(address=BOARD, python=sys.executable).measure(order, silent)


def test_a_shell_is_used_in_its_with_block() -> None:
    shell = ssh_shell.SshShell(BOARD)
    with pytest.raises(RuntimeError, match=r"^SshShell is used outside of its with block\.$"):
        shell.run("true")
    shell.__exit__(None, None, None)


def fake_python(board: Any, otherwise: str) -> str:
    """A Python whose probe works and whose runner does something else."""
    script = f'if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\n{otherwise}'
    return str(board.program("fakepython", script))


@pytest.mark.parametrize(
    ("otherwise", "how", "log"),
    [
        ("kill -9 $$", "exit code 137 (killed: most likely it ran out of memory)", "  (nothing)"),
        (
            "kill -4 $$",
            "exit code 132 (illegal instruction: the runtime was built for another processor)",
            "  (nothing)",
        ),
        ("echo one; echo two >&2; exit 5", "exit code 5", "  one\n  two"),
    ],
    ids=["out of memory", "another processor", "another failure"],
)
def test_a_run_that_dies_there_is_reported_with_its_log(
    board: Any, measure: Callable[..., Any], otherwise: str, how: str, log: str
) -> None:
    with pytest.raises(EdgekitError) as caught:
        measure(python=fake_python(board, otherwise))
    assert caught.value.message == (
        f"tiny.onnx was not timed: The run of tiny.onnx on ssh://board ended with {how}.\nThe end of its log:\n{log}"
    )
    assert board.left == []


def test_a_runtime_that_is_there_and_does_not_load_is_reported(board: Any, measure: Callable[..., Any]) -> None:
    hidden = board.root / "hidden"
    hidden.mkdir()
    (hidden / "onnxruntime.py").write_text("raise ImportError('libonnx.so: wrong ELF class')")
    python = fake_python(board, f'PYTHONPATH={hidden} exec {sys.executable} "$@"')
    fail(
        measure,
        MissingDependencyError,
        "ssh://board: Running tiny.onnx needs onnxruntime, which cannot be imported: libonnx.so: wrong ELF class. "
        f"{INSTALL}",
        python=python,
    )
    assert board.left == []


def test_a_run_that_takes_too_long_is_ended_there(
    board: Any, measure: Callable[..., Any], are_gone: Callable[[list[int]], bool]
) -> None:
    python = fake_python(board, f"echo $$ > {board.root}/number; exec sleep 100")
    fail(
        measure,
        ResourceError,
        "A command on ssh://board was stopped after 2 s, its time limit. Raise the limit with --timeout, or measure "
        "fewer runs with --runs.",
        python=python,
        settings=RunSettings(timeout_s=2.0),
    )
    assert board.left == []
    assert are_gone([int((board.root / "number").read_text())])


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_an_interruption_ends_the_run_there_and_removes_its_folder(
    board: Any, tiny_onnx: Path, number: signal.Signals, are_gone: Callable[[list[int]], bool]
) -> None:
    python = fake_python(board, f"echo $$ > {board.root}/number; exec sleep 100")
    # Tests that run in the background of a shell ignore Ctrl-C, and what they start would too.
    code = (
        "import signal, sys; from edgekit.__main__ import run; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(run())"
    )
    arguments = ["bench", str(tiny_onnx), "--on", "ssh://board", "--python", python]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL)
    wait_for(board.root / "number")
    time.sleep(0.3)
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    assert board.left == []
    assert are_gone([int((board.root / "number").read_text())])


def test_a_connection_that_breaks_is_reported(board: Any, tiny_onnx: Path) -> None:
    python = fake_python(board, f"echo $$ > {board.root}/number; exec sleep 100")
    command = [sys.executable, "-m", "edgekit", "bench", str(tiny_onnx), "--on", "ssh://board", "--python", python]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
    wait_for(board.root / "number")
    board.stop()
    out, _ = process.communicate(timeout=60)
    os.kill(int((board.root / "number").read_text()), signal.SIGKILL)
    error = json.loads(out)["error"]
    assert (error["type"], error["exit_code"]) == ("DeviceError", 3)
    assert re.fullmatch(
        r"The connection to ssh://board was lost: [^.]+\. Check its network and power, and measure again; a folder "
        r"edgekit-\* may be left in its /tmp\.",
        error["message"],
    )
