"""Which code a result depends on: found from imports, equal to what the compiler sees; plug-ins' code counts."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgekit
from edgekit import registry
from edgekit.workers import code_digest as module
from edgekit.workers.code_digest import code_digest, imports_of, module_file, plugin_digest, reachable_modules

ROOT = Path(edgekit.__file__).parent
MODULES = sorted(
    ".".join(("edgekit", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for folder in (ROOT, *(ROOT / name for name in ("converters", "validators", "device_profiles")))
    for path in (ROOT / folder.name if folder != ROOT else ROOT).rglob("*.py")
)


@pytest.fixture
def forget() -> Iterator[None]:
    """Digests are kept for the life of a process; here files change under it."""
    for cached in (module._digest_of, imports_of, module_file, plugin_digest):
        cached.cache_clear()
    yield
    for cached in (module._digest_of, imports_of, module_file, plugin_digest):
        cached.cache_clear()


def compiled_imports(name: str) -> set[str]:
    """Returns the modules of edgekit that a module imports, as the compiler finds them."""
    tree = ast.parse(module_file(name).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {one for item in found if item.split(".")[0] == "edgekit" and (one := module._existing(item))}


@pytest.mark.parametrize("name", MODULES)
def test_no_import_is_missed(name: str) -> None:
    assert compiled_imports(name) <= imports_of(name)


@pytest.mark.parametrize(
    ("start", "reached"),
    [
        ("edgekit.pipeline.convert", "edgekit.converters.base"),
        ("edgekit.pipeline.capture", "edgekit.sources.capture"),
        ("edgekit.formats.tflite_format", "edgekit.converters.to_tflite"),
        ("edgekit.simulation.jobs", "edgekit.metrics.agreement"),
        ("edgekit.simulation.jobs", "edgekit.workers"),
    ],
    ids=["module", "function", "target", "metric", "parent"],
)
def test_imports_of_every_form_are_followed(start: str, reached: str) -> None:
    assert reached in reachable_modules(start)


@pytest.mark.parametrize("start", ["edgekit.pipeline.convert", "edgekit.pipeline.capture", "edgekit.simulation.jobs"])
def test_a_stage_does_not_reach_what_it_cannot_run(start: str) -> None:
    reached = reachable_modules(start)
    assert not [name for name in reached if name.startswith(("edgekit.html_report", "edgekit.cli", "edgekit.gating"))]


def test_plug_ins_of_the_tables_count_only_where_they_are_named() -> None:
    assert not [name for name in reachable_modules("edgekit.pipeline.convert") if ".to_tflite" in name]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None) -> Path:
    """A tiny edgekit: a imports b inside a function; c stands alone; p is a package with a script."""
    files = {
        "__init__.py": "", "a.py": "def f():\n    from edgekit import (\n        b,  # why\n    )\n", "b.py": "B = 1\n",
        "c.py": "", "p/__init__.py": "", "p/script.py": "import edgekit.b\n", "p/rules.toml": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "workers" / "code_digest.py"))
    return tmp_path


@pytest.mark.parametrize(
    ("start", "changed", "differs"),
    [
        ("edgekit.a", "a.py", True),
        ("edgekit.a", "b.py", True),
        ("edgekit.a", "c.py", False),
        ("edgekit.a", "p/script.py", False),
        ("edgekit.p", "p/script.py", True),
        ("edgekit.p", "p/rules.toml", True),
        ("edgekit.p", "b.py", True),
    ],
)
def test_the_digest_changes_with_reachable_code_only(checkout: Path, start: str, changed: str, differs: bool) -> None:
    before = code_digest(start)
    module._digest_of.cache_clear()
    with (checkout / changed).open("a") as stream:
        stream.write("\n# another line\n")
    assert (code_digest(start) != before) is differs


def test_a_third_party_s_metric_counts_where_metrics_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None
) -> None:
    (tmp_path / "own_metric.py").write_text("A = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    stages = ("edgekit.simulation.jobs", "edgekit.pipeline.convert")
    before = [code_digest(stage) for stage in stages]
    monkeypatch.setattr(
        registry, "_joined", lambda group: {"own": "own_metric:M"} if group == "edgekit.metrics" else {}
    )
    module._digest_of.cache_clear()
    joined = [code_digest(stage) for stage in stages]
    (tmp_path / "own_metric.py").write_text("A = 2")
    module._digest_of.cache_clear()
    plugin_digest.cache_clear()
    edited = [code_digest(stage) for stage in stages]
    assert len({before[0], joined[0], edited[0]}) == 3
    assert before[1] == joined[1] == edited[1]


def test_a_module_that_is_not_there_is_an_error(checkout: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^edgekit has no module edgekit\.nothing$"):
        code_digest("edgekit.nothing")


def install(folder: Path, files: dict[str, str], *, record: bool) -> None:
    """Writes a distribution that brings a converter `mini` as an installer would."""
    facts = folder / "mini-1.0.dist-info"
    facts.mkdir(exist_ok=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mini\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[edgekit.formats]\nmini = mini_plugin.convert:Mini\n")
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    if record:
        (facts / "RECORD").write_text("".join(f"{name},,\n" for name in files))


@pytest.mark.parametrize("record", [True, False], ids=["with a list of files", "without one"])
@pytest.mark.parametrize("changed", ["mini_plugin/convert.py", "mini_plugin/table.json", "mini_beside.py"])
def test_a_plug_in_counts_with_all_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None, changed: str, record: bool
) -> None:
    files = {"mini_plugin/__init__.py": "", "mini_plugin/convert.py": "", "mini_plugin/table.json": "{}",
             "mini_beside.py": ""}  # fmt: skip
    install(tmp_path, files, record=record)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = plugin_digest("edgekit.formats", "mini", "mini_plugin.convert:Mini")
    plugin_digest.cache_clear()
    (tmp_path / changed).write_text("# changed")
    # What lies beside the package belongs to it only where the distribution says so.
    expected = record or changed != "mini_beside.py"
    assert (plugin_digest("edgekit.formats", "mini", "mini_plugin.convert:Mini") != before) is expected


def test_a_plug_in_that_is_one_module_counts_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None
) -> None:
    (tmp_path / "mini_single.py").write_text("A = 1")
    (tmp_path / "stranger.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    digests: list[str] = []
    for name, text in (("mini_single.py", "A = 1"), ("stranger.py", "B"), ("mini_single.py", "A = 2")):
        (tmp_path / name).write_text(text)
        digests.append(plugin_digest("edgekit.techniques", "single", "mini_single:T"))
        plugin_digest.cache_clear()
    assert digests[0] == digests[1] != digests[2]
    assert "mini_single" not in sys.modules


def test_a_built_in_plug_in_counts_with_all_that_it_imports() -> None:
    target = "edgekit.formats.tflite_format:FORMAT"
    assert plugin_digest("edgekit.formats", "tflite", target) == code_digest("edgekit.formats.tflite_format")
    assert "edgekit.converters.to_tflite" in reachable_modules("edgekit.formats.tflite_format")
