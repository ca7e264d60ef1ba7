"""What all results of the Python API share: a verdict, checks by name, JSON, a short text and an HTML table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final, final

from edgekit.budget import cost_of
from edgekit.checks import Check
from edgekit.errors import VerdictError
from edgekit.exporting.sentences import NOT_MEASURED, STATUS_WORDS, amount_text, check_sentence, limit_text

_WORST_FIRST: Final = ("fail", "not_run", "inconclusive", "pass")
_COLORS: Final[Mapping[str, str]] = {
    "pass": "#1a7f37",
    "warn": "#9a6700",
    "fail": "#cf222e",
    "inconclusive": "#9a6700",
    "not measured": "#9a6700",
}


@final
class Checks(Mapping[str, Check]):
    """Checks by name. Where several formats have a check, a name gives the worst of them.

    Args:
        checks: All checks of all formats.
    """

    def __init__(self, checks: Iterable[Check]) -> None:
        self.all = tuple(checks)
        """Every check of every format, in the order of the report."""

    def __getitem__(self, name: str) -> Check:
        found = [check for check in self.all if check.name == name]
        if not found:
            raise KeyError(f"{name}; the checks are {', '.join(self)}")
        return min(found, key=lambda check: (check.level != "error", _WORST_FIRST.index(check.verdict)))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(check.name for check in self.all))

    def __len__(self) -> int:
        return len({check.name for check in self.all})

    def __repr__(self) -> str:
        return f"Checks({', '.join(f'{name}: {self[name].verdict}' for name in self)})"


class Outcome(ABC):
    """The result of one function of the API. Implement the abstract members; the rest follows from them."""

    @property
    @abstractmethod
    def passed(self) -> bool:
        """Whether the command line would exit with 0."""

    @property
    @abstractmethod
    def checks(self) -> Checks:
        """The checks that the verdict rests on, by name; empty where there are none."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Returns what `--json` prints."""

    @abstractmethod
    def headline(self) -> str:
        """Returns what the result is about, in a few words: `export for pi4: tflite int8`."""

    def failures(self) -> Sequence[str]:
        """Returns what failed beside the checks: formats that could not be made, each with its reason."""
        return ()

    def facts(self) -> Sequence[tuple[str, str]]:
        """Returns figures for people beside the checks, as pairs of words."""
        return ()

    @final
    def raise_if_failed(self) -> None:
        """Does nothing if the result passed.

        Raises:
            VerdictError: it did not; the message has a line for each check and format that failed.
        """
        if self.passed:
            return
        open_checks = [check for check in self.checks.all if check.verdict != "pass" and check.limit is not None]
        lines = [*self.failures(), *(f"{check.runtime} {check_sentence(check)}".strip() for check in open_checks)]
        raise VerdictError("\n  ".join([f"{self.headline()}: not passed.", *lines]))

    def __repr__(self) -> str:
        """One short line."""
        return f"<{type(self).__name__} {self.headline()}: {'passed' if self.passed else 'not passed'}>"

    @final
    def _repr_html_(self) -> str:
        """Returns the verdict and a table, for a notebook; readable on light and on dark ground."""
        word, color = ("PASS", _COLORS["pass"]) if self.passed else ("FAIL", _COLORS["fail"])
        rows = [_row(check) for check in self.checks.all if check.limit is not None or check.verdict != "pass"]
        head = "".join(
            f'<th style="text-align:left">{name}</th>' for name in ("", "format", "check", "found", "limit", "set by")
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""
        failures = "".join(f"<p><b>{escape(text)}</b></p>" for text in self.failures())
        facts = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in self.facts())
        listed = f"<table><tbody>{facts}</tbody></table>" if facts else ""
        verdict = f'<b style="color:{color}">{word}</b> {escape(self.headline())}'
        return f'<div class="edgekit-result"><p>{verdict}</p>{failures}{table}{listed}</div>'


def _row(check: Check) -> str:
    found = NOT_MEASURED if check.value is None else amount_text(check.name, check.value)
    limit = "" if check.limit is None else limit_text(check.name, check.limit)
    level = " (warns)" if check.level == "warn" and check.limit is not None else ""
    cells = (check.runtime, cost_of(check.name).title, found, limit, check.limit_from + level)
    word = f'<td style="color:{_COLORS[check.shown_as]}"><b>{STATUS_WORDS[check.shown_as][0]}</b></td>'
    return f'<tr title="{escape(check.detail)}">{word}{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


class Observation(Outcome):
    """A result that is no verdict: what was found is held against limits by validate and gate, and it always passes."""

    @property
    @final
    def passed(self) -> bool:
        """True."""
        return True

    @property
    @final
    def checks(self) -> Checks:
        """None."""
        return Checks(())
