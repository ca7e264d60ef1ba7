"""Checks that no link of the built site leads out of its folder, or to a file that is not there.

MkDocs checks the links of the pages' text. This looks at what it built: the theme's and the generated pages' links too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Links(HTMLParser):
    """Collects what a page names in `href` and `src`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  the base's name
        """Keeps the links of one element."""
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


def broken_links(site: Path) -> Iterator[str]:
    """Yields `page: link` for each link without a host that leads to no file of the folder `site`."""
    site = site.resolve()
    for page in sorted(site.rglob("*.html")):
        links = Links()
        links.feed(page.read_text(encoding="utf-8"))
        for link in dict.fromkeys(links.found):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            # The page for addresses that do not exist has absolute links: it is a server's, not a folder's.
            base = site if parts.path.startswith("/") else page.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve()
            if not (target.is_relative_to(site) and (target.is_file() or (target / "index.html").is_file())):
                yield f"{page.relative_to(site)}: {link}"


if __name__ == "__main__":
    broken = list(broken_links(Path(sys.argv[1])))
    if broken:
        sys.exit("\n".join(["These links lead out of the site, or nowhere:", *broken]))
