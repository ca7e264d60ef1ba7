"""Plug-ins of third parties beside edgekit's own, and what a broken one costs."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from edgekit import registry
from edgekit.errors import PluginError
from edgekit.formats.format import Format, Runtime
from edgekit.formats.table import _loaded as loaded_formats
from edgekit.metrics import table as metrics
from edgekit.metrics.metric import Metric
from edgekit.plugins import load_plugin
from edgekit.profiles.profile import find_profile, list_profiles, shipped_files
from edgekit.simulation.realisation import realisation_of, why_not_simulated
from edgekit.sources import table as sources
from edgekit.sources.onnx_file import OnnxFileSource

BOARD = """\
schema = 1
title = "Own Board"
kind = "other"
runtimes = ["onnx"]
[hardware]
cpu = "2 x Cortex-A35 1.2 GHz"
features = ["neon"]
"""


@pytest.fixture
def register(monkeypatch):
    """Registers entry points: `register("edgekit.metrics", own=value)`, values lying in a module `own_plugin`."""
    module = ModuleType("own_plugin")
    monkeypatch.setitem(sys.modules, "own_plugin", module)
    points = {}

    def clear():
        for kept in (loaded_formats, metrics._loaded, sources._loaded, sources._by_suffix):
            kept.cache_clear()

    def add(group, **values):
        for name, value in values.items():
            setattr(module, name, value)
        points[group] = {
            name: value if isinstance(value, str) else f"own_plugin:{name}" for name, value in values.items()
        }
        clear()

    monkeypatch.setattr(registry, "_joined", lambda group: points.get(group, {}))
    yield add
    clear()


class OwnMetric(Metric):
    name = "own"

    def check(self, data):
        pass

    def measure(self, data):
        raise NotImplementedError


class OwnSource(sources.Source):
    kind, extra, needs, suffixes = "own", "", {}, (".own",)

    def why_not(self, target):
        return None

    def read(self, request, folder, progress):
        raise NotImplementedError


def test_a_third_party_s_metric_stands_behind_edgekit_s_own(register):
    register("edgekit.metrics", own=OwnMetric, top1=OwnMetric)
    assert registry.metric_names() == (*registry.METRICS, "own")
    assert isinstance(metrics.find_metric("own"), OwnMetric)
    assert metrics.find_metric("top1").name == "top1"


def test_what_is_no_metric_is_refused(register):
    register("edgekit.metrics", own=OwnSource)
    with pytest.raises(PluginError) as caught:
        metrics.find_metric("own")
    assert caught.value.message == (
        'The entry point "own" of edgekit.metrics must name a subclass of edgekit.metrics.metric.Metric called "own"; '
        "own_plugin:own is not one. Mend the distribution that brings it."
    )


def test_a_third_party_s_source_is_known_by_its_suffix(register, tmp_path):
    register("edgekit.sources", own=OwnSource)
    (tmp_path / "net.own").write_bytes(b"x")
    assert sources.classify("net.own", tmp_path) == "own"
    assert tuple(registry.source_targets())[-1] == "own"


def test_a_third_party_s_source_takes_no_suffix_of_edgekit_s(register, tmp_path):
    register("edgekit.sources", own=type("Greedy", (OwnSource,), {"suffixes": (".onnx",)}))
    (tmp_path / "net.onnx").write_bytes(b"x")
    assert sources.classify("net.onnx", tmp_path) == "onnx"


def test_what_is_no_source_is_refused_and_the_others_go_on(register, tmp_path):
    register("edgekit.sources", own=OwnMetric)
    with pytest.raises(PluginError) as caught:
        sources.source("own")
    assert caught.value.message == (
        'The entry point "own" of edgekit.sources must name a subclass of edgekit.sources.base.Source of kind "own"; '
        "own_plugin:own is not one. Mend the distribution that brings it."
    )
    (tmp_path / "net.onnx").write_bytes(b"x")
    assert isinstance(sources.source(sources.classify("net.onnx", tmp_path)), OnnxFileSource)


def test_a_third_party_s_devices_are_found_by_name_and_title(register, monkeypatch, tmp_path):
    package = tmp_path / "own_devices"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "own-board.toml").write_text(BOARD)
    (package / "pi4.toml").write_text(BOARD)
    monkeypatch.syspath_prepend(str(tmp_path))
    register("edgekit.devices", own="own_devices")
    assert find_profile("own-board", tmp_path).shipped
    assert find_profile("Own Board", tmp_path).name == "own-board"
    assert "own-board" in {profile.name for profile in list_profiles(tmp_path)}
    assert shipped_files()["pi4"].parent != package, "edgekit's own cannot be replaced by a distribution"


def test_a_package_of_devices_that_is_not_there_is_named(register):
    register("edgekit.devices", own="no_such_package.devices")
    with pytest.raises(PluginError) as caught:
        shipped_files()
    assert caught.value.message == (
        'The entry point "own" of edgekit.devices must name a package of TOML files; there is no package '
        "no_such_package.devices. Mend or uninstall the distribution that brings it."
    )


def test_a_format_that_does_not_say_how_it_rounds_is_not_simulated(register):
    runtime = Runtime(title="Own", modules=(), install="own", module_title="own")
    own = Format(name="own", title="Own", suffix=".own", converter="own:C", session="own", runtime=runtime)
    register("edgekit.formats", own=own)
    assert why_not_simulated("own", "pt2") == "edgekit does not know how own rounds, so it cannot be simulated"
    with pytest.raises(LookupError, match=r"^edgekit does not know how own rounds, so it cannot be simulated$"):
        realisation_of("own")


def test_what_cannot_be_loaded_is_named_with_what_python_said():
    with pytest.raises(PluginError) as caught:
        load_plugin("metric", "own", "json:no_such_name")
    assert caught.value.message == (
        "The metric \"own\" cannot be loaded from json:no_such_name: AttributeError: module 'json' has no attribute "
        "'no_such_name'. Mend or uninstall the distribution that brings it."
    )


def test_no_one_knows_a_format_by_that_name():
    with pytest.raises(KeyError, match=r"^'tensorrt'$"):
        registry.format_target("tensorrt")
