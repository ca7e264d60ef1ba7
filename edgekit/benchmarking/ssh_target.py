"""Measures on another machine over SSH: copies the runner, one session file and the artifact, runs, and tidies up."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final, final

from edgekit.artifact import Artifact, artifact_files
from edgekit.benchmarking.device_python import DevicePython, find_python
from edgekit.benchmarking.ssh_shell import SshShell
from edgekit.benchmarking.target import Order, SshAddress, Target, TargetFigures, measured_of
from edgekit.errors import DeviceError
from edgekit.formats.table import session_file
from edgekit.measurements.measurement import OWN_SOURCE
from edgekit.samples import Samples
from edgekit.units import format_bytes
from edgekit.validators.execution import collect_evidence
from edgekit.validators.runner_process import RUNNER, RUNNER_FILES, RunnerCall, RunnerEnd, runner_options
from edgekit.workers.process_folder import temporary_folder
from edgekit.workers.worker import Progress

_SPARE_BYTES: Final = 4_000_000
"""Room for the runner, its records and the log, beside the artifact and the data."""

_DEATHS: Final[Mapping[int, str]] = {
    132: " (illegal instruction: the runtime was built for another processor)",
    134: " (aborted)",
    137: " (killed: most likely it ran out of memory)",
    139: " (segmentation fault)",
}
"""What a shell's exit code says where a signal ended the program."""

_LOG_LINES: Final = 15


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget(Target):
    """A machine with an SSH server, a Python and the artifact's runtime.

    Attributes:
        address: Where it is.
        python: Name or path of its Python.
    """

    address: SshAddress
    python: str = "python3"

    @property
    def words(self) -> str:
        """The address."""
        return str(self.address)

    def measure(self, order: Order, progress: Progress) -> TargetFigures:
        """Runs the artifact there (see `Target.measure`); the folder on the device is removed whatever happens."""
        progress(f"connecting to {self.address}", None)
        with SshShell(self.address) as shell:
            python = find_python(shell, self.words, self.python, order.artifact.runtime)
            order.accept(python.machine)
            with _remote_folder(shell, self.words) as there:
                bench = _RemoteBench(shell=shell, target=self.words, python=python, there=there)
                bench.send(order.artifact, order.samples, progress)
                evidence = collect_evidence(
                    order.artifact,
                    folder=order.folder,
                    evaluation=order.samples,
                    settings=order.settings,
                    progress=progress,
                    run=bench.run,
                )
        return measured_of(evidence, OWN_SOURCE)


