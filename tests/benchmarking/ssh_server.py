"""An SSH server on loopback for tests: runs commands with sh, serves files. Run as a script: FOLDER [--no-sftp].

FOLDER holds `host_key` and `authorized_keys`; the port is written to `port`. Commands start in FOLDER/home.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncssh


async def run_command(process: asyncssh.SSHServerProcess) -> None:
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        process.command or "",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=FOLDER / "home",
    )
    out, err = await child.communicate()
    process.stdout.write(out.decode(errors="replace"))
    process.stderr.write(err.decode(errors="replace"))
    process.exit(child.returncode or 0)


async def serve() -> None:
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[str(FOLDER / "host_key")],
        authorized_client_keys=str(FOLDER / "authorized_keys"),
        process_factory=run_command,
        sftp_factory="--no-sftp" not in sys.argv,
    )
    partial = FOLDER / "port.partial"
    partial.write_text(str(server.get_port()))
    partial.rename(FOLDER / "port")
    await asyncio.Event().wait()  # until the tests end this process


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    asyncio.run(serve())
