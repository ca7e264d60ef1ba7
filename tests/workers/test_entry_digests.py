"""Every change of a folder's files is found, whatever its size and time say."""

from __future__ import annotations

import os

import pytest

from edgekit.workers.entry_digests import DIGESTS_NAME, find_damage, write_digests


@pytest.fixture
def entry(tmp_path):
    folder = tmp_path / "entry"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_bytes(bytes(3_000_000))
    (folder / "model.json").write_text("{}")
    write_digests(folder)
    assert find_damage(folder) is None
    return folder


def test_a_flipped_bit_is_found_though_size_and_time_are_the_same(entry):
    path = entry / "model" / "weights"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[2_999_999] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find_damage(entry) == "model/weights has changed"


@pytest.mark.parametrize(
    ("harm", "damage"),
    [
        (lambda e: (e / "model.json").unlink(), "model.json is missing"),
        (lambda e: (e / "model.json").write_text(""), "model.json has changed"),
        (lambda e: (e / "more").write_text(""), "more does not belong there"),
        (lambda e: (e / DIGESTS_NAME).unlink(), "its list of digests cannot be read"),
        (lambda e: (e / DIGESTS_NAME).write_text("[]"), "its list of digests cannot be read"),
        (lambda e: (e / DIGESTS_NAME).write_text('{"files": {"a": 1}}'), "its list of digests cannot be read"),
        (lambda e: (e / DIGESTS_NAME).write_text("[" * 10**5), "its list of digests cannot be read"),
    ],
    ids=["missing", "cut", "more", "no list", "other JSON", "other list", "nesting"],
)
def test_damage_is_said_in_words(entry, harm, damage):
    harm(entry)
    assert find_damage(entry) == damage


def test_a_link_is_damage(entry):
    (entry / "model.json").unlink()
    (entry / "model.json").symlink_to(entry / "model" / "weights")
    assert find_damage(entry) == f"{entry / 'model.json'} cannot be read: neither a file nor a folder"


def test_an_empty_folder_is_damaged(tmp_path):
    assert find_damage(tmp_path) == "its list of digests cannot be read"
