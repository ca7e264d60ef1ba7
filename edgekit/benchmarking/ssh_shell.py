"""A shell on another machine over SSH: commands, files, and errors that say what to do.

asyncssh is used instead of the ssh program: it reads the user's `~/.ssh/config` (aliases, keys, jump hosts), known
hosts and agent, and it tells an unknown host key from a refused login, which an exit code of 255 does not. It is used
step by step from synchronous code: a Ctrl-C leaves a loop that can still remove what lies on the other machine.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from edgekit.benchmarking.target import SshAddress
from edgekit.errors import ConfigError, DeviceError, EdgekitError, MissingDependencyError, ResourceError

if TYPE_CHECKING:
    import asyncssh

_T = TypeVar("_T")

CONNECT_SECONDS: Final = 20.0
_KEEPALIVE_SECONDS: Final = 10.0
_SHORT_COMMAND_SECONDS: Final = 60.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that has ended: its exit code (negative where a signal ended it) and what it wrote."""

    code: int
    out: str
    err: str


@final
class SshShell:
    """A connection. Use it as a context manager.

    Args:
        address: Where to.

    Raises:
        MissingDependencyError: asyncssh is not installed.
    """

    def __init__(self, address: SshAddress) -> None:
        try:
            import asyncssh
        except ImportError as error:
            raise MissingDependencyError(
                "Measuring over SSH needs asyncssh, which is not installed: pip install -e '.[remote]'"
            ) from error
        self._library = asyncssh
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._files: asyncssh.SFTPClient | None = None

    def __enter__(self) -> SshShell:
        try:
            self._connection = self._loop.run_until_complete(self._connect())
        except BaseException:
            self._loop.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._loop.run_until_complete(self._settle())
        self._loop.close()

    def run(self, command: str, *, timeout_s: float = _SHORT_COMMAND_SECONDS) -> Finished:
        """Runs a command line of the POSIX shell there; the user's own shell may be another one.

        Raises:
            DeviceError: the connection was lost.
            ResourceError: it took longer than `timeout_s`.
        """
        try:
            done = self._wait(self._connected.run(f"sh -c {shlex.quote(command)}", timeout=timeout_s, errors="replace"))
        except self._library.TimeoutError as error:
            raise ResourceError(
                f"A command on {self._address} was stopped after {timeout_s:.0f} s, its time limit. "
                "Raise the limit with --timeout, or measure fewer runs with --runs."
            ) from error
        except self._library.ChannelOpenError as error:
            raise self._lost(_reason(error)) from error
        if done.returncode is None:
            # Neither an exit code nor a signal: the other end went away before the command ended.
            raise self._lost("it closed while a command ran")
        return Finished(code=done.returncode, out=str(done.stdout or ""), err=str(done.stderr or ""))

    def put(self, path: Path, target: PurePosixPath) -> None:
        """Copies a file or a folder to the other machine.

        Raises:
            DeviceError: it cannot be written there, or the connection was lost.
        """
        try:
            self._wait(self._sftp().put(str(path), str(target), recurse=path.is_dir()))
        except (self._library.SFTPConnectionLost, self._library.SFTPNoConnection) as error:
            raise self._lost(_reason(error)) from error
        except self._library.SFTPError as error:
            raise DeviceError(
                f"{path.name} cannot be copied to {target.parent} on {self._address}: {_reason(error)}. "
                "Its disk may be full (df -h) or read-only."
            ) from error

    def get(self, source: PurePosixPath, path: Path) -> None:
        """Copies a folder from the other machine into `path`, which is made.

        Raises:
            DeviceError: it cannot be read there, or the connection was lost.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._wait(self._sftp().get(str(source), str(path), recurse=True))
        except (self._library.SFTPConnectionLost, self._library.SFTPNoConnection) as error:
            raise self._lost(_reason(error)) from error
        except self._library.SFTPError as error:
            raise DeviceError(f"{source} on {self._address} cannot be copied back: {_reason(error)}.") from error

    @property
    def _connected(self) -> asyncssh.SSHClientConnection:
        if self._connection is None:
            raise RuntimeError("SshShell is used outside of its with block.")
        return self._connection

    def _sftp(self) -> asyncssh.SFTPClient:
        if self._files is None:
            try:
                self._files = self._wait(self._open_files())
            except (self._library.SFTPError, self._library.ChannelOpenError) as error:
                raise DeviceError(
                    f"{self._address} has no SFTP server, which files are copied through. Install it there: "
                    "sudo apt install openssh-sftp-server"
                ) from error
        return self._files

    async def _open_files(self) -> asyncssh.SFTPClient:
        return await self._connected.start_sftp_client()

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Runs one step to its end; a connection that breaks meanwhile becomes a DeviceError."""
        try:
            return self._loop.run_until_complete(work)
        except (self._library.DisconnectError, ConnectionError) as error:
            raise self._lost(_reason(error)) from error

    def _lost(self, reason: str) -> DeviceError:
        return DeviceError(
            f"The connection to {self._address} was lost: {reason}. Check its network and power, and measure again; "
            "a folder edgekit-* may be left in its /tmp."
        )

    async def _settle(self) -> None:
        """Ends what a Ctrl-C left unfinished in the loop."""
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _connect(self) -> asyncssh.SSHClientConnection:
        address = self._address
        named: dict[str, Any] = {"username": address.user, "port": address.port}
        try:
            return await self._library.connect(
                address.host,
                connect_timeout=CONNECT_SECONDS,
                keepalive_interval=_KEEPALIVE_SECONDS,
                **{key: value for key, value in named.items() if value is not None},
            )
        except (self._library.Error, self._library.ConfigParseError, self._library.KeyImportError, OSError) as error:
            raise self._why(error) from error

    def _why(self, error: Exception) -> EdgekitError:
        """Returns what kept the connection from being made, and what to do."""
        address, library = self._address, self._library
        by_hand = f"ssh {address.ssh_arguments}"
        if isinstance(error, library.ConfigParseError):
            return ConfigError(f"~/.ssh/config cannot be read: {_reason(error)}. Mend that line.")
        if isinstance(error, library.KeyImportError):
            return ConfigError(f"A key for {address} cannot be read: {_reason(error)}. Load it into ssh-agent: ssh-add")
        if isinstance(error, library.HostKeyNotVerifiable):
            return DeviceError(
                f"The host key of {address} is not among the known ones: {_reason(error)}. Connect once by hand, "
                f"compare the fingerprint and accept it: {by_hand}"
            )
        if isinstance(error, library.PermissionDenied):
            return DeviceError(
                f"{address} refused the login: {_reason(error)}. Check the user name, and that your key is accepted "
                f"there and loaded here (ssh-copy-id, ssh-add): {by_hand}"
            )
        if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
            return DeviceError(
                f"{address} did not answer within {CONNECT_SECONDS:.0f} s. Check that it is on, and its name: {by_hand}"
            )
        return DeviceError(
            f"{address} cannot be reached: {_reason(error)}. Check its name, that it is on, and that it runs an SSH "
            f"server: {by_hand}"
        )


def _reason(error: Exception) -> str:
    """Returns what an exception says, without a full stop at its end."""
    text = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        text = "connection refused"  # asyncio's own words name the address once more
    return str(text).strip().rstrip(".")
