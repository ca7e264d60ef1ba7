"""Reading with a bound: what is no file, too large, too deep or no text is one message."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, InputError
from edgekit.files.bounded_reading import parse_json, read_bytes, read_json, read_text, read_toml


def message_of(function, *args, **settings) -> str:
    with pytest.raises(ConfigError) as caught:
        function(*args, ConfigError, **settings)
    return caught.value.message


def test_a_fifo_is_no_file_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert message_of(read_bytes, tmp_path / "pipe") == f"{tmp_path / 'pipe'} is a FIFO; expected a file."


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
def test_a_device_is_no_file() -> None:
    assert message_of(read_text, Path("/dev/zero")) == "/dev/zero is a device; expected a file."


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert message_of(read_json, tmp_path) == f"{tmp_path} is a folder; expected a file."


def test_a_name_that_no_file_can_have_is_reported() -> None:
    assert message_of(read_text, Path("a\0b")) == "a\0b cannot be read: embedded null byte."


@pytest.mark.parametrize(("size", "fits"), [(1 << 20, True), ((1 << 20) + 1, False)], ids=["on the limit", "above"])
def test_a_file_is_read_up_to_the_limit(tmp_path: Path, size: int, fits: bool) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(size))
    if fits:
        assert len(read_bytes(path, limit_bytes=1 << 20)) == size
    else:
        assert message_of(read_bytes, path, limit_bytes=1 << 20) == (
            f"{path} has more than 1 MiB; expected a smaller file."
        )


def test_what_is_not_there_is_the_callers_to_tell(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")


def test_bytes_that_are_no_text_are_reported_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc\xff")
    assert message_of(read_text, tmp_path / "x") == (
        f"{tmp_path / 'x'} is not text: the byte at position 3 is not UTF-8. Save it as UTF-8."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 200_000, "it is nested too deep"),
        ("1" * 5_000, "a number has too many digits"),
        ("NaN", "NaN is no number in JSON"),
        ("-Infinity", "-Infinity is no number in JSON"),
        ('{"a": -1e999}', "-1e999 is larger than any number that a computer holds"),
        ('{"a": 1, "a": 2}', 'the key "a" stands there twice'),
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ('{"a": ["\\ud83d"]}', "a text holds half of a character, '\\ud83d'"),
    ],
    ids=["deep", "long number", "NaN", "infinity", "too large", "twice", "nothing", "half a character"],
)
def test_what_is_no_json_is_reported(text: str, reason: str) -> None:
    if reason.endswith("digits") and not hasattr(sys, "get_int_max_str_digits"):
        pytest.skip("this Python reads numbers of any length")
    assert message_of(parse_json, text, "x.json") == f"x.json is not valid JSON: {reason}."


def test_json_of_bytes_that_are_no_text_is_reported() -> None:
    with pytest.raises(InputError, match=r"^x is not valid JSON: 'utf-8' codec can't decode byte 0xff .*\.$"):
        parse_json(b"\xff", "x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = " + "[" * 200_000, "it is nested too deep."),
        ("a = " + "1" * 5_000, "a number has too many digits. Mend that place."),
    ],
    ids=["deep", "long number"],
)
def test_what_is_no_toml_is_reported(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    assert message_of(read_toml, tmp_path / "x.toml") == f"{tmp_path / 'x.toml'} is not valid TOML: {reason}"
