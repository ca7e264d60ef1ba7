"""The page in a real Chromium: it draws, shows, sorts, and asks nobody for anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PageFile = Callable[[str], Path]

SORT_STATE = "th => [th.getAttribute('aria-sort'), document.activeElement === th.querySelector('button')]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with api.sync_playwright() as driver:
        # Chromium refuses its sandbox to root, which is who CI runs as.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = driver.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@dataclass
class Seen:
    """An open page, and what it said and asked for."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def show(browser: Any, page_file: PageFile) -> Callable[..., Seen]:
    """Returns an open page of a kind, its charts drawn. Opening takes seconds, so tests share what they leave alone."""

    @cache
    def open_page(kind: str, width: int = 1100, scheme: str = "light") -> Seen:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.set_default_timeout(120_000)
        seen = Seen(page=context.new_page())
        seen.page.on("console", lambda m: seen.messages.append(m.text) if m.type in ("error", "warning") else None)
        seen.page.on("pageerror", lambda error: seen.messages.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(page_file(kind).as_uri())
        count = seen.page.locator(".chart").count()
        seen.page.locator(f"html[data-charts='{count}']").wait_for(state="attached")
        return seen

    return open_page


@pytest.mark.parametrize(("kind", "width"), [("evil", 1100), ("four", 390)])
def test_the_page_loads_without_errors_and_without_requests(show: Callable[..., Seen], kind: str, width: int) -> None:
    seen = show(kind, width)
    assert seen.messages == []
    assert [url.partition(":")[0] for url in seen.requests] == ["file"]
    assert seen.page.title().startswith("edgekit: ")
    assert seen.page.locator(".chart canvas").count() >= seen.page.locator(".chart").count()


# Finds a candidate's mark on the screen through Bokeh's own scales.
MARK = """
() => {
  const place = document.getElementById("chart-candidates");
  const plot = [...Bokeh.index.roots].find((v) => place.contains(v.el));
  const mark = plot.model.renderers.find((r) => r.glyph && r.data_source.data.pipeline);
  const data = mark.data_source.data, box = plot.el.getBoundingClientRect();
  const [x, y] = [plot.frame.x_scale.compute(data.x[0]), plot.frame.y_scale.compute(data.y[0])];
  return { x: box.left + x, y: box.top + y, title: data.title[0], pipeline: data.pipeline[0] };
}
"""


def test_hovering_a_candidate_shows_its_pipeline(show: Callable[..., Seen]) -> None:
    seen = show("evil")
    seen.page.locator("#chart-candidates").scroll_into_view_if_needed()
    mark = seen.page.evaluate(MARK)
    seen.page.mouse.move(mark["x"] - 2, mark["y"])
    seen.page.mouse.move(mark["x"], mark["y"])
    tip = seen.page.locator(".tip")
    tip.wait_for()
    assert mark["pipeline"] in tip.inner_text()
    assert mark["pipeline"].startswith(mark["title"].split()[0] + ": ")
    assert tip.locator("img").count() == 0


def test_a_table_sorts_by_click(show: Callable[..., Seen]) -> None:
    table = show("one").page.locator("#candidates table")
    size = table.locator("th", has_text="Size")
    sizes = table.locator(f"td:nth-child({size.evaluate('th => th.cellIndex') + 1})")
    figures = [float(cell.get_attribute("data-order")) for cell in sizes.all()]
    size.locator("button").click()
    assert size.get_attribute("aria-sort") == "descending"
    assert [float(c.get_attribute("data-order")) for c in sizes.all()] == sorted(figures, reverse=True)
    size.locator("button").click()
    assert size.get_attribute("aria-sort") == "ascending"
    assert [float(c.get_attribute("data-order")) for c in sizes.all()] == sorted(figures)


def test_a_table_sorts_by_keyboard_and_what_has_no_figure_stays_last(show: Callable[..., Seen]) -> None:
    page = show("one").page
    drop = page.locator("#slices th", has_text="Drop").first
    drop.locator("button").focus()
    page.keyboard.press("Enter")
    assert drop.evaluate(SORT_STATE) == ["descending", True]
    names = page.locator("#slices tbody th")
    assert [names.first.inner_text(), names.last.inner_text()] == ["slice 0", "rare"]
    page.keyboard.press("Space")
    assert drop.evaluate(SORT_STATE) == ["ascending", True]
    assert [names.first.inner_text(), names.last.inner_text()] == ["slice 5", "rare"]


def test_a_sweep_of_a_thousand_rows_is_drawn_filtered_and_sorted(show: Callable[..., Seen]) -> None:
    seen = show("sweep")
    page = seen.page
    assert seen.messages == []
    assert page.locator("#fronts .chart canvas").count() >= 10
    rows = page.locator("#rows tbody tr")
    assert rows.count() == 1000
    page.get_by_label("Filter rows of: Every combination with a row").fill("NET3 device4")
    assert page.locator("#rows output").inner_text() == "10 of 1000 rows"
    assert page.locator("#rows tbody tr:visible").count() == 10
    page.locator("#rows th", has_text="Latency").locator("button").click()
    assert page.locator("#rows tbody tr:visible").count() == 10
    page.get_by_label("Filter rows of: Every combination with a row").fill("")
    assert page.locator("#rows tbody tr:visible").count() == 1000


def test_a_verdict_of_a_sweep_opens_the_row_s_own_report(show: Callable[..., Seen]) -> None:
    seen = show("sweep")
    page = seen.page
    page.get_by_label("Filter rows of: Every combination with a row").fill("net3 device4 technique5")
    (row,) = page.locator("#rows tbody tr:visible").all()
    row.locator("button").focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.locator("h2").inner_text() == "net3 on device4: onnx int8 technique5"
    checks = dialog.locator("table", has_text="Checks")
    assert checks.locator("tbody th").all_inner_texts() == ["size", "latency", "accuracy drop"]
    assert "(limit from profile)." in checks.locator("tbody tr").first.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert seen.messages == []


def test_the_skip_link_is_the_first_stop_and_leads_to_the_report(show: Callable[..., Seen]) -> None:
    page = show("one").page
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_phone_needs_no_sideways_scrolling_of_the_page(show: Callable[..., Seen]) -> None:
    page = show("four", 390).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    widths = page.locator(".chart").evaluate_all("charts => charts.map((c) => [c.clientWidth, c.scrollWidth])")
    assert all(300 < width <= 390 and content <= width for width, content in widths)
    assert page.locator("#candidates .scroll").first.evaluate("e => e.scrollWidth > e.clientWidth")


AXIS = """
() => {
  const plot = [...Bokeh.index.roots][0].model;
  return [getComputedStyle(document.body).backgroundColor, plot.below[0].major_label_text_color];
}
"""


MEDIA = {
    ("dark", "screen"): ["rgb(20, 23, 27)", "#e6e9ed"],
    ("light", "screen"): ["rgb(255, 255, 255)", "#1b1f24"],
    ("dark", "print"): ["rgb(255, 255, 255)", "#1b1f24"],
}
"""Scheme and medium to the colours of the page and of a chart's labels."""


def test_charts_follow_the_reader_s_scheme_and_paper_is_always_light(show: Callable[..., Seen]) -> None:
    page = show("one").page
    for media, colours in MEDIA.items():
        page.emulate_media(color_scheme=media[0], media=media[1])
        # The browser tells the page about the change a moment later. (No wait_for_function: the page forbids `eval`.)
        for _ in range(100):
            if page.evaluate(AXIS) == colours:
                break
            page.wait_for_timeout(50)
        assert page.evaluate(AXIS) == colours
    page.emulate_media(color_scheme="light", media="screen")
