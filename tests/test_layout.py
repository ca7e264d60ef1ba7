"""The folder tree and the imports are the architecture: these tests hold them."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "edgekit": ROOT / "edgekit",
    "edgekit.converters": ROOT / "converters",
    "edgekit.validators": ROOT / "validators",
    "edgekit.device_profiles": ROOT / "device_profiles",
}

ROOT_MODULES = 16
"""How many modules may lie at the package's root, `__init__` and `__main__` included."""

LARGEST_SHARE_OF_ANY = 0.03
LARGEST_SHARE_OF_ANY_IN_A_FOLDER = 0.1
LARGEST_SHARE_OF_ANY_JSON_AND_ARRAYS = 0.085
"""JSON objects (`Mapping[str, Any]`) and arrays of any dtype (`NDArray[Any]`) counted too."""


def modules() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            if package == "edgekit" and path.relative_to(folder).parts[0] in (
                "converters",
                "validators",
                "device_profiles",
            ):
                continue
            parts = [*package.split("."), *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == "edgekit"}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Returns the strongly connected components of more than one module (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            component = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(component) > 1:
                found.append(sorted(component))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def test_no_circle_of_imports_between_files_type_checking_included() -> None:
    there = modules()
    graph = {module: {n for n in imports_of(path) if n in there and n != module} for module, path in there.items()}
    graph = {module: names - {"edgekit"} for module, names in graph.items()}  # its version, which imports nothing
    assert circles(graph) == []


def test_every_module_has_a_layer() -> None:
    tomllib = pytest.importorskip("tomllib")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")["layers"]
    listed = {name.strip() for layer in layers for name in layer.replace("|", ":").split(":")}
    there = {module.split(".")[1] for module in modules() if module != "edgekit"}
    assert listed == there


def test_few_modules_lie_at_the_root() -> None:
    assert len(list((ROOT / "edgekit").glob("*.py"))) <= ROOT_MODULES


@pytest.mark.parametrize("kind", ["converters", "validators"])
def test_plug_ins_of_one_kind_do_not_import_the_other_kind(kind: str) -> None:
    other = {"converters": "edgekit.validators", "validators": "edgekit.converters"}[kind]
    wrong = [
        module
        for module, path in modules().items()
        if module.startswith(f"edgekit.{kind}") and any(name.startswith(other) for name in imports_of(path))
    ]
    assert wrong == []


def test_every_sub_package_is_listed_for_packaging() -> None:
    tomllib = pytest.importorskip("tomllib")
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {
        ".".join([*package.split("."), *path.parent.relative_to(folder).parts])
        for package, folder in FOLDERS.items()
        for path in folder.rglob("__init__.py")
        if "converters" not in path.relative_to(ROOT).parts[1:]
        and not (package == "edgekit" and path.relative_to(folder).parts[0] in ("validators", "device_profiles"))
    }
    assert listed == there


@pytest.mark.parametrize("name", ["converters", "validators", "device_profiles"])
def test_root_folders_are_linked_into_the_package(name: str) -> None:
    link = ROOT / "edgekit" / name
    assert link.is_symlink()
    assert link.resolve() == (ROOT / name).resolve()


@pytest.mark.parametrize("name", ["converters", "validators"])
def test_root_folders_refuse_to_be_imported_as_top_level_packages(name: str) -> None:
    code = f"import {name}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        f'ImportError: This folder is the package "edgekit.{name}"; it was imported as "{name}". '
        f"Import edgekit.{name} instead, and run Python from the checkout's root or after `pip install -e .`."
    )


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["devices", "list"], ["devices", "show", "pi4"], ["plan", "--help"]],
    ids=" ".join,
)
def test_quick_commands_import_no_framework(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from edgekit.cli.app import main\n"
        f"code = main({arguments!r})\n"
        "heavy = {'numpy', 'torch', 'tensorflow', 'onnx', 'onnxruntime', 'coremltools', 'executorch', 'scipy',"
        " 'ai_edge_litert', 'litert_torch', 'keras', 'psutil'} & set(sys.modules)\n"
        "print('heavy', sorted(heavy), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == "heavy []"
    assert done.returncode == 0


def test_files_keep_the_size_limit() -> None:
    long = {module: lines for module, path in modules().items() if (lines := len(path.read_text().splitlines())) > 500}
    assert long == {}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring: documenting many parameters is no fault."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_keep_the_size_limit() -> None:
    long = [
        f"{module}.{node.name}: {lines} lines"
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := body_lines(node)) > 50
    ]
    assert long == []


@pytest.fixture(scope="module")
def counting() -> ModuleType:
    spec = importlib.util.spec_from_file_location("annotations_script", ROOT / "scripts" / "annotations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_few_annotations_say_any(counting: ModuleType) -> None:
    found = counting.annotations(ROOT)
    total = Counter(item.kind for item in found)
    assert total["Any"] / total.total() <= LARGEST_SHARE_OF_ANY
    assert 1 - total["plain"] / total.total() <= LARGEST_SHARE_OF_ANY_JSON_AND_ARRAYS
    shares = {folder: count["Any"] / count.total() for folder, count in counting.by_folder(found).items()}
    assert {folder: share for folder, share in shares.items() if share > LARGEST_SHARE_OF_ANY_IN_A_FOLDER} == {}


def test_any_is_counted_wherever_an_annotation_holds_it(counting: ModuleType, tmp_path: Path) -> None:
    for folder in ("edgekit/inner", "converters", "validators"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "edgekit" / "inner" / "names.py").write_text(
        "Tensor = Any\nTable: TypeAlias = 'Mapping[str, Any]'\nReader = Callable[[str], Table]\n"
    )
    (tmp_path / "edgekit" / "some.py").write_text(
        "from edgekit.inner.names import Reader, Tensor as Value\n"
        "def first(a: Any, b: list[Any] | None, *c: 'Any', **d: Value) -> Callable[..., Any]: ...\n"
        "def second(a: Mapping[str, Any], b: dict[int, Any]) -> Reader: ...\n"
        "def third(self, a: NDArray[Any], b: tuple[NDArray[Any], ...], c: Literal['x y']) -> None: ...\n"
        "made: int = 3\n"
    )
    found = [(item.text, item.kind) for item in counting.annotations(tmp_path) if item.path.name == "some.py"]
    assert sorted(found) == sorted(
        [
            *[(text, "Any") for text in ("Any", "list[Any] | None", "'Any'", "Value", "Callable[..., Any]")],
            *[("Mapping[str, Any]", "JSON"), ("dict[int, Any]", "Any"), ("Reader", "JSON")],
            *[("NDArray[Any]", "array"), ("tuple[NDArray[Any], ...]", "array"), ("Literal['x y']", "plain")],
            *[("None", "plain"), ("int", "plain")],
        ]
    )
