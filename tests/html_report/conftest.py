"""An export's folder, written from plain values: nothing is converted or run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.artifact import Artifact, measure_files
from edgekit.budget import Budget, Limit, read_limit
from edgekit.checks import Check, judge
from edgekit.converters.base import Conversion
from edgekit.errors import ConversionError
from edgekit.exporting.details import details_json, write_details
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.record_files import write_report
from edgekit.exporting.report import ExportReport
from edgekit.html_report.page import write_page
from edgekit.model import CapturedModel
from edgekit.planner.make import make_plan
from edgekit.planner.plan import LayerLoss, Plan
from edgekit.planner.recipes import steps_of
from edgekit.profiles.profile import find_profile
from edgekit.recipe import Candidate, Recipe

EVIL = '<img src=x onerror="document.title=1"></script><b>&'
"""A name that would break out of any place where it is not escaped."""

Folder = Callable[..., Path]


def graph(layers: int = 5, prefix: str = "") -> Any:
    """A chain of convolutions that grow, then a linear layer."""
    builder = GraphBuilder()
    builder.tensor("image", (1, 3, 32, 32), "float32")
    before, channels = "image", 3
    for i in range(layers):
        wider, weight, after = 8 * (i + 1), f"{prefix}conv{i}.weight", f"{prefix}conv{i}"
        builder.store(weight, (wider, channels, 3, 3), "float32", partial(np.ones, (wider, channels, 3, 3), "f4"))
        builder.tensor(after, (1, wider, 32 >> (i // 2), 32 >> (i // 2)), "float32")
        builder.add(
            name=after, type="conv2d", kernel="dense_conv", module=f"{prefix}stages.{i}.conv", reads=[before, weight],
            outputs=[after], macs=(i + 1) * 100_000, roles={weight: ("kernel", wider)},
        )  # fmt: skip
        before, channels = after, wider
    builder.store("head.weight", (10, channels), "float32", partial(np.ones, (10, channels), "f4"))
    builder.tensor("logits", (1, 10), "float32")
    builder.add(
        name="head", type="linear", kernel="linear", module="head", reads=[before, "head.weight"], outputs=["logits"],
        macs=10 * channels, roles={"head.weight": ("kernel", 10)},
    )  # fmt: skip
    return builder.finish(["image"], ["logits"])


def captured(analysis: Any, name: str) -> CapturedModel:
    return CapturedModel(
        name=name, source="model.py:build", source_kind="torch", kind="pt2", path=Path("float.pt2"), inputs=(),
        outputs=(), digest="d" * 64, parameters=analysis.parameters, macs=analysis.macs, family=analysis.family,
        family_evidence=analysis.family_evidence,
    )  # fmt: skip


def checks(budget: Budget, runtime: str, size: int) -> tuple[Check, ...]:
    def made(name: str, value: float | None, **more: Any) -> Check:
        return judge(name, value, budget.get(name), runtime=runtime, **more)

    return (
        made("size", float(size), measured_on="file"),
        made("accuracy_drop", 0.8, low=0.1, high=1.4, measured_on="a runtime", detail="top1 70.0, float 70.8."),
        made("slice_drop", 2.0, low=0.5, high=4.0, measured_on="a runtime"),
        made("parity", 24.0, measured_on="a runtime"),
        made("memory", 9e6, measured_on="host: a machine"),
        made("latency", 12.0, low=8.0, high=18.0, basis="predicted", detail="fitted"),
        made("latency_p95", None, detail="Not measured on the device. More words."),
    )


def slices(prefix: str) -> list[dict[str, Any]]:
    judged = [
        {"name": f"{prefix}slice {i}", "kind": "slice", "count": 50 + i, "drop": 2.0 - 0.3 * i, "low": 0.5 - 0.3 * i,
         "high": 4.0 - 0.3 * i, "detectable": 4.0}
        for i in range(6)
    ]  # fmt: skip
    small = {"name": "rare", "kind": "slice", "count": 4, "drop": None, "low": None, "high": None, "detectable": None}
    return [*judged, small]


def result_of(candidate: Candidate, folder: Path, budget: Budget, prefix: str) -> FormatResult:
    path = folder / f"net-{candidate.recipe.name}.{candidate.runtime}"
    path.write_bytes(candidate.runtime.encode() * 3000)
    size, download, digest = measure_files(path)
    return FormatResult(
        runtime=candidate.runtime,
        recipe=candidate.recipe,
        steps=candidate.steps,
        predictions=candidate.predictions,
        artifact=Artifact(
            path=path, runtime=candidate.runtime, precision=candidate.recipe.name, size_bytes=size,
            download_bytes=download, sha256=digest,
        ),
        conversion=Conversion(inputs=(), outputs=(), notes=(f"{prefix}note",), float_fallbacks=(f"{prefix}softmax",)),
        checks=checks(budget, candidate.runtime, size),
        host={"runtime": "a runtime 1.0", "median_ms": 1.5, "slices": slices(prefix)},
    )  # fmt: skip


def plan_of(model: CapturedModel, analysis: Any, budget: Budget, tmp_path: Path, prefix: str, effort: str) -> Plan:
    profile = find_profile("pi4", tmp_path)
    made = make_plan(model, analysis, profile, budget, prefer="accuracy")
    if effort == "quick":
        return made
    recipe = Recipe(default="int8_static", overrides=((f"{prefix}stages.0.conv", "fp16"),))
    modules = [operator.module for operator in analysis.operators]
    losses = tuple(
        LayerLoss(module=module, precision="int8_static", noise=0.001 * (i + 1), points=0.1 * i)
        for i, module in enumerate(modules)
    )
    assert made.chosen is not None
    chosen = replace(made.chosen, recipe=recipe, steps=steps_of(recipe))
    return replace(made, chosen=chosen, sensitivity=losses, effort=effort)


def write_export(
    parent: Path,
    *,
    runtimes: tuple[str, ...] = ("tflite",),
    prefix: str = "",
    effort: str = "default",
    details: bool = True,
) -> Path:
    """Writes an export's folder into `parent` and returns it; `prefix` stands before all names that a user gives."""
    folder = parent / "out"
    folder.mkdir()
    analysis = graph(prefix=prefix)
    model = captured(analysis, f"{prefix}net")
    texts = {"size": "20 kB", "memory": "20 MB", "accuracy_drop": "1 pp", "slice_drop": "5 pp", "parity": "20 dB"}
    limits = [read_limit(name, text, f"{prefix}--max-{name}") for name, text in texts.items()]
    budget = Budget().overridden_by([*limits, read_limit("latency", "50 ms", "profile")])
    plan = plan_of(model, analysis, budget, parent, prefix, effort)
    assert plan.chosen is not None
    results = [result_of(replace(plan.chosen, runtime=name), folder, budget, prefix) for name in runtimes]
    report = ExportReport(
        command="export", device="pi4", model=model, results=tuple(results), rejected=plan.rejected, folder=folder,
        data={"metric": "top1", "calibration": None, "evaluation": {"count": 9, "items": 300, "sha256": "e" * 64}},
        environment={"system": "Linux", "python": "3.11", "packages": {"numpy": "2.0"}},
        calibration={
            "samples": 20, "sha256": "c" * 64, "classes_compared": True,
            "findings": [{"rule": "few_samples", "message": f"{prefix}20 samples are few."}],
            "inputs": [{
                "name": f"{prefix}image",
                "calibration": {"low": -1.0, "high": 1.0, "mean": 0.0, "deviation": 0.5},
                "evaluation": None,
            }],
        },
    )  # fmt: skip
    write_report(report)
    if details:
        write_details(folder, details_json(report, [plan], analysis, find_profile("pi4", parent).latency_model))
    return folder


