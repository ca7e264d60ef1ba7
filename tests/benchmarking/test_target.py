"""How `--on` names a place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.benchmarking.target import AdbAddress, SshAddress, parse_address
from edgekit.errors import UsageError

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


@given(
    host=NAMES | st.sampled_from(["10.0.0.7", "fe80::1", "pi.local"]),
    user=st.none() | NAMES,
    port=st.none() | st.integers(1, 65535),
)
def test_an_address_is_read_as_it_is_written(host: str, user: str | None, port: int | None) -> None:
    address = SshAddress(host=host, user=user, port=port)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://board/", SshAddress(host="board")),
        ("ssh://pi@[fe80::1%eth0]:22", SshAddress(host="fe80::1%eth0", user="pi", port=22)),
        ("adb", AdbAddress()),
        ("adb:emulator-5554", AdbAddress(serial="emulator-5554")),
        ("adb:192.168.1.5:5555", AdbAddress(serial="192.168.1.5:5555")),
    ],
    ids=["slash", "ipv6", "adb", "serial", "network"],
)
def test_other_forms(text: str, address: object) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (SshAddress(host="board"), "board"),
        (SshAddress(host="board", user="pi"), "pi@board"),
        (SshAddress(host="board", user="pi", port=2222), "-p 2222 pi@board"),
    ],
    ids=["host", "user", "port"],
)
def test_an_address_says_how_to_get_there_by_hand(address: SshAddress, words: str) -> None:
    assert address.ssh_arguments == words


def refuse(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        parse_address(text)


@pytest.mark.parametrize("text", ["pi@board", "ssh://", "http://board", "ssh://board/tmp", "", "ssh://a b"])
def test_what_is_no_place_is_refused(text: str) -> None:
    refuse(
        text,
        f'--on "{text}" is no place: expected ssh://HOST, ssh://USER@HOST:PORT, adb or adb:SERIAL. Without --on, '
        "edgekit measures on this machine.",
    )


def test_a_password_is_refused_and_not_repeated() -> None:
    refuse(
        "ssh://pi:raspberry@board",
        "--on ssh://pi:...@board: a password in the command line can be read by everybody on this machine. Use a key "
        "(ssh-copy-id) or ssh-agent.",
    )


@pytest.mark.parametrize("port", ["0", "65536"])
def test_a_port_that_cannot_be_is_refused(port: str) -> None:
    refuse(f"ssh://board:{port}", f'--on "ssh://board:{port}" has the port {port}; expected 1 to 65535.')
