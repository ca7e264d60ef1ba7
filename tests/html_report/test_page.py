"""The page's structure, read without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgekit.errors import ArtifactError, MissingDependencyError
from edgekit.html_report.page import html_page, read_sources, write_page

PageFile = Callable[[str], Path]
SECTIONS = [
    "verdict", "budgets", "candidates", "predictions", "layers", "memory", "costs", "slices", "calibration",
    "environment",
]  # fmt: skip


VOID = {"meta", "img", "link", "br"}
EXAMPLE = Path(__file__).parents[2] / "examples" / "report" / "report.html"


class Page(HTMLParser):
    """What a page holds: its elements, its text by section, and what is open where something else is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.crossed: list[str] = []
        self._section = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = dict(attrs)["id"] or ""

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.crossed.append(tag)
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._section] = " ".join(f"{self.texts.get(self._section, '')} {data}".split())

    def find(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def renumbered(page: str) -> str:
    """Numbers Bokeh's objects from 0: within one process it goes on counting from page to page."""
    names: dict[str, str] = {}
    return re.sub(r'"p\d+"', lambda found: names.setdefault(found[0], f'"p{len(names)}"'), page)


def test_every_section_is_there_in_order_and_in_the_navigation(page_file: PageFile) -> None:
    page = Page(page_file("one"))
    assert [section["id"] for section in page.find("section")] == SECTIONS
    assert [link["href"] for link in page.find("a")] == ["#main", *(f"#{name}" for name in SECTIONS)]
    assert [len(page.find("h1")), len(page.find("h2"))] == [1, len(SECTIONS)]


@pytest.mark.parametrize("kind", ["four", "evil", "failed"])
def test_every_element_is_closed_where_it_was_opened(page_file: PageFile, kind: str) -> None:
    assert Page(page_file(kind)).crossed == []


@pytest.mark.parametrize("kind", ["one", "four", "bare"])
def test_the_page_needs_nothing_from_outside(page_file: PageFile, kind: str) -> None:
    page = Page(page_file(kind))
    assert not [tag for tag, attributes in page.elements if {"src", "srcset"} & set(attributes)]
    assert page.find("link") == []
    policy = next(m["content"] for m in page.find("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:"
    )


@pytest.mark.parametrize("kind", ["one", "four"])
def test_the_file_is_far_under_five_megabytes(page_file: PageFile, kind: str) -> None:
    assert page_file(kind).stat().st_size < 2_000_000


def test_the_same_export_gives_the_same_bytes(page_file: PageFile) -> None:
    path = page_file("one")
    again = html_page(read_sources(path.parent / "out"))
    assert renumbered(again) == renumbered(path.read_text(encoding="utf-8"))


def test_names_that_users_give_stay_text(page_file: PageFile) -> None:
    page = Page(page_file("evil"))
    assert page.find("img") == []
    assert page.find("b") == []
    # The data of the charts, the library, the behaviour: a name that ended a script would make more of them.
    assert len(page.find("script")) == 3
    assert (
        'image <img src=x onerror="document.title=1"></script><b>&'
        in " ".join(page.texts["calibration"].split("Deviation")[1:])
        or '<img src=x onerror="document.title=1"></script><b>&image' in page.texts["calibration"]
    )


def test_the_charts_are_json_that_cannot_end_its_script(page_file: PageFile) -> None:
    text = page_file("evil").read_text(encoding="utf-8")
    items = re.search(r'id="chart-items">(.*?)</script>', text, re.DOTALL)
    assert items is not None
    assert "<" not in items[1]
    charts = {item["target_id"] for item in json.loads(items[1])}
    places = {div["id"] for div in Page(page_file("evil")).find("div") if div.get("class") == "chart"}
    assert charts == places
    assert {"chart-budgets-0", "chart-candidates", "chart-predictions", "chart-layers", "chart-memory"} < charts


def test_tables_can_be_sorted_by_buttons_and_read_by_machines(page_file: PageFile) -> None:
    page = Page(page_file("one"))
    headings = [th for th in page.find("th") if th["scope"] == "col"]
    assert {th["aria-sort"] for th in headings} == {"none"}
    assert len(page.find("button")) == len(headings)
    assert len(page.find("caption")) == len(page.find("table"))
    assert all(div["tabindex"] == "0" for div in page.find("div") if div.get("class") == "scroll")


def test_charts_say_in_words_what_they_show(page_file: PageFile) -> None:
    words = {d["id"]: d["aria-label"] or "" for d in Page(page_file("one")).find("div") if d.get("class") == "chart"}
    assert words["chart-memory"] == "Peak: tflite int8-static+mixed 61.4 kB at conv1."
    assert words["chart-layers"].startswith("Most noise: head 28.6 %; stages.4.conv 23.8 %")
    assert "size 18 kB keeps 20 kB (limit from --max-size)" in words["chart-budgets-0"]


def test_the_verdict_says_what_did_not_pass_and_what_to_try(page_file: PageFile) -> None:
    verdict = Page(page_file("four")).texts["verdict"]
    assert (
        "fail: executorch int8-static+mixed: size 30 kB exceeds 20 kB by 10 kB (limit from --max-size). "
        "Try fewer bits or a smaller model" in verdict
    )
    assert "inconclusive: onnx int8-static+mixed: accuracy drop 0.80 pp (band 0.10 pp to 1.40 pp) straddles" in verdict
    assert "tflite, onnx, executorch, coreml: stays float: softmax" in verdict


def test_every_limit_names_who_set_it_and_how_the_figure_is_known(page_file: PageFile) -> None:
    budgets = Page(page_file("one")).texts["budgets"]
    assert "latency pass 12 ms 8 ms to 18 ms <= 50 ms profile predicted fitted" in budgets
    assert "peak memory pass 9 MB <= 20 MB --max-memory measured, host: a machine" in budgets


def test_memory_is_said_to_be_computed_and_names_the_tensors_at_the_peak(page_file: PageFile) -> None:
    memory = Page(page_file("one")).texts["memory"]
    assert memory.startswith("Memory over time Computed from the graph, not measured")
    assert "conv1 1x16x32x32 conv1 16.4 kB 26.7 %" in memory
    assert "image 1x3x32x32 input of the model 12.3 kB 20.0 %" in memory


def test_layers_say_which_precision_each_one_got(page_file: PageFile) -> None:
    assert "stages.0.conv fp16 int8_static 4.76 % 30.0 dB 0.00 pp" in Page(page_file("one")).texts["layers"]


def test_slices_that_are_too_small_are_said_to_be(page_file: PageFile) -> None:
    slices = Page(page_file("one")).texts["slices"]
    assert "slice 0 50 2.00 pp 0.50 pp to 4.00 pp 4.00 pp" in slices
    assert "rare 4 too few items" in slices


def test_the_environment_has_the_lock_and_how_to_check_it(page_file: PageFile) -> None:
    environment = Page(page_file("one")).texts["environment"]
    assert "model model.py:build " + "d" * 64 in environment
    assert "evaluation data, 300 items " + "e" * 64 in environment
    assert re.search(r"edgekit verify \S+/out edgekit verify \S+/out --rebuild$", environment)


@pytest.mark.parametrize(
    ("kind", "section", "reason", "flags"),
    [
        ("quick", "candidates", "Planned with --effort quick", "--effort default"),
        ("quick", "layers", "The layers were not measured", "--effort default"),
        ("bare", "candidates", "No candidates are on record", ""),
        ("bare", "memory", "The operators' costs are not on record", ""),
        ("bare", "costs", "The operators' costs are not on record", ""),
        ("failed", "budgets", "Nothing was judged", ""),
        ("failed", "predictions", "No figure was both predicted and measured", ""),
        ("failed", "slices", "No slices", ""),
        ("failed", "calibration", "No calibration data was used", "--precision int8-static"),
    ],
)
def test_a_section_without_data_says_why_and_gives_the_command(
    page_file: PageFile, kind: str, section: str, reason: str, flags: str
) -> None:
    text = Page(page_file(kind)).texts[section]
    assert reason in text
    assert re.search(r"edgekit export model\.py:build --device pi4 -o \S+ ?" + flags, text)


def test_an_export_that_failed_is_shown_with_its_reason(page_file: PageFile) -> None:
    page = Page(page_file("failed"))
    assert page.texts[""].count("FAIL") == 1
    assert "coreml fp16: No <layer> for it." in page.texts["verdict"]


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, failed_folder: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bokeh.resources", None)
    with pytest.raises(MissingDependencyError) as caught:
        html_page(read_sources(failed_folder))
    assert caught.value.message == ("The HTML report needs Bokeh, which is not installed: pip install -e '.[report]'")


def test_a_page_that_cannot_be_made_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        write_page(tmp_path, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_committed_example_shows_every_section_of_a_real_export() -> None:
    page = Page(EXAMPLE)
    assert [section["id"] for section in page.find("section")] == SECTIONS
    assert EXAMPLE.stat().st_size < 2_000_000
    assert "EfficientNet-Lite0" in page.texts["verdict"]
    assert "50 measurements, each of one layer in one precision" in page.texts["layers"]
