"""Links of the built site, and of the README, lead to files that are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "site_links.py"


def check(site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, site], capture_output=True, text=True, check=False)


def test_links_inside_of_the_site_and_to_other_hosts_are_good(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "page.html").write_text(
        '<a href="../index.html#top">up</a><a href="#here">here</a><img src="data:image/png;base64,AA">'
    )
    (tmp_path / "index.html").write_text('<a href="a/page.html?x=1">page</a><a href="https://example.org/">away</a>')
    found = check(tmp_path)
    assert (found.returncode, found.stderr) == (0, "")


def test_links_out_of_the_site_and_to_nowhere_are_named(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside.md").write_text("there, and not in the site")
    (site / "index.html").write_text(
        '<a href="../outside.md">out</a><script src="gone.js"></script><a href="/">top</a>'
    )
    found = check(site)
    assert found.returncode == 1
    assert found.stderr == (
        "These links lead out of the site, or nowhere:\nindex.html: ../outside.md\nindex.html: gone.js\n"
    )


def test_the_readme_s_links_lead_to_files_of_the_repository() -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text())
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []
