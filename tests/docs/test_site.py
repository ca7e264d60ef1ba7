"""The documentation holds what the code has: options, devices, techniques, keys, and no command that does not exist."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from edgekit import registry
from edgekit.budget import COSTS
from edgekit.cli.app import COMMANDS
from edgekit.profiles.profile import shipped_folder
from edgekit.task.task_file import TaskFile
from edgekit.techniques.base import technique as find_technique
from edgekit.units import format_value

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site_pages = load(ROOT / "scripts" / "site_pages.py")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_that_names_its_options(name: str) -> None:
    page = site_pages.with_options((DOCS / "commands" / f"{name}.md").read_text(), name)
    assert re.match(rf"# .*\b{name}\b", page)
    for command in site_pages.commands_of(name).values():
        for option in command.params:
            names = option.opts if option.param_type_name == "option" else [option.name]
            assert all(f"`{typed}`" in page for typed in names if typed != "help")


def test_the_site_has_the_commands_in_an_order_of_its_own_that_names_each_once() -> None:
    assert sorted(site_pages.DAY) == sorted([*COMMANDS, "index"])
    there = {page.relative_to(DOCS).parts[0] for page in PAGES}
    assert there == set(site_pages.ORDER), "ORDER of scripts/site_pages.py and docs/ differ"


def test_a_command_is_never_called_a_verb() -> None:
    for page in [ROOT / "README.md", *PAGES]:
        text = page.read_text().replace("| command | verb |", "")
        assert re.search(r"\bverbs?\b", text, re.IGNORECASE) is None, page


def test_a_table_of_options_goes_where_the_page_wants_it() -> None:
    text = f"# init\n\n{site_pages.OPTIONS_HERE}\n\nthe end\n"
    assert site_pages.with_options(text, "init").endswith("\n\nthe end\n")
    assert "## Options\n\n| option |" in site_pages.with_options("# init\n", "init")
    assert "| `--force` | Replace files that are there. |  |" in site_pages.options_of("init")
    assert "### baseline set\n" in site_pages.options_of("baseline")


def test_every_device_has_a_page_with_its_facts_and_limits() -> None:
    pages = site_pages.device_pages()
    assert sorted(pages) == sorted(path.stem for path in shipped_folder().glob("*.toml"))
    overview = site_pages.device_list()
    for profile in site_pages.profiles():
        page = pages[profile.name]
        assert page.startswith(f"# {profile.title}\n")
        for text in (*profile.facts.values(), *profile.runtimes, *profile.sources):
            assert text in page, (profile.name, text)
        for limit in profile.budget.limits:
            assert re.search(rf"^{limit.name}\b", page, re.MULTILINE), (profile.name, limit.name)
        size = profile.budget.get("size")
        assert size is not None
        assert f"| [`{profile.name}`]({profile.name}.md) | {profile.title} |" in overview
        assert format_value(size.value, COSTS["size"].unit) in overview


def test_every_technique_has_a_page_with_its_settings_and_its_source() -> None:
    for name in registry.TECHNIQUES:
        page = (DOCS / "techniques" / f"{name}.md").read_text()
        assert re.search(r"\b(19|20)\d\d\b", page), f"{name}: no paper with its year"
        for setting in dataclasses.fields(find_technique(name)):
            assert f"`{setting.name}`" in page, (name, setting.name)


@pytest.mark.parametrize("runtime", registry.FORMATS)
def test_every_format_has_a_page(runtime: str) -> None:
    assert (DOCS / "formats" / f"{runtime}.md").is_file()


def keys(model: Any, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{field.alias or name}"


def test_every_key_of_a_task_file_is_explained() -> None:
    text = (DOCS / "task-file.md").read_text()
    for key in keys(TaskFile):
        assert f"`{key}" in text, key
    for table in ("model", "data"):
        for key in keys(TaskFile.model_fields[table].annotation, f"{table}."):
            assert f"`{key}`" in text, key


def commands(page: Path) -> Iterator[list[str]]:
    """Yields each edgekit command of the page's code blocks, fenced or indented, as a shell would split it."""
    text = page.read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```[a-z]*\n(.*?)^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in [*blocks, *re.findall(r"^ {4}(?:[^\n]*\\\n)*[^\n]*$", rest, re.MULTILINE)]:
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:- run: |\$ )?(?:python -m )?edgekit (?!\d+\.)(.*)", line.strip())
            if found:
                words = shlex.split(found[1], comments=True)
                cut = [i for i, word in enumerate(words) if word in ("||", "&&", "|", ";")]
                yield words[: cut[0]] if cut else words


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_in_a_page_has_options_that_exist(page: Path) -> None:
    for words in commands(page):
        first = words[0]
        if first == "--help":
            continue
        known = site_pages.commands_of(first)
        command = known.get(first) or known.get(" ".join(words[:2])) or next(iter(known.values()))
        names = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= names, (first, used - names)


def test_there_are_commands_to_check() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 40


def test_thirty_pains_each_have_a_thread_and_an_answer() -> None:
    text = (DOCS / "pains.md").read_text()
    entries = re.split(r"^## \d+\. ", text, flags=re.MULTILINE)[1:]
    assert [int(number) for number in re.findall(r"^## (\d+)\. ", text, re.MULTILINE)] == list(range(1, 31))
    states = [re.findall(r"^\*\*(Answered|Partly|Not)\.\*\* ", entry, re.MULTILINE) for entry in entries]
    assert all(len(found) == 1 for found in states)
    assert all("](https://github.com/" in entry for entry in entries)
    counts = [sum(found == [state] for found in states) for state in ("Answered", "Partly", "Not")]
    assert f"Counted: {counts[0]} answered, {counts[1]} partly, {counts[2]} not." in text


@pytest.mark.parametrize("name", site_pages.SCHEMAS)
def test_each_file_has_a_json_schema_in_the_site(name: str) -> None:
    schema = json.loads(site_pages.schema_of(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]
    assert f"(schemas/{name}.json)" in (DOCS / "records.md").read_text()


def test_the_schemas_take_what_an_export_writes_and_refuse_what_is_wrong(tmp_path: Path) -> None:
    from edgekit.checks import judge
    from edgekit.errors import ConversionError
    from edgekit.exporting.format_result import FormatResult
    from edgekit.exporting.record_files import write_report
    from edgekit.exporting.report import ExportReport
    from edgekit.recipe import Recipe

    result = FormatResult(
        runtime="onnx", recipe=Recipe(), checks=(judge("size", 1.0, None),), error=ConversionError("no kernel")
    )
    write_report(ExportReport(command="export", device="pi4", model=None, results=(result,), folder=tmp_path))
    schema = json.loads(site_pages.schema_of("report"))
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, schema)
    jsonschema.validate(json.loads((tmp_path / "edgekit.lock").read_text()), json.loads(site_pages.schema_of("lock")))
    report["checks"][0]["level"] = "info"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, schema)
