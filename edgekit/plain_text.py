"""Names are data: text from files, models and people, made harmless for whoever reads what edgekit writes.

One function for each kind of reader. JSON, XML and HTML have escapes of their own, which their writers apply.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Cc: escape sequences, backspaces. Cf and Zl, Zp: characters that turn the direction of what follows or break lines.
# Cs: parts of file names that are no UTF-8.
_UNSAFE_CATEGORIES: Final = ("Cc", "Cf", "Zl", "Zp", "Cs")
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>|~$&#])")
# Not in USER@HOST, which nobody takes for a mention and people copy.
_MENTION: Final = re.compile(r"(?<!\w)@(?=\w)")
# A CI runner takes such lines for commands, whatever blanks are before; the second form stands anywhere in a line.
_COMMAND: Final = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
_OLD_COMMAND: Final = re.compile(r"#(?=#(\[|vso\[))")


def log_text(text: str) -> str:
    r"""Returns `text` for a terminal or a log: its lines stay, control characters are shown as `\x1b`.

    What the log of a CI system would take for a command of its own is broken up: `: :error` for `::error`.
    """
    shown = "".join(character if character in "\n\t" else _shown(character) for character in text)
    return _OLD_COMMAND.sub("# ", _COMMAND.sub(r"\1: ", shown))


def one_line(text: str) -> str:
    r"""Returns `text` as one line: line breaks are shown as `\n`, other control characters as `\x1b`."""
    return "".join(map(_shown, text))


def first_line(error: BaseException) -> str:
    """Returns the first line of what a library said, at most 300 characters."""
    # A message that quotes a damaged file's names may be no text: what it said is then the error's object.
    said = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)
    return next((line.strip()[:300] for line in said.splitlines() if line.strip()), type(error).__name__)


def markdown_text(text: str) -> str:
    """Returns one line of which nothing is taken for Markdown, HTML or the mention of a person."""
    line = one_line(re.sub(r"\s+", " ", text)).strip()
    # A space of no width ends what would become a mention; a backslash does not.
    return _MENTION.sub("@\N{ZERO WIDTH SPACE}", _MARKDOWN.sub(r"\\\1", line))


def markdown_code(text: str) -> str:
    """Returns one line as code in Markdown, in a table too: nothing in it ends the code or the cell."""
    line = one_line(re.sub(r"\s+", " ", text)).strip().replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
