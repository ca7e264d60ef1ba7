"""`edgekit doctor`: what is installed, which formats work, and the exit code."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit import registry
from edgekit.cli.app import main
from edgekit.errors import PluginError
from edgekit.formats.format import Format, Runtime
from edgekit.workers import installation
from edgekit.workers.installation import ALTERNATIVES, FormatState, Package, known_packages

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of its own, and a terminal that says nothing about itself."""
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "EDGEKIT_SHARED"):
        monkeypatch.delenv(name, raising=False)


def install(monkeypatch: pytest.MonkeyPatch, packages: tuple[Package, ...], *states: FormatState) -> None:
    """Makes the doctor see these packages and formats."""
    monkeypatch.setattr("edgekit.cli.doctor.find_packages", lambda: packages)
    monkeypatch.setattr("edgekit.cli.doctor.find_formats", lambda _packages: states)


def package(name: str = "onnxruntime", extra: str = "onnx", **changes: Any) -> Package:
    return Package(name=name, module=name, extra=extra, purpose="ONNX runtime", **changes)


def state(*, export: tuple[str, ...] = (), validate: tuple[str, ...] = ()) -> FormatState:
    return FormatState(
        name="onnx",
        extra="onnx",
        install="pip install -e '.[onnx]'",
        export_obstacles=export,
        validate_obstacles=validate,
    )


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_machine_where_one_format_works_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, (package(version="1.23.0"), package("onnx")), state())
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    lines = squeezed(out)
    assert "\x1b" not in out
    assert lines[0].startswith("edgekit ")
    assert any(line.startswith(f"Python {sys.version.split()[0]} ") for line in lines)
    assert "onnxruntime 1.23.0 ONNX runtime" in lines
    assert "onnx missing: pip install -e '.[onnx]' ONNX runtime" in lines
    assert "onnx yes yes" in lines
    assert "EDGEKIT_SHARED not set: benchmarks look for their data in ../shared" in lines


def test_a_machine_where_nothing_works_exits_3_and_says_how_to_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, (), state(export=("onnx is missing",)))
    assert main(["doctor"]) == 3
    lines = squeezed(capsys.readouterr().out)
    assert "onnx no: onnx is missing yes pip install -e '.[onnx]'" in lines
    assert lines[-1] == "No format can be exported and validated here. Start with: pip install -e '.[tflite]'"


def test_json_has_all_of_it_and_nothing_else_is_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install(monkeypatch, (package(version="1.23.0"),), state(validate=("onnxruntime is missing",)))
    monkeypatch.setenv("EDGEKIT_SHARED", str(tmp_path))
    assert main(["doctor", "--json"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert list(data)[:2] == ["schema_version", "command"]
    assert (data["schema_version"], data["command"], data["passed"], data["deep"]) == (1, "doctor", False, False)
    assert data["packages"] == [
        {
            "name": "onnxruntime",
            "module": "onnxruntime",
            "extra": "onnx",
            "purpose": "ONNX runtime",
            "version": "1.23.0",
            "failure": "",
            "import_s": None,
            "install": "pip install -e '.[onnx]'",
        }
    ]
    assert data["formats"][0]["validate_obstacles"] == ["onnxruntime is missing"]
    assert data["formats"][0]["works"] is False
    assert data["machine"]["cache"] == str(tmp_path / "cache")
    assert data["machine"]["memory_bytes"] >= data["machine"]["memory_free_bytes"] > 0
    assert (data["machine"]["shared"], data["machine"]["shared_exists"]) == (str(tmp_path), True)


def test_the_cache_is_weighed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install(monkeypatch, (), state())
    (tmp_path / "cache" / "plan" / "key").mkdir(parents=True)
    (tmp_path / "cache" / "plan" / "key" / "a").write_bytes(b"x" * 5000)
    main(["doctor"])
    assert f"cache {tmp_path / 'cache'}: 5 kB" in squeezed(capsys.readouterr().out)


def test_a_shared_folder_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, (), state())
    monkeypatch.setenv("EDGEKIT_SHARED", "/nowhere")
    main(["doctor"])
    assert "EDGEKIT_SHARED /nowhere: no such folder" in squeezed(capsys.readouterr().out)


def test_deep_imports_each_package_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "broken_package.py").write_text(
        "print('loading')\nimport ctypes\nraise OSError('libbroken.so: not found')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    install(
        monkeypatch,
        (package("colorsys", version="1"), package("broken_package", version="2"), package("absent")),
        state(),
    )
    assert main(["doctor", "--deep"]) == 0
    out, err = capsys.readouterr()
    lines = squeezed(out)
    assert err.splitlines() == ["importing colorsys", "importing broken_package"]
    assert any(line.startswith("colorsys 1, imports in 0.") for line in lines)
    assert "broken_package 2, does not import ONNX runtime" in lines
    assert "absent missing: pip install -e '.[onnx]' ONNX runtime" in lines
    assert "The import of broken_package failed with OSError: libbroken.so: not found" in lines
    assert "broken_package" not in sys.modules


