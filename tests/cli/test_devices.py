"""`edgekit devices`: the list and one device, for people and as JSON."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from edgekit.cli.app import main
from edgekit.profiles.profile import list_profiles, shipped_files, shipped_folder

BOARD = """\
schema = 1
title = "My [red]Board"
kind = "other"
runtimes = ["onnx"]
[hardware]
cpu = "2 x Cortex-A35"
features = []
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a terminal that says nothing about itself."""
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def add_board(folder: Path, text: str = BOARD, name: str = "my-board") -> Path:
    path = folder / "device_profiles" / f"{name}.toml"
    path.parent.mkdir()
    path.write_text(text)
    return path


@pytest.mark.parametrize("arguments", [["devices"], ["devices", "list"]], ids=" ".join)
def test_the_list_fits_80_columns_and_has_no_colours_on_a_pipe(
    arguments: list[str], capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    shown = [line.split()[0] for line in out.splitlines() if line]
    profiles = {profile.name: profile for profile in list_profiles(folder)}
    listed = [profiles[name] for name in shown if name in profiles]
    assert sorted(profile.name for profile in listed) == sorted(profiles)
    kinds = [kind for kind, _ in itertools.groupby(profile.kind for profile in listed)]
    assert kinds[:4] == ["phone", "watch", "raspberry_pi", "jetson"]
    assert len(kinds) == len(set(kinds)), "devices of a kind stand together"


def test_a_row_shows_title_first_runtime_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    main(["devices"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("pi4 "))
    assert " ".join(row.split()) == "pi4 Raspberry Pi 4 Model B (4 GB) tflite 20 MB 150 MB 50 ms"


def test_the_list_as_json_has_every_profile(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert main(["devices", "list", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert list(data)[:2] == ["schema_version", "command"]
    assert (data["schema_version"], data["command"], data["faults"]) == (1, "devices", [])
    assert [profile["name"] for profile in data["profiles"]] == [profile.name for profile in list_profiles(folder)]


def test_one_device_is_shown_with_everything_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "show", "Raspberry Pi 4"]) == 0
    out = capsys.readouterr().out
    squeezed = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "Raspberry Pi 4 Model B (4 GB) (pi4)",
        "CPU 4 x Cortex-A72 1.8 GHz",
        "CPU features neon",
        "runtimes tflite, onnx, executorch (in order of preference)",
        "also called rpi4, raspberry pi 4, raspberry pi 4b, pi 4b",
        "size at most 20 MB fails the gate profile",
        "latency at most 50 ms fails the gate profile",
        "accuracy drop at most 1.00 pp fails the gate profile",
        f"file: {shipped_folder() / 'pi4.toml'}",
        "For a device of your own, copy it to ./device_profiles/NAME.toml and change it.",
    ):
        assert line in squeezed
    assert "\x1b" not in out
    assert any(line.startswith("hardware.cpu: https://") for line in squeezed)


def test_export_options_are_shown_as_they_stand_in_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    main(["devices", "show", "jetson-nano"])
    out = " ".join(capsys.readouterr().out.split())
    assert "onnx export symmetric_activations = true" in out


def test_one_device_as_json_has_figures_in_base_units(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "show", "pi4", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    profile = data.pop("profile")
    assert data == {"schema_version": 1, "command": "devices"}
    assert profile["hardware"]["cpu"] == [{"cores": 4, "core": "Cortex-A72", "clock_ghz": 1.8}]
    assert profile["hardware"]["ram_bytes"] == 4_000_000_000
    assert profile["budget"][0] == {
        "name": "size",
        "limit": 20_000_000,
        "unit": "bytes",
        "level": "error",
        "limit_from": "profile",
    }
    assert profile["sources"]["hardware.cpu"].startswith("https://")
    assert profile["shipped"] is True


def test_the_users_own_profile_is_marked_and_its_brackets_are_no_markup(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = add_board(folder)
    assert main(["devices"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "my-board * My [red]Board onnx - - -" in lines
    assert f"* my-board is yours: {path}" in lines
    assert main(["devices", "show", "my-board"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "My [red]Board (my-board)"
    assert "CPU features none" in lines
    assert "none" in lines


def test_a_profile_in_place_of_ours_is_said_to_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = add_board(folder, name="pi4")
    main(["devices"])
    assert f"* pi4 is yours, in place of edgekit's own: {path}" in capsys.readouterr().out.splitlines()
    main(["devices", "show", "pi4"])
    assert "Yours, in place of edgekit's own." in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
def test_a_wrong_profile_is_reported_beside_the_list_and_exits_2(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    path = add_board(folder, BOARD.replace("schema = 1", "schema = 3"))
    assert main(["devices", "list", *flags]) == 2
    out, err = capsys.readouterr()
    message = (
        f"{path} has 1 fault:\n  schema: 3 was given; expected 1, the only schema that this edgekit reads\n"
        f"Compare with a profile that works: {shipped_folder() / 'pi4.toml'}"
    )
    assert err == message + "\n"
    if flags:
        data = json.loads(out)
        assert (len(data["profiles"]), data["faults"]) == (len(shipped_files()), [message])
    else:
        assert "pi4" in out


def test_an_unknown_device_exits_2_with_the_nearest_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "show", "pi44"]) == 2
    assert capsys.readouterr().err == (
        'edgekit: No device is called "pi44". Did you mean pi4? See them all with: edgekit devices\n'
        "For a device of your own, give the path of a profile, or put it into ./device_profiles/.\n"
    )


def test_a_flag_before_the_form_is_refused_and_not_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--no-color", "list"]) == 2
    assert capsys.readouterr().err == (
        "edgekit: --json and --no-color go behind the form: edgekit devices list --json\n"
    )
