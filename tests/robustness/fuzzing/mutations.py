"""Mutations of small valid files: bytes, and the fields of protobuf, zip, JSON, TOML and text."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

Mutation = Callable[[random.Random, bytes], bytes]

INTEGERS = (0, 1, 2, 127, 128, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, -1, -2)
"""Where counters and lengths turn over."""

TEXTS = (
    "",
    " ",
    "x",
    "..",
    "../x",
    "/dev/zero",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "a\nb",
    "::error::x",
    "<b>",
    "\ud83d",
    "ä" * 40,
    "9" * 5000,
    "NaN",
    "x" * 70_000,
    "%s%n",
    "{0}",
    "C:\\x",
    "null",
    "tflite",
    "int8",
    "1e999",
    "true",
)


# ---- bytes


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) * rng.choice((1, 2, 4, 8)) + data[start + 8 :]


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def cut_out(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 2, 4, 16, 64, 500)) :]


def copy_within(rng: random.Random, data: bytes) -> bytes:
    if not data:
        return b"\x00"
    start, to = rng.randrange(len(data)), rng.randrange(len(data))
    block = data[start : start + rng.choice((1, 4, 16, 64, 300))]
    return data[:to] + block + data[to + (len(block) if rng.random() < 0.5 else 0) :]


def insert_noise(rng: random.Random, data: bytes) -> bytes:
    to = rng.randrange(len(data) + 1)
    return data[:to] + rng.randbytes(rng.choice((1, 4, 16, 200))) + data[to:]


def set_integer(rng: random.Random, data: bytes) -> bytes:
    """Puts an integer of 1 to 8 bytes where one may lie: lengths and offsets of flatbuffers, zips and images do."""
    width, code = rng.choice(((1, "B"), (2, "H"), (4, "I"), (4, "I"), (4, "I"), (8, "Q")))
    if len(data) < width:
        return data + b"\x00"
    place = rng.randrange(0, len(data) - width + 1)
    place -= place % width if rng.random() < 0.8 else 0
    old = struct.unpack_from(f"<{code}", data, place)[0]
    value = rng.choice((*INTEGERS, old + 1, old - 1, old * 2, len(data), len(data) - place)) % (1 << 8 * width)
    return data[:place] + struct.pack(f"<{code}", value) + data[place + width :]


def replace_all(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(
        (b"", b"\x00", b"\n", b"{}", b"[]", b"null", b"PK\x05\x06" + bytes(18), rng.randbytes(400), data * 2)
    )


BYTES: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    set_bytes,
    cut,
    cut_out,
    copy_within,
    insert_noise,
    set_integer,
    set_integer,
    set_integer,
    replace_all,
)


# ---- protobuf: fields as on the wire, whatever the schema


def _varint(value: int) -> bytes:
    value %= 1 << 64
    out = bytearray()
    while True:
        out.append(value & 127 | (128 if value > 127 else 0))
        value >>= 7
        if not value:
            return bytes(out)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("no varint")


def read_fields(data: bytes) -> list[tuple[int, int, Any]]:
    """Returns (number, wire type, value) of each field; raises ValueError or IndexError where it is no message."""
    place, found = 0, []
    while place < len(data):
        key, place = _read_varint(data, place)
        number, kind = key >> 3, key & 7
        if not number:
            raise ValueError("no field")
        if kind == 0:
            value, place = _read_varint(data, place)
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value, place = data[place : place + width], place + width
        elif kind == 2:
            length, place = _read_varint(data, place)
            value, place = data[place : place + length], place + length
        else:
            raise ValueError("no wire type")
        if place > len(data):
            raise ValueError("cut off")
        found.append((number, kind, value))
    return found


def write_fields(fields: list[tuple[int, int, Any]]) -> bytes:
    parts = []
    for number, kind, value in fields:
        parts.append(_varint(number << 3 | kind))
        parts.append(_varint(value) if kind == 0 else _varint(len(value)) + value if kind == 2 else value)
    return b"".join(parts)


def change_protobuf(rng: random.Random, data: bytes) -> bytes:
    """Changes one field, on any level: lengths around it stay right, so that readers get to it."""
    try:
        fields = read_fields(data)
    except (ValueError, IndexError):
        fields = []
    if not fields:
        return rng.choice(BYTES)(rng, data)
    at = rng.randrange(len(fields))
    number, kind, value = fields[at]
    if kind == 2 and len(value) > 1 and rng.random() < 0.75:
        fields[at] = (number, kind, change_protobuf(rng, value))
        return write_fields(fields)
    choice = rng.randrange(9)
    if choice == 0:
        del fields[at]
    elif choice == 1:
        fields.insert(rng.randrange(len(fields) + 1), fields[at])
    elif choice == 2:
        fields[at] = (rng.choice((number + 1, max(1, number - 1), 1, 2, 3, 4, 5, 13)), kind, value)
    elif choice == 3:
        other = rng.choice(fields)
        fields[at] = (number, other[1], other[2])
    elif choice == 4 and kind == 2:
        nested = b""
        for _ in range(rng.choice((3, 99, 101, 5000))):
            nested = _varint(number << 3 | 2) + _varint(len(nested)) + nested
        fields[at] = (number, 2, nested)
    elif choice == 5 and kind == 2:
        return write_fields(fields[:at]) + _varint(number << 3 | 2) + _varint(rng.choice(INTEGERS)) + value
    elif choice == 6:
        fields[at] = (number, 2, rng.choice(TEXTS).encode("utf-8", "surrogatepass"))
    elif kind == 0:
        fields[at] = (number, 0, rng.choice((*INTEGERS, value + 1, value - 1)))
    else:
        fields[at] = (number, kind, rng.choice(BYTES)(rng, value)[: None if kind == 2 else len(value)])
        if kind != 2:
            fields[at] = (number, kind, fields[at][2].ljust(len(value), b"\xff"))
    return write_fields(fields)


# ---- JSON


class _Doubled(dict):
    """An object whose first key is written twice."""


def _dump(value: Any) -> str:
    if isinstance(value, dict):
        pairs = [f"{json.dumps(str(key))}: {_dump(item)}" for key, item in value.items()]
        if isinstance(value, _Doubled) and pairs:
            pairs.append(pairs[0])
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    return value.text if isinstance(value, _Literal) else json.dumps(value)


class _Literal:
    """A piece of JSON text that `json.dumps` would not write."""

    def __init__(self, text: str) -> None:
        self.text = text


def _odd_value(rng: random.Random) -> Any:
    return rng.choice(
        (
            None,
            True,
            False,
            0,
            -1,
            1,
            0.5,
            -0.0,
            1e308,
            -1e308,
            2**63,
            -(2**63),
            2**70,
            1e-320,
            [],
            {},
            [[]],
            [None],
            {"": None},
            *map(
                _Literal,
                (
                    "NaN",
                    "-Infinity",
                    "1e999",
                    "-1e999",
                    "9" * 5000,
                    "[" * 5000 + "]" * 5000,
                    '{"a":' * 3000 + "1" + "}" * 3000,
                    '"\\ud83d"',
                    "01",
                    "'x'",
                ),
            ),
            *TEXTS,
        )
    )


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        one = pending.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            found.append((one, key))
            pending.append(one[key])
    return found


def change_json(rng: random.Random, data: bytes) -> bytes:
    try:
        value = json.loads(data)
    except ValueError:
        return rng.choice(BYTES)(rng, data)
    if rng.random() < 0.03:
        return _dump(_odd_value(rng)).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = _places(value)
        if not places:
            break
        owner, key = rng.choice(places)
        choice = rng.randrange(8)
        if choice < 4:
            owner[key] = _odd_value(rng)
        elif choice == 4:
            del owner[key]
        elif choice == 5:
            other = rng.choice(places)
            owner[key] = json.loads(json.dumps(other[0][other[1]], default=str))
        elif choice == 6 and isinstance(owner, dict):
            owner[rng.choice(TEXTS)[:80]] = owner.pop(key)
        elif choice == 7 and isinstance(owner, dict):
            owner[key] = _Doubled(owner[key]) if isinstance(owner[key], dict) else owner[key]
        elif isinstance(owner, list):
            owner.append(owner[key])
    return _dump(value).encode("utf-8", "surrogatepass")


# ---- TOML and text


_TOML_VALUES = (
    '""',
    '"x"',
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "true",
    "[]",
    "{}",
    "[[1], 2]",
    "1979-05-27",
    "07:32:00",
    "0x" + "f" * 40,
    "9" * 5000,
    "[" * 3000 + "]" * 3000,
    '"""\nmany\n"""',
    "'\\u0000'",
    '"\\u0000"',
    '"\\u001b[31m"',
    '"../../etc/passwd"',
    '"/dev/zero"',
    '"x:y"',
    '"x.py:"',
    '"1e999 MB"',
    '"-5 MB"',
    '"0 ms"',
    '"nan ms"',
    '"5 parsecs"',
    '"' + "x" * 70_000 + '"',
    "{a = {b = {c = 1}}}",
    '["a", "a"]',
    '[1, "a"]',
    '"tflite"',
    '"int8"',
    "2",
    '"top1"',
)


def change_toml(rng: random.Random, data: bytes) -> bytes:
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        choice = rng.randrange(9)
        key, equals, _ = lines[at].partition("=")
        if choice < 4 and equals:
            lines[at] = f"{key}= {rng.choice(_TOML_VALUES)}"
        elif choice == 4:
            del lines[at]
            lines = lines or [""]
        elif choice == 5:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        elif choice == 6:
            words = (
                "[x]",
                "[[devices]]",
                "[a.b.c]",
                "x = 1",
                "[budget]",
                "[model]",
                "]",
                "=",
                "[" + "a." * 3000 + "a]",
                '"" = 1',
            )
            lines.insert(at, rng.choice(words))
        elif choice == 7 and equals:
            lines[at] = (
                f"{rng.choice(('x', 'source', chr(34) * 2, 'budget.size', 'a.b.c'))} ={lines[at].partition('=')[2]}"
            )
        else:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def change_text(rng: random.Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    numbers = [at for at, letter in enumerate(text) if letter.isdigit()]
    if numbers and rng.random() < 0.6:
        at = rng.choice(numbers)
        piece = rng.choice(("", "-", "1e999", "nan", "9" * 400, ".", ",", "x", "0"))
        return (text[:at] + piece + text[at + 1 :]).encode()
    at = rng.randrange(len(text) + 1)
    return (text[:at] + rng.choice(TEXTS) + text[at:]).encode("utf-8", "surrogatepass")


# ---- zip


def change_zip(rng: random.Random, data: bytes) -> bytes:
    """Changes a member, its name or what the archive says about it; checksums stay right, so that readers get to it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        members = []
    if not members:
        return rng.choice(BYTES)(rng, data)
    at = rng.randrange(len(members))
    info, content = members[at]
    names = {one.filename: one for one, _ in members}
    choice = rng.randrange(10)
    if choice < 6:
        members[at] = (info, change_content(rng, info.filename, content))
    elif choice == 6:
        del members[at]
    elif choice == 7:
        info.filename = rng.choice(
            ("../x", "/x", "x" * 300, info.filename.upper(), info.filename + "/", "a\\b", "\x1b[31m", *names)
        )
    elif choice == 8:
        members.append((info, rng.choice(BYTES)(rng, content)))
    else:
        members[at] = (info, bytes(rng.choice((1 << 10, 1 << 24))))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for one, inside in members:
            plain = zipfile.ZipInfo(one.filename, (1980, 1, 1, 0, 0, 0))
            plain.compress_type = zipfile.ZIP_DEFLATED if len(inside) > 1 << 20 else one.compress_type
            archive.writestr(plain, inside)
    return made.getvalue()


def change_content(rng: random.Random, name: str, data: bytes) -> bytes:
    """Changes a file by what its name says that it is."""
    suffix = name.rpartition(".")[2].lower()
    known: dict[str, Mutation] = {
        "json": change_json,
        "lock": change_json,
        "toml": change_toml,
        "zip": change_zip,
        "keras": change_zip,
        "npz": change_zip,
        "pt2": change_zip,
        "pt": change_zip,
        "onnx": change_protobuf,
        "pb": change_protobuf,
        "mlmodel": change_protobuf,
        "csv": change_text,
        "txt": change_text,
    }
    if suffix in known and rng.random() < 0.75:
        return known[suffix](rng, data)
    return rng.choice(BYTES)(rng, data)
