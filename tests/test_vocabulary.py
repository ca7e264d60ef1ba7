"""Identifiers say what docs/style.md says: one word for one thing, in names as in sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("edgekit", "converters", "validators", "tests", "examples", "scripts", "benchmarks")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]

WORDS = {
    "asked": "requested",
    "told": "reported, shown",
    "watcher": "observer",
    "yardstick": "the name of what is compared with, such as reference",
    "prospect": "untrained (UntrainedVariant)",
    "lesson": "objective (TrainingObjective)",
    "shelf": "sample_cache (SampleCache)",
    "climber": "ladder_search (LadderSearch)",
    "refusal": "why_not, rejection, exclusion",
    "shall": "must",
    "verb": "command",
}
"""A word that no identifier holds, alone or as a part, and what to say instead."""


def identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value


def words_of(name: str) -> set[str]:
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace(".", "_").split("_")
    return {part.removesuffix("s") for part in parts} | set(parts)


def test_words_are_found_in_every_style_of_name() -> None:
    assert {"asked", "key"} <= words_of("ASKED_KEY")
    assert "refusal" in words_of("_OpenRefusals")
    assert "asked" not in words_of("masked_fill")


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_identifier_uses_a_word_that_has_a_better_one(folder: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}: say {WORDS[word]}"
        for path in FILES
        if path.relative_to(ROOT).parts[0] == folder
        for name in identifiers(ast.parse(path.read_text(encoding="utf-8")))
        for word in words_of(name) & WORDS.keys()
        if name != "test_a_command_is_never_called_a_verb"
    }
    assert sorted(found) == []