def write_failed_export(parent: Path) -> Path:
    """Writes the folder of an export whose only format could not be made, and returns it."""
    folder = parent / "failed"
    folder.mkdir()
    analysis = graph()
    result = FormatResult(runtime="coreml", recipe=Recipe(default="fp16"), error=ConversionError("No <layer> for it."))
    report = ExportReport(
        command="export", device="pi4", model=captured(analysis, "net"), results=(result,), folder=folder,
        environment={"packages": {}}, data={"metric": "top1"},
    )  # fmt: skip
    write_report(report)
    write_details(folder, details_json(report, [], analysis, {}))
    return folder


def write_sweep(folder: Path) -> Path:
    """Writes a sweep of a thousand rows: ten models on ten devices, ten pipelines each; returns its folder."""
    from edgekit.sweeping.rows import Row, compact, write_row
    from edgekit.workers.atomic_files import write_json

    points: dict[str, dict[str, str]] = {}
    for number in range(1000):
        model, device, pipeline = f"net{number % 10}", f"device{number // 10 % 10}", f"technique{number // 100}"
        checks = tuple(
            judge(name, value, Limit(name=name, value=limit, source="profile"), runtime="onnx")
            for name, value, limit in (
                ("size", 1e6 * (1 + number * 7 % 13), 9e6),
                ("latency", 1.0 + number * 11 % 17, 15.0),
                ("accuracy_drop", 0.1 * (number * 5 % 11), 1.0),
            )
        )
        row = Row(
            point=f"{number:04}", digest="d", model=model, device=device, format="onnx", precision="int8",
            pipeline=pipeline, effort="quick", status="judged", made="int8-static", checks=checks,
            artifact_sha256=f"{model} {pipeline}", seconds=1.0, finished=1.0,
        )  # fmt: skip
        points[row.point] = {
            "model": model, "device": device, "format": "onnx", "precision": "int8", "technique": pipeline,
            "effort": "quick",
        }  # fmt: skip
        write_row(folder, row)
    compact(folder)
    write_json(folder / "sweep.json", {"schema_version": 1, "command": "sweep", "points": points, "omitted": []})
    return folder


@pytest.fixture
def export_folder(tmp_path: Path) -> Folder:
    """Writes an export's folder (see `write_export`) and returns it."""
    return partial(write_export, tmp_path)


@pytest.fixture
def failed_folder(tmp_path: Path) -> Path:
    """The folder of an export whose only format could not be made."""
    return write_failed_export(tmp_path)


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the page of a kind of export: one, four, evil, quick, bare, failed or sweep. Each is made once."""
    kinds: dict[str, dict[str, Any]] = {
        "one": {},
        "four": {"runtimes": ("tflite", "onnx", "executorch", "coreml")},
        "evil": {"prefix": EVIL},
        "quick": {"effort": "quick"},
        "bare": {"details": False},
    }

    @cache
    def make(kind: str) -> Path:
        parent = tmp_path_factory.mktemp(kind)
        if kind == "sweep":
            return write_page(write_sweep(parent), parent / "report.html")
        folder = write_failed_export(parent) if kind == "failed" else write_export(parent, **kinds[kind])
        return write_page(folder, parent / "report.html")

    return make
