"""What only a browser can tell: the built site is searched from a folder, and a result in a notebook is drawn."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.checks import Check
from edgekit.results.outcome import Checks, Outcome

ROOT = Path(__file__).parents[2]
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed, and only a browser shows this")


def dom_of(page: Path, folder: Path, query: str = "") -> str:
    """Returns the document that a browser has made of a page, its scripts run, without a network."""
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=15000",
        f"--user-data-dir={folder}",
    )
    done = subprocess.run(
        [CHROMIUM, *options, "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", f"{page.as_uri()}{query}"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_site_is_searched_from_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the extra docs is not installed")
    built = subprocess.run([ROOT / "scripts" / "docs", tmp_path / "site"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-2000:]
    page = dom_of(tmp_path / "site" / "index.html", tmp_path / "browser", "?q=zero+point")
    results = page[page.index("md-search-result__list") :]
    found = re.findall(r'<a href="([^"]+)" class="md-search-result__link"', results)
    assert found, "the search shows no page"
    assert all(link.startswith("file://") or not link.startswith("http") for link in found)


class Result(Outcome):
    """One check that fails, under a name that must stay text."""

    @property
    def passed(self) -> bool:
        return False

    @property
    def checks(self) -> Checks:
        check = Check(
            name="size", verdict="fail", value=2e6, limit=1e6, unit="bytes", basis="measured", measured_on="file",
            limit_from="profile", level="error", runtime="onnx",
        )  # fmt: skip
        return Checks([check])

    def to_json(self) -> dict[str, object]:
        return {}

    def headline(self) -> str:
        return "export of <script>document.title='ran'</script>"


def test_a_result_is_drawn_as_a_table_in_a_notebook(tmp_path: Path) -> None:
    page = tmp_path / "cell.html"
    measure = (
        "<script>const c = document.querySelectorAll('tbody td'), w = document.querySelector('b');"
        "document.body.dataset.seen = [getComputedStyle(w).color, w.innerText, c.length,"
        "[...c].every(x => x.getBoundingClientRect().width > 0 || !x.innerText),"
        "[...c].map(x => x.innerText).join('|')].join(';')</script>"
    )
    page.write_text(f"<!doctype html><title>cell</title><body>{Result()._repr_html_()}{measure}</body>")
    shown = dom_of(page, tmp_path / "browser")
    assert "<title>cell</title>" in shown
    seen = re.search(r'data-seen="([^"]*)"', shown)
    assert seen is not None
    assert html.unescape(seen[1]) == "rgb(207, 34, 46);FAIL;6;true;FAIL|onnx|size|2 MB|<= 1 MB|profile"
