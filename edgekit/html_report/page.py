"""From the folder of an export, a search or a sweep to one HTML file."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import edgekit
from edgekit.errors import MissingDependencyError, ResourceError
from edgekit.exporting.details import DETAILS_NAME, read_details
from edgekit.exporting.lock import LOCK_NAME, read_lock
from edgekit.exporting.record_files import REPORT_NAME, read_report
from edgekit.html_report.candidates import candidates_section
from edgekit.html_report.costs import costs_section, memory_section
from edgekit.html_report.data_facts import calibration_section, environment_section, slices_section
from edgekit.html_report.layers import layers_section
from edgekit.html_report.parts import Chart, Section, Sources, count_text
from edgekit.html_report.predictions import predictions_section
from edgekit.html_report.sweep import sweep_facts, sweep_sections
from edgekit.html_report.sweep_details import row_details
from edgekit.html_report.variants import search_facts, variants_section
from edgekit.html_report.verdict import budget_section, verdict_section
from edgekit.searching.result import SEARCH_NAME, read_search
from edgekit.sweeping.folder import is_sweep_folder
from edgekit.sweeping.request import read_sweep
from edgekit.sweeping.result import SweepResult
from edgekit.workers.atomic_files import write_text

PAGE_NAME: Final = "report.html"

_SECTIONS: Final = (
    verdict_section,
    budget_section,
    candidates_section,
    predictions_section,
    layers_section,
    memory_section,
    costs_section,
    slices_section,
    calibration_section,
    environment_section,
)
"""In the order of the page."""


def read_sources(folder: Path) -> Sources:
    """Returns what an export left in `folder`. Details and lock may be missing: their sections say so.

    Raises:
        ArtifactError: no report there, or a file that this edgekit cannot read.
    """
    report = read_report(folder)
    return Sources(
        folder=folder.as_posix(),
        report=report,
        details=read_details(folder, report) if (folder / DETAILS_NAME).exists() else None,
        lock=read_lock(folder / LOCK_NAME) if (folder / LOCK_NAME).exists() else None,
        search=read_search(folder) if (folder / SEARCH_NAME).exists() else None,
    )


def html_page(sources: Sources) -> str:
    """Returns the page about an export: charts, their library, style and behaviour in one text that needs no network.

    Raises:
        MissingDependencyError: Bokeh is not installed.
    """
    _require_bokeh()
    sections = [make(sources) for make in _SECTIONS]
    if sources.search is not None:
        after = _SECTIONS.index(candidates_section) + 1
        sections.insert(after, variants_section(sources.search))
    report = sources.report
    name = (report.get("model") or {}).get("name") or "model"
    return _render(
        sections,
        title=f"edgekit: {name} on {report['device']}",
        heading=f"{name} on {_device_title(sources)}",
        passed=report["passed"],
        facts=_facts(sources),
        folder=sources.folder,
    )


def search_page(data: Mapping[str, Any], folder: str) -> str:
    """Returns the page about a search alone.

    Args:
        data: Content of `search.json`.
        folder: Where it lies, for the page's foot.

    Raises:
        MissingDependencyError: Bokeh is not installed.
    """
    _require_bokeh()
    name = (data["reference"]["model"] or {}).get("name") or "model"
    return _render(
        [variants_section(data)],
        title=f"edgekit: variants of {name} on {data['device']}",
        heading=f"Variants of {name} on {data['device_title']}",
        passed=data["passed"],
        facts=search_facts(data),
        folder=folder,
    )


def sweep_page(result: SweepResult) -> str:
    """Returns the page about a sweep.

    Raises:
        MissingDependencyError: Bokeh is not installed.
    """
    _require_bokeh()
    return _render(
        sweep_sections(result),
        title="edgekit: sweep",
        heading=f"{len(result.models)} models on {len(result.devices)} devices",
        passed=result.passed(),
        facts=sweep_facts(result),
        folder=result.folder.as_posix(),
        reports=row_details(result),
    )


def _require_bokeh() -> None:
    try:
        importlib.import_module("bokeh.resources")
    except ImportError as error:
        raise MissingDependencyError(
            "The HTML report needs Bokeh, which is not installed: pip install -e '.[report]'"
        ) from error


def _render(
    sections: list[Section],
    *,
    title: str,
    heading: str,
    passed: bool,
    facts: list[tuple[str, str]],
    folder: str,
    reports: str = "",
) -> str:
    import bokeh
    from bokeh.resources import Resources
    from jinja2 import Environment

    library: Any = Resources(mode="inline", components=["bokeh"], log_level="error")
    # Autoescape: names of models, layers, slices and tensors are the user's, and any text may hold markup.
    template = Environment(autoescape=True, trim_blocks=True).from_string(_asset("page.html.j2"))
    return template.render(
        title=title,
        heading=heading,
        passed=passed,
        facts=facts,
        sections=[
            {
                "name": section.name,
                "title": section.title,
                "blocks": [(type(block).__name__, block) for block in section.blocks],
            }
            for section in sections
        ],
        items=_chart_items(sections),
        style=_asset("page.css"),
        behaviour=_asset("page.js"),
        bokeh="\n".join(library.js_raw),
        bokeh_version=bokeh.__version__,
        version=edgekit.__version__,
        folder=folder,
        reports=reports,
    )


def _asset(name: str) -> str:
    return (files("edgekit.html_report") / name).read_text(encoding="utf-8")


def _device_title(sources: Sources) -> str:
    titles = [plan["device_title"] for plan in sources.plans]
    return titles[0] if titles else str(sources.report["device"])


def _facts(sources: Sources) -> list[tuple[str, str]]:
    """Returns what stands under the heading: the model, the device, the metric."""
    report = sources.report
    model = report.get("model") or {}
    facts = [("Device profile", str(report["device"]))]
    if model:
        facts.append(("Model", str(model["source"])))
        macs = f", {count_text(model['macs'])} multiply-accumulates" if model["macs"] else ""
        facts.append(("Size of the model", f"{count_text(model['parameters'])} parameters{macs}"))
        facts.append(("Family", str(model["family"])))
        if types := model.get("float_types"):
            facts.append(("Computes in", f"{', '.join(types)}; exported and compared as float32"))
        if branches := model.get("settled_branches"):
            facts.append(("Branches that its sizes decide", ", ".join(branches)))
    if metric := report["data"].get("metric"):
        evaluation = report["data"].get("evaluation")
        facts.append(("Metric", f"{metric}{' on ' + str(evaluation['items']) + ' items' if evaluation else ''}"))
    made = sum(entry["artifact"] is not None for entry in sources.formats)
    return [*facts, ("Artifacts", f"{made} of {len(sources.formats)} made")]


def _chart_items(sections: list[Section]) -> str:
    """Returns the charts as JSON that may stand in a script element."""
    from bokeh.core.types import ID
    from bokeh.embed import json_item

    items = [
        json_item(block.model, ID(block.name))
        for section in sections
        for block in section.blocks
        if isinstance(block, Chart)
    ]
    # "<" would let a name end the script element; in JSON it may be written as an escape.
    return json.dumps(items, allow_nan=False).replace("<", "\\u003c")


def write_page(folder: Path, target: Path) -> Path:
    """Writes the page about what lies in `folder` to `target`, whole or not at all; returns `target`.

    Raises:
        ArtifactError: the folder holds no export, search or sweep that this edgekit reads.
        MissingDependencyError: Bokeh is not installed.
        OSError: the file cannot be written.
    """
    write_text(target, _page_of(folder))
    return target


def _page_of(folder: Path) -> str:
    if is_sweep_folder(folder):
        return sweep_page(read_sweep(folder))
    if (folder / SEARCH_NAME).exists() and not (folder / REPORT_NAME).exists():
        return search_page(read_search(folder), folder.as_posix())
    return html_page(read_sources(folder))


def write_report_page(folder: Path, output: Path | None = None) -> Path:
    """Writes the page about what lies in `folder`, to `report.html` in it by default; returns its path.

    Raises:
        ArtifactError: the folder holds no export, search or sweep that this edgekit reads.
        MissingDependencyError: Bokeh is not installed.
        ResourceError: the file cannot be written.
    """
    target = output or folder / PAGE_NAME
    try:
        return write_page(folder, target)
    except OSError as error:
        raise ResourceError(
            f"{target}: the page cannot be written: {error.strerror}. "
            "Name a file in a folder that exists and is writable with --output."
        ) from error