def own_format(name: str, **changes: Any) -> Format:
    runtime = Runtime(title="Own", modules=("onnxruntime",), install="onnxruntime", module_title="onnxruntime")
    return Format(
        name=name,
        title="Own",
        suffix=".own",
        converter="own:Converter",
        **{"session": "own.session", "runtime": runtime, "extra": "onnx", **changes},
    )


def formats(monkeypatch: pytest.MonkeyPatch, *made: Format) -> None:
    monkeypatch.setattr(registry, "format_names", lambda: tuple(one.name for one in made))
    monkeypatch.setattr(installation, "find_format", {one.name: one for one in made}.__getitem__)


def test_a_package_that_does_not_import_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {"no_such_module": "onnxscript", "onnx": "onnx", "onnxruntime": "onnxruntime"}
    formats(monkeypatch, own_format("onnx", needs=needs))
    broken = (replace(package(version="1"), failure="it crashed"),)
    assert installation.find_formats(broken) == (
        state(
            export=("onnxscript is missing", "onnxruntime does not import"),
            validate=("onnxruntime does not import",),
        ),
    )


def test_a_format_without_any_runtime_installed_says_which_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(title="Own", modules=("no_such_one", "no_such_two"), install="", module_title="")
    formats(monkeypatch, own_format("onnx", runtime=runtime), own_format("own", session=""))
    found = installation.find_formats(())
    assert found[0].validate_obstacles == ("no_such_one or no_such_two is missing",)
    assert found[1].validate_obstacles == ("edgekit has no runtime for it",)


def test_a_plug_in_that_does_not_load_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "The format cannot be loaded."

    def find(_name: str) -> Format:
        raise PluginError(reason)

    monkeypatch.setattr(registry, "format_names", lambda: ("vendor",))
    monkeypatch.setattr(installation, "find_format", find)
    (found,) = installation.find_formats(())
    assert found.export_obstacles == found.validate_obstacles == (reason,)
    assert not found.works


def test_the_doctor_says_how_to_install_what_a_third_party_s_format_needs() -> None:
    assert own_format("own", extra="", needs={"own": "own-tools"}).install == "pip install own-tools onnxruntime"
    assert own_format("own", extra="own").install == "pip install -e '.[own]'"


UNASKED = ("all", "docs", "test")
"""Extras that bring others together, or serve those who work on edgekit itself."""


def test_every_requirement_of_every_extra_is_known_to_the_doctor() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in UNASKED}
    named = {
        line.split("==")[0].split(">=")[0].split(";")[0].strip()
        for line in (*project["dependencies"], *(line for lines in extras.values() for line in lines))
    }
    known = {package.name for package in known_packages()}
    others = {other for name in known for other in ALTERNATIVES.get(name, ())}
    assert named - {"tomli", "pillow"} <= known | others
    assert {package.extra for package in known_packages()} - {""} <= set(extras)


def test_this_machine_gets_a_verdict_on_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert tuple(state["name"] for state in data["formats"]) == registry.format_names()
    assert data["passed"] is any(state["works"] for state in data["formats"])
    assert code == (0 if data["passed"] else 3)


@pytest.mark.parametrize("name", [package.name for package in known_packages() if package.extra == ""])
def test_versions_come_from_metadata(name: str) -> None:
    found = {package.name: package for package in installation.find_packages()}
    assert found[name].version
    assert found[name].works
