"""The outputs in the pages of the commands: those that need no framework are run here, the others by `--check`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def outputs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("command_outputs", ROOT / "scripts" / "command_outputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_show_what_the_cheap_commands_print(outputs: ModuleType) -> None:
    assert outputs.stale(outputs.CHEAP) == []


def test_every_output_is_in_one_page_and_is_filled(outputs: ModuleType) -> None:
    shown = [pair for page in outputs.PAGES.glob("*.md") for pair in outputs.blocks_of(page).items()]
    assert sorted(command for command, _ in shown) == sorted(outputs.COMMANDS)
    for command, text in shown:
        assert text.startswith(f"```text\n$ {command}\n"), command
        assert text.count("\n") > 5, command


def test_a_changed_output_is_stale_and_so_is_one_that_no_page_has(outputs: ModuleType, monkeypatch, tmp_path) -> None:
    command = "edgekit --help"
    monkeypatch.setattr(outputs, "PAGES", tmp_path)
    assert outputs.stale((command,)) == [command]
    block = outputs.outputs_of((command,))[command]
    page = tmp_path / "index.md"
    page.write_text(f"<!-- output: {command} -->\n{block}<!-- /output -->\n")
    assert outputs.stale((command,)) == []
    page.write_text(page.read_text().replace("List device profiles", "List profiles"))
    assert outputs.stale((command,)) == [command]


def test_memory_of_a_machine_is_not_compared_and_sizes_are(outputs: ModuleType) -> None:
    command = "edgekit gate out --device pi4"
    one = "ok  size         19.9 kB  measured\nok  peak memory  11.7 MB  measured\n"
    assert outputs.comparable(command, one) == outputs.comparable(command, one.replace("11.7 MB", "9.25 MB"))
    assert outputs.comparable(command, one) != outputs.comparable(command, one.replace("19.9 kB", "19.8 kB"))


def test_the_readme_shows_lines_of_the_plan_that_the_page_shows(outputs: ModuleType) -> None:
    command = "edgekit plan --device pi4"
    text = (ROOT / "README.md").read_text()
    shown = text[text.index("```\nModel ") + 4 :].partition("```")[0].splitlines()
    rest = iter(outputs.blocks_of(outputs.PAGES / "plan.md")[command].splitlines())
    lines = [line for line in shown if line.strip() not in ("...", "")]
    assert len(lines) > 15
    assert [line for line in lines if line not in rest] == [], "not in the page's output, or in another order"
