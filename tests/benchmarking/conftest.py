import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory) -> Path:
    """A tiny ONNX file, built in a process of its own."""
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    built = subprocess.run(
        [sys.executable, str(HERE / "build_onnx.py"), str(path)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-2000:]
    return path


class Board:
    """An SSH server on loopback that plays a board, and a home folder here that knows it as `board`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import asyncssh

        self.root = root
        self.tmp = root / "tmp"
        self.bin = root / "bin"
        self.home = root / "home"
        self._server: subprocess.Popen[bytes] | None = None
        for folder in (self.tmp, self.bin, self.home, root / "here" / ".ssh"):
            folder.mkdir(parents=True)
        self._ssh = root / "here" / ".ssh"
        host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        host.write_private_key(root / "host_key")
        user.write_private_key(self._ssh / "id_board")
        user.write_public_key(root / "authorized_keys")
        self._host = host.export_public_key().decode().strip()
        monkeypatch.setenv("HOME", str(root / "here"))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def start(self, *flags: str) -> None:
        """Starts the server and writes ~/.ssh/config and ~/.ssh/known_hosts."""
        environment = {**os.environ, "TMPDIR": str(self.tmp), "PATH": f"{self.bin}:{os.environ['PATH']}"}
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "ssh_server.py"), str(self.root), *flags], env=environment
        )
        end = time.monotonic() + 60
        while not (self.root / "port").exists():
            assert time.monotonic() < end
            assert self._server.poll() is None
            time.sleep(0.05)
        self.port = int((self.root / "port").read_text())
        self.write_config(port=self.port)
        (self._ssh / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {self._host}\n")

    def write_config(self, *, port: int, key: str = "id_board") -> None:
        (self._ssh / "config").write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User pi\n  IdentityFile {self._ssh / key}\n"
        )

    def forget_host_key(self) -> None:
        (self._ssh / "known_hosts").write_text("")

    def lock_out(self) -> None:
        """Takes the user's key off the board."""
        import asyncssh

        asyncssh.generate_private_key("ssh-ed25519").write_public_key(self.root / "authorized_keys")

    def program(self, name: str, script: str) -> Path:
        """Puts a program on the board's PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def stop(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    @property
    def left(self) -> list[str]:
        """What edgekit left in the board's temporary folder."""
        return sorted(path.name for path in self.tmp.glob("edgekit-*"))


@pytest.fixture
def board(tmp_path, monkeypatch):
    made = Board(tmp_path / "board", monkeypatch)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def silent_board(tmp_path, monkeypatch):
    """A board whose server has not been started."""
    made = Board(tmp_path / "board", monkeypatch)
    yield made
    made.stop()