@contextmanager
def _remote_folder(shell: SshShell, target: str) -> Generator[PurePosixPath, None, None]:
    """Yields a new folder on the device; ends what still runs there and removes it."""
    made = shell.run('mktemp -d "${TMPDIR:-/tmp}/edgekit-XXXXXXXX"')
    name = made.out.strip().rpartition("\n")[2]
    if made.code != 0 or not name.startswith("/"):
        raise DeviceError(
            f"No temporary folder can be made on {target}: {made.err.strip() or 'mktemp said nothing'}. "
            "Its disk may be full (df -h) or read-only."
        )
    quoted = shlex.quote(name)
    try:
        yield PurePosixPath(name)
    finally:
        # The number of the runner is there only while it runs: Ctrl-C and lost patience leave it behind.
        shell.run(f"[ -f {quoted}/pid ] && kill -9 $(cat {quoted}/pid) 2>/dev/null; rm -rf {quoted}")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _RemoteBench:
    """One artifact's folder on a device.

    Attributes:
        shell: A shell there.
        target: The device, for messages.
        python: Its Python.
        there: The folder.
    """

    shell: SshShell
    target: str
    python: DevicePython
    there: PurePosixPath

    def send(self, artifact: Artifact, samples: Samples | None, progress: Progress) -> None:
        """Copies everything that a run needs.

        Raises:
            DeviceError: there is no room for it.
        """
        data = sum(file.stat().st_size for file in samples.folder.iterdir()) if samples else 0
        # Outputs are seldom larger than inputs; where they are, the run itself says that the disk is full.
        self._check_room(artifact.size_bytes + 2 * data + _SPARE_BYTES)
        progress(f"copying {format_bytes(artifact.size_bytes + data)} to {self.target}", None)
        for file in (*RUNNER_FILES, session_file(artifact.runtime)):
            self.shell.put(file, self.there / file.name)
        self.shell.put(artifact.path, self._artifact(artifact.path))
        for name, file in artifact_files(artifact.path) if artifact.path.is_file() else ():
            if name:
                self.shell.put(file, self.there / name)
        if samples is not None:
            self.shell.put(samples.folder, self.there / "samples")

    def run(self, call: RunnerCall, progress: Progress) -> RunnerEnd:
        """Runs the runner once there: a `RunnerTarget`."""
        progress(f"{self.target}: measuring {', '.join(call.modes) or 'nothing'}", None)
        record = self.there / "record.json"
        remote = replace(
            call,
            artifact=self._artifact(call.artifact),
            samples=self.there / "samples" if call.samples else None,
            output=self.there / "outputs",
        )
        session = self.there / session_file(call.runtime).name
        options = [*runner_options(remote, record, session), *self._expected(call)]
        script = " ".join([self.python.command, str(self.there / RUNNER.name), *map(shlex.quote, options)])
        threads = f"OMP_NUM_THREADS={call.settings.threads} TF_CPP_MIN_LOG_LEVEL=2"
        log, pid = self.there / "log.txt", self.there / "pid"
        done = self.shell.run(
            f"rm -f {record}; {threads} {script} >{log} 2>&1 & echo $! >{pid}; wait $!; code=$?; rm -f {pid}; "
            f"tail -n {_LOG_LINES} {log}; [ -f {record} ] && printf '\\n%s' {_MARK} && cat {record}; exit $code",
            timeout_s=call.settings.timeout_s,
        )
        log_text, _, found = done.out.partition(_MARK)
        end = self._end(call, done.code, log_text.strip(), json.loads(found) if found else {})
        if "outputs" in call.modes and "rows" in end.record and call.output is not None:
            self.shell.get(self.there / "outputs", Path(call.output))
        return end

    def _end(self, call: RunnerCall, code: int, log: str, record: Mapping[str, Any]) -> RunnerEnd:
        error = record.get("error")
        if error:
            message = error["message"]
            if error["kind"] == "MissingDependencyError":
                # The runner speaks of this checkout; the device has none.
                said = message.partition(" Install it")[0]
                message = f"{self.target}: {said} Install it there:\n  {self.python.install}"
            return RunnerEnd(record=record, failure=message, kind=error["kind"])
        if code == 0:
            return RunnerEnd(record=record)
        how = f"ended with exit code {code}{_DEATHS.get(code, '')}"
        shown = "\n".join(f"  {line}" for line in log.splitlines()) or "  (nothing)"
        failure = f"The run of {call.artifact.name} on {self.target} {how}.\nThe end of its log:\n{shown}"
        return RunnerEnd(record=record, failure=failure)

    def _artifact(self, path: PurePath) -> PurePosixPath:
        plain = _PLAIN.fullmatch(path.name) is not None
        return self.there / (path.name if plain else f"artifact{path.suffix.lower()}")

    def _expected(self, call: RunnerCall) -> list[str]:
        """Returns the option that names inputs and outputs in the float model's order, and copies its file."""
        if not call.expected:
            return []
        target = self.there / "expected.json"
        with temporary_folder("expected") as folder:
            path = folder / target.name
            path.write_text(json.dumps(call.expected))
            self.shell.put(path, target)
        return ["--expected", str(target)]

    def _check_room(self, needed: int) -> None:
        done = self.shell.run(f"df -Pk {self.there}")
        columns = done.out.strip().rpartition("\n")[2].split()
        # A df of another form tells nothing; copying will say it then.
        free = int(columns[3]) * 1024 if len(columns) >= 4 and columns[3].isdigit() else None
        if free is not None and free < needed:
            raise DeviceError(
                f"{self.target} has {format_bytes(free)} free in {self.there.parent}; the measurement needs "
                f"{format_bytes(needed)}. Free some, or point TMPDIR there to a larger disk."
            )


_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names that no shell and no file system reads in another way."""

_MARK: Final = "edgekit-record-follows:"
"""Parts the log from the record on the command's output."""
