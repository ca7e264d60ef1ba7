"""Formats by name: edgekit's own, third parties' by two entry point groups, and what a broken one costs."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from edgekit import registry
from edgekit.artifact import runtime_of
from edgekit.errors import ArtifactError, PluginError
from edgekit.formats import table
from edgekit.formats.format import Format, Runtime
from edgekit.formats.table import all_formats, find_format, known_format, resource_folder, session_file

RUNTIME = Runtime(title="Own", modules=(), install="own", module_title="own")
OWN = Format(name="own", title="Own", suffix=".own", converter="own:C", session="own_plugin", runtime=RUNTIME)


class OldConverter:
    runtime, suffix, needs = "old", ".old", {"no_such_module": "old-tools"}


@pytest.fixture
def plugin(monkeypatch):
    """Registers entry points by group: {"edgekit.formats": {"own": value}}, values lying in a module `own_plugin`."""
    module = ModuleType("own_plugin")
    monkeypatch.setitem(sys.modules, "own_plugin", module)

    def register(**groups):
        names = {"formats": "edgekit.formats", "converters": "edgekit.converters"}
        points = {}
        for group, values in groups.items():
            points[names[group]] = {name: f"own_plugin:{group}_{name}" for name in values}
            for name, value in values.items():
                setattr(module, f"{group}_{name}", value)
        monkeypatch.setattr(registry, "_joined", lambda group: points.get(group, {}))
        table._loaded.cache_clear()

    yield register
    table._loaded.cache_clear()


def test_a_third_party_s_format_stands_behind_edgekit_s_own(plugin, tmp_path):
    plugin(formats={"own": OWN})
    assert registry.format_names() == ("tflite", "onnx", "executorch", "coreml", "own")
    assert find_format("own") is OWN
    assert all_formats()[-1] is OWN
    (tmp_path / "a.own").touch()
    assert runtime_of(tmp_path / "a.own") == "own"


def test_edgekit_s_own_cannot_be_replaced(plugin):
    plugin(formats={"onnx": replace(OWN, name="onnx")})
    assert find_format("onnx").suffix == ".onnx"


def test_the_old_group_goes_on_working_with_a_warning(plugin):
    plugin(converters={"old": OldConverter})
    message = (
        'The entry point group edgekit.converters is deprecated and brings "old" without a runtime: name an '
        "edgekit.formats.format.Format in the group edgekit.formats."
    )
    with pytest.warns(DeprecationWarning, match=f"^{re.escape(message)}$"):
        found = find_format("old")
    assert (found.suffix, found.converter, found.missing()) == (".old", "own_plugin:converters_old", ("old-tools",))
    with pytest.raises(PluginError) as raised:
        session_file("old")
    assert raised.value.message == (
        "old artifacts cannot be run: it brings no runner session. Mend or uninstall the distribution that brings the "
        "format."
    )


def test_a_descriptor_wins_over_a_converter_of_the_same_name(plugin):
    plugin(formats={"own": OWN}, converters={"own": OldConverter})
    assert find_format("own") is OWN


@pytest.mark.parametrize(
    ("value", "came"),
    [(OldConverter, "a type"), (replace(OWN, name="other"), 'the format "other"')],
    ids=["no format", "another name"],
)
def test_what_is_no_descriptor_is_refused_and_the_others_go_on(plugin, value, came):
    plugin(formats={"own": value})
    with pytest.raises(PluginError) as raised:
        find_format("own")
    assert raised.value.message == (
        'The entry point "own" of edgekit.formats must name an edgekit.formats.format.Format called "own"; '
        f"own_plugin:formats_own is {came}. Mend the distribution that brings it."
    )
    assert [one.name for one in all_formats()] == ["tflite", "onnx", "executorch", "coreml"]


def test_a_plug_in_that_does_not_load_is_named(monkeypatch):
    monkeypatch.setattr(registry, "_joined", lambda group: {"own": "no_such_plugin:FORMAT"})
    with pytest.raises(PluginError) as raised:
        find_format("own")
    assert raised.value.message == (
        'The format "own" cannot be loaded from no_such_plugin:FORMAT: ModuleNotFoundError: No module named '
        "'no_such_plugin'. Mend or uninstall the distribution that brings it."
    )


def test_a_session_that_is_not_there_is_named(plugin):
    plugin(formats={"own": replace(OWN, session="no_such_session")})
    with pytest.raises(PluginError) as raised:
        session_file("own")
    assert raised.value.message == (
        "own artifacts cannot be run: its session no_such_session is not there. Mend or uninstall the distribution "
        "that brings the format."
    )


def test_a_format_that_nobody_knows_is_none_for_those_who_read_reports():
    assert known_format("tensorrt") is None


@pytest.mark.parametrize("name", registry.FORMATS)
def test_every_part_that_a_descriptor_of_ours_names_is_there(name):
    found = find_format(name)
    assert session_file(name).name == f"{name}_session.py"
    if found.accelerators:
        assert list(resource_folder(found.accelerators).glob("*.toml"))
    if found.snippets:
        templates = {path.name for path in resource_folder(found.snippets.templates).glob("*.jinja")}
        assert {f"{name}.{language}.jinja" for language in found.snippets.words} <= templates


def test_a_suffix_that_no_runtime_loads_is_reported_with_all_that_are(plugin, tmp_path):
    plugin(formats={"own": OWN})
    path = Path(tmp_path / "a.zip")
    path.touch()
    with pytest.raises(ArtifactError) as raised:
        runtime_of(path)
    assert raised.value.message == (
        f'{path}: no runtime loads files that end in ".zip"; expected one of .tflite, .onnx, .pte, .mlpackage, '
        ".mlmodel, .own."
    )
