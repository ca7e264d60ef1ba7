"""Names are data: what harms a terminal, a log or a page is shown and does nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.plain_text import log_text, markdown_text, one_line

HARMFUL = ("Cc", "Cf", "Cs", "Zl", "Zp")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \N{LATIN SMALL LETTER A WITH DIAERESIS}", "plain, \N{LATIN SMALL LETTER A WITH DIAERESIS}"),
        ("two\n  lines\t|", "two\n  lines\t|"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("progress\rover", r"progress\rover"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\N{RIGHT-TO-LEFT OVERRIDE}gpj", r"abc\u202egpj"),
        ("part\udcff", r"part\udcff"),
        ("a\n::error file=x::INJECTED", "a\n: :error file=x::INJECTED"),
        (" \t::stop-commands::x", " \t: :stop-commands::x"),
        ("see ##[add-mask]x and ##vso[task.setvariable]", "see # #[add-mask]x and # #vso[task.setvariable]"),
        ("Net::forward", "Net::forward"),
    ],
)
def test_a_log_shows_control_characters_and_takes_no_commands(text: str, shown: str) -> None:
    assert log_text(text) == shown


@given(st.text())
def test_no_line_of_a_log_is_a_command_and_nothing_controls_it(text: str) -> None:
    shown = log_text(text)
    assert not any(line.lstrip().startswith("::") for line in shown.splitlines())
    assert all(character in "\n\t" or unicodedata.category(character) not in HARMFUL for character in shown)
    assert log_text(shown) == shown


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("int8-static 5.0 pp", "int8-static 5.0 pp"),
        ("<img src=x>&lt;", r"\<img src=x\>\&lt;"),
        ("a|b\n# title", r"a\|b \# title"),
        ("[x](http://y) `z` **w** ~~v~~ $u$", r"\[x\](http://y) \`z\` \*\*w\*\* \~\~v\~\~ \$u\$"),
        ("ask @octocat", "ask @\N{ZERO WIDTH SPACE}octocat"),
        ("ssh://USER@HOST", "ssh://USER@HOST"),
        ("\x1b[2J", r"\\x1b\[2J"),
    ],
)
def test_markdown_is_text_alone(text: str, shown: str) -> None:
    assert markdown_text(text) == shown
