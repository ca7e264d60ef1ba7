"""What `import edgekit` gives, and what it costs: the names, their keywords, and nothing else."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import edgekit
from edgekit.in_memory import options

LIMITS = [
    *("max_size", "max_download", "max_memory", "max_latency", "max_drop", "max_slice_drop", "min_parity"),
    *("min_accuracy", "min_parity_floor"),
    *("min_integer_coverage", "min_delegate_coverage", "min_accelerator_coverage"),
]
RUNNING = ["progress", "jobs", "timeout", "memory_limit", "cache", "cache_write", "engine", "address"]
TASK = "calibration evaluation metric training"
SURFACE = {
    "bench": "artifact * on device threads runs warmup seconds data inputs outputs python benchmark_model source "
    "output **more",
    "debug": "artifact * model inputs calibration evaluation data samples device config **more",
    "devices": "*names",
    "export": "model * device inputs dimensions split_outputs formats precision techniques plan effort prefer "
    f"{TASK} io image_input measurements without output config name strict **more",
    "gate": "target * device model inputs calibration evaluation metric measurements signature max_regression baseline "
    "fail_on_missing_baseline remeasure without config strict **more",
    "ladder": f"model * device inputs format techniques {TASK} output config name strict **more",
    "plan": f"model * device inputs dimensions split_outputs formats precision effort prefer {TASK} signature why "
    "config name **more",
    "report": "target output",
    "search": "* device output formats precision epochs trials seed learning_rate optimizer config **more",
    "sweep": "matrix * models devices formats precisions techniques efforts output budget_time budget_jobs "
    "dry_run strict **more",
    "validate": "artifact * device model inputs calibration evaluation metric measurements signature without config "
    "strict **more",
}
"""Each public function, its parameters in order; what follows the star is given by keyword."""


def words(function: object) -> str:
    found: list[str] = []
    for parameter in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in found:
            found.append("*")
        prefix = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, "")
        found.append(prefix + parameter.name)
    return " ".join(found)


def test_the_public_names_are_these_functions_and_the_version() -> None:
    assert sorted(edgekit.__all__) == sorted(SURFACE)
    assert dir(edgekit) == sorted([*SURFACE, "__version__"])


@pytest.mark.parametrize("name", SURFACE)
def test_a_function_has_these_parameters(name: str) -> None:
    assert words(getattr(edgekit, name)) == SURFACE[name]


def test_limits_and_running_are_these_keywords() -> None:
    assert sorted(options.Running.__annotations__) == sorted(RUNNING)
    assert sorted(options.Limits.__annotations__) == sorted([*LIMITS, *RUNNING])


@pytest.mark.parametrize("name", ["plan", "export", "validate", "gate"])
def test_what_a_type_checker_sees_of_a_function_is_what_it_takes(name: str) -> None:
    typed = set(getattr(options, f"{name.capitalize()}Options").__annotations__)
    kinds = (inspect.Parameter.KEYWORD_ONLY,)
    taken = {p.name for p in inspect.signature(getattr(edgekit, name)).parameters.values() if p.kind in kinds}
    assert typed == (taken - {"device"}) | set(options.Limits.__annotations__)


@pytest.mark.parametrize("name", SURFACE)
def test_every_parameter_is_described(name: str) -> None:
    text = inspect.getdoc(getattr(edgekit, name)) or ""
    parameters = inspect.signature(getattr(edgekit, name)).parameters.values()
    stars = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
    assert [p.name for p in parameters if f"\n    {stars.get(p.kind, '')}{p.name}: " not in text] == []


def test_no_submodule_takes_the_place_of_a_function() -> None:
    """In a process of its own: importing every module loads every framework that is there."""
    code = (
        "import importlib, pkgutil, sys\n"
        "import edgekit\n"
        "failed = []\n"
        "for module in pkgutil.walk_packages(edgekit.__path__, 'edgekit.', onerror=lambda name: None):\n"
        "    if module.name.endswith('__main__') or '.runners.' in module.name:\n"
        "        continue\n"
        "    try:\n"
        "        importlib.import_module(module.name)\n"
        "    except ImportError as error:\n"
        "        failed.append(module.name)\n"
        "print([name for name in edgekit.__all__ if not callable(getattr(edgekit, name))], len(failed))\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 0"


def test_importing_edgekit_loads_nothing_but_itself() -> None:
    code = "import sys; before = set(sys.modules); import edgekit; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = eval(done.stdout)
    assert [name for name in loaded if name.startswith("edgekit")] == ["edgekit"]
    assert not {"numpy", "torch", "typer", "rich", "pydantic"} & set(loaded)


def test_importing_the_api_loads_no_framework() -> None:
    code = (
        "import sys, edgekit; edgekit.export\n"
        "print(sorted({'numpy', 'torch', 'tensorflow', 'onnx', 'onnxruntime', 'coremltools'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'edgekit' has no attribute 'exprot'$"):
        _ = edgekit.exprot  # type: ignore[attr-defined]
