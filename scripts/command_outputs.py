"""Real outputs in the pages of the commands: `--write` runs the commands and puts them in, `--check` compares.

In a page, `<!-- output: COMMAND -->` says where, and `<!-- /output -->` where it ends. The commands run in a folder
without a task file, or in the example that `edgekit init demo` writes there. Times of this machine are left out, as
`...`. Peaks of memory are shown and not compared. Hashes and accuracies of the example's model, which is trained on the
spot, are the same only where torch and the CPU's arithmetic are.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import edgekit

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ROOT / "docs" / "commands"

DEMO: Final = "demo"
INIT: Final = f"edgekit init {DEMO}"

CHEAP: Final = (INIT, "edgekit --help", "edgekit devices", "edgekit devices show pi4")
"""Commands that load no framework: tests run them too."""

PLAIN: Final = (*CHEAP, "edgekit plan --device pi4")
"""Commands that run beside the example, where no task file is."""

SEARCH: Final = "edgekit search -c search.toml --device pi4 --format onnx -o variants"

MACHINE: Final = ("edgekit doctor", "edgekit bench out/model-int8-static.onnx", "edgekit cache")

SWEEP: Final = "edgekit sweep -m model.py:build -d pi4,pixel8 -f onnx -p int8,fp16 -o sweep"

VARYING: Final = (*MACHINE, SEARCH, SWEEP)
"""Commands about this machine, or that train: what they say is shown, held to its words, not to figures and paths."""

IN_DEMO: Final = (
    "edgekit export --device pi4 --format onnx --precision int8 -o out",
    "edgekit validate out/model-int8-static.onnx --device pi4",
    *MACHINE,
    "edgekit debug out/model-int8-static.onnx",
    "edgekit ladder --device pi4 --format onnx",
    "edgekit gate out --device pi4",
    "edgekit baseline set out",
    "edgekit verify out",
    "edgekit report out",
    SEARCH,
    SWEEP,
)
"""Commands that run in the example, in this order: later ones read what the first wrote."""

COMMANDS: Final = (*PLAIN, *IN_DEMO)

FILE: Final = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```\n<!-- /file -->", re.DOTALL)
"""A file that a page shows: it is put beside the example before the commands run."""

BLOCK: Final = re.compile(r"(<!-- output: (.+?) -->\n)(.*?)(<!-- /output -->\n)", re.DOTALL)

HOST_TIME: Final = re.compile(r"[\d.]+ ms \([\d.]+ x float\)")


def outputs_of(commands: tuple[str, ...]) -> dict[str, str]:
    """Runs commands of COMMANDS and returns what belongs between the markers of each."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        found = {INIT: _block(INIT, _run(INIT, place))}
        for command in commands:
            if command == INIT:
                _write_files(place / DEMO)
            else:
                found[command] = _block(command, _run(command, place / DEMO if command in IN_DEMO else place))
    return found


def _write_files(folder: Path) -> None:
    """Writes the files that pages show, for the commands that name them."""
    for page in PAGES.glob("*.md"):
        for name, text in FILE.findall(page.read_text(encoding="utf-8")):
            (folder / name).write_text(text, encoding="utf-8")


def _run(command: str, folder: Path) -> str:
    settings = {name: value for name, value in os.environ.items() if not name.startswith("EDGEKIT_")}
    kept = {name: os.environ[name] for name in ("EDGEKIT_CACHE_DIR",) if name in os.environ}
    if folder.name == DEMO:
        # What the cache holds is shown too: it must be what these commands have put there.
        kept = {"EDGEKIT_CACHE_DIR": str(folder.parent / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=folder,
        env={**settings, **kept, "COLUMNS": "100", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _block(command: str, output: str) -> str:
    text = HOST_TIME.sub("...", output.replace(f"{ROOT}/", "").replace(sys.prefix, ".venv"))
    text = re.sub(r"\S+/cache\b", "~/.cache/edgekit", text)
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"```text\n$ {command}\n{lines}\n```\n\nPrinted by edgekit {edgekit.__version__}.\n"


def blocks_of(page: Path) -> dict[str, str]:
    """Returns what stands between the markers of a page, by command."""
    return {command: text for _, command, text, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}


def comparable(command: str, block: str) -> str:
    """Returns a block without what another run on another machine may print differently."""
    if command in VARYING:
        return _words(block)
    if command not in IN_DEMO:
        return block
    kept = [line for line in block.splitlines() if "peak memory" not in line]
    return "\n".join(re.sub(r" +", " ", re.sub(r" [\d.]+ MB\b", " * MB", line)) for line in kept)


def _words(block: str) -> str:
    """Returns a block without figures and their units, versions, paths, and the line about the machine itself."""
    kept = (line for line in block.splitlines() if not line.startswith(("Python ", "Linux ", "on this machine")))
    plain = (re.sub(r"\S*[\d/]\S*( (MB|kB|GB|B|ms)\b)?", "*", line) for line in kept)
    return "\n".join(re.sub(r"( \*| entr(y|ies)\b)+", " *", re.sub(r" +", " ", line)).strip() for line in plain)


def stale(commands: tuple[str, ...]) -> list[str]:
    """Returns which of the commands print something else than their page says, or have no page."""
    shown = {command: text for page in PAGES.glob("*.md") for command, text in blocks_of(page).items()}
    found = outputs_of(commands)
    return [name for name in commands if comparable(name, shown.get(name, "")) != comparable(name, found[name])]


def write() -> None:
    """Runs all commands and writes their outputs into the pages."""
    found = outputs_of(COMMANDS)
    for page in PAGES.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(BLOCK.sub(lambda match: f"{match[1]}{found[match[2]]}{match[4]}", text), encoding="utf-8")


def main() -> None:
    """Writes or checks, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", action="store_true", help="put the outputs into docs/commands/")
    group.add_argument("--check", action="store_true", help="exit code 1 where a page is stale")
    if parser.parse_args().write:
        write()
    elif old := stale(COMMANDS):
        sys.exit("\n".join(["Stale in docs/commands/; `python scripts/command_outputs.py --write` mends it:", *old]))


if __name__ == "__main__":
    main()
