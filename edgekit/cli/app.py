"""The command line's entry: commands, loaded when used, and the one place that turns errors into exit codes."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import typer

import edgekit
from edgekit.errors import EdgekitError, InternalError, ResourceError, UsageError
from edgekit.terminal.console import write_json
from edgekit.terminal.streams import prepare_streams, say
from edgekit.workers.fault_file import keep_traceback
from edgekit.workers.process import OUT_OF_MEMORY

INTERRUPTED: Final = 130

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "devices": ("edgekit.cli.devices:app", "List device profiles, or show one: its hardware and its budgets."),
    "plan": ("edgekit.cli.plan:plan", "Choose the format and precision that fit a device, and say why."),
    "export": ("edgekit.cli.export:export", "Plan, convert, run in the real runtimes, judge against the budgets."),
    "ladder": ("edgekit.cli.ladder:ladder", "Go down FP16, INT8, INT4 to the accuracy cliff, and name its layers."),
    "search": ("edgekit.cli.search:search", "Train variants (width, depth, resolution), measure them, show the best."),
    "sweep": ("edgekit.cli.sweep:app", "Judge models x devices x formats x precisions, and go on where it stopped."),
    "validate": ("edgekit.cli.validate:validate", "Run an artifact, also one made elsewhere, and check the budgets."),
    "gate": ("edgekit.cli.gate:gate", "Exit code for CI: 0 if every budget passes, 1 if not."),
    "debug": ("edgekit.cli.debug:debug", "Show the layer where an artifact departs from its float model, and why."),
    "baseline": ("edgekit.cli.baseline:app", "Keep an export's figures, to hold later exports against."),
    "report": ("edgekit.cli.report:report", "Write one HTML file about an export: verdict, charts, tables."),
    "verify": ("edgekit.cli.verify:verify", "Check artifacts against edgekit.lock, byte for byte."),
    "bench": ("edgekit.cli.bench:bench", "Measure latency and memory: here, on a device over ssh:// or adb."),
    "cache": ("edgekit.cli.cache:app", "Show, check or clear the cache of finished work."),
    "doctor": ("edgekit.cli.doctor:doctor", "Show what is installed and which formats work on this machine."),
    "init": ("edgekit.cli.init:init", "Write a task file and a small model to start from."),
}
"""Command to (module:object, one line of help). The object is a function with Typer's annotations, or a Typer app."""

COMPLETION_VARIABLE: Final = "_EDGEKIT_COMPLETE"
"""Set by a shell that asks what may come next."""

# Typer carries Click inside itself since 0.20 or uses the installed one before: this is the class in either case.
_CLICK_USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__bases__[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1, 2, 3, 4 or 130 (see `edgekit.errors`).

    A user's mistake gives one message on stderr and no traceback; with `--json` also an object with `error` on stdout.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    prepare_streams()
    try:
        _check_current_folder()
        result = _run(arguments)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except Exception as problem:
        error = _as_error(problem)
        return _fail(error.message, error.exit_code, type(error).__name__, arguments)
    # Typer turns Ctrl-C inside a command into this result.
    return _interrupted() if result == INTERRUPTED else result if isinstance(result, int) else 0


def _as_error(problem: Exception) -> EdgekitError:
    """Returns what an exception means to a person: whose fault it is, in one message."""
    if isinstance(problem, EdgekitError):
        return problem
    if isinstance(problem, _CLICK_USAGE_ERROR):
        return UsageError(_usage_message(problem))
    if isinstance(problem, MemoryError):
        return ResourceError(OUT_OF_MEMORY)
    if isinstance(problem, OSError) and problem.strerror is not None:
        where = f"{problem.filename}: " if problem.filename is not None else "This machine cannot go on: "
        return ResourceError(f"{where}{problem.strerror}")
    kept = keep_traceback("".join(traceback.format_exception(problem)))
    return InternalError(f"{type(problem).__name__}: {problem}\nThis is a fault of edgekit's own: {kept}.")


def _check_current_folder() -> None:
    """Raises ResourceError where the current folder is gone: every path that is not absolute starts from it."""
    try:
        Path.cwd()
    except OSError as error:
        raise ResourceError(
            f"The current folder cannot be used: {error.strerror}. It was removed or may not be read: go to another."
        ) from error


def _interrupted() -> int:
    say("\nInterrupted. Finished work is kept: the same command goes on from there.")
    return INTERRUPTED


def _run(arguments: list[str]) -> Any:
    """Builds the application with the one command that is used, and runs it."""
    completing = os.environ.get(COMPLETION_VARIABLE) is not None
    words = completed_words() if completing else arguments
    used = next((word for word in words if not word.startswith("-")), None)
    if used is not None and used not in COMMANDS and not completing:
        near = difflib.get_close_matches(used, COMMANDS, n=2)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Commands: {', '.join(COMMANDS)}."
        raise UsageError(f'There is no command "{used}". {hint}')
    app = typer.Typer(
        name="edgekit",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Export a trained model to a device, and prove that it keeps the device's budgets.\n\n"
        "Start with: edgekit plan --device pi4",
    )
    app.callback(invoke_without_command=True)(_root)
    for command in COMMANDS:
        _register(app, command, load=command == used)
    return typer.main.get_command(app).main(args=arguments, prog_name="edgekit", standalone_mode=False)


def completed_words() -> list[str]:
    """Returns the words that the user has typed so far, where a shell asks what may come next."""
    # Bash hands the line over in one variable, Typer's scripts for other shells in another.
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
    return line.split()[1:]


def _register(app: typer.Typer, command: str, *, load: bool) -> None:
    """Adds a command; one that is not used is added by name and summary only, so that `--help` imports nothing."""
    target, summary = COMMANDS[command]
    if not load:
        app.command(name=command, help=summary)(_unused)
        return
    module, _, name = target.partition(":")
    loaded: typer.Typer | Callable[..., Any] = getattr(importlib.import_module(module), name)
    if isinstance(loaded, typer.Typer):
        app.add_typer(loaded, name=command, help=summary)
    else:
        from edgekit.cli.help import PanelCommand
        from edgekit.cli.options import flat

        app.command(name=command, cls=PanelCommand)(flat(loaded))


def _unused() -> None:
    """Stands for a command that this run does not use."""


def _root(
    *,
    version: bool = typer.Option(False, "--version", help="Show the version and exit.", is_eager=True),
) -> None:
    if version:
        typer.echo(f"edgekit {edgekit.__version__}")
        raise typer.Exit


def _usage_message(error: Exception) -> str:
    context: Any = getattr(error, "ctx", None)
    formatted: Any = getattr(error, "format_message", error.__str__)
    return f"{formatted()}\n{context.get_usage() if context else ''}".rstrip()


def _fail(message: str, code: int, kind: str, arguments: Sequence[str]) -> int:
    say(f"edgekit: {message}")
    if "--json" in arguments:
        command = next((word for word in arguments if word in COMMANDS), None)
        error = {"type": kind, "message": message, "exit_code": code}
        write_json({"schema_version": 1, "command": command, "passed": False, "error": error})
    return code
