"""Help of one command: its options under headings by theme, and two examples to copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from typer.core import TyperCommand

from edgekit.cli.options import OUTPUT, PANELS

EXAMPLES: Final[Mapping[str, tuple[str, str]]] = {
    "devices": ("edgekit devices show pi4", "edgekit devices list --json"),
    "plan": ("edgekit plan net.onnx --device pi4 --why", 'edgekit plan model.py:build -d pixel8 --max-size "6 MB"'),
    "export": (
        "edgekit export net.onnx --device pi4 --calibration photos/",
        "edgekit export model.py:build -d pixel8 -f tflite -f onnx -p int8 -o out",
    ),
    "ladder": ("edgekit ladder --device pi4", "edgekit ladder model.py:build -d pi4 -f tflite -o out"),
    "search": ("edgekit search --device pi4 --trials 8", "edgekit search -d pi4 --epochs 10 --optimizer adamw"),
    "sweep run": (
        "edgekit sweep run matrix.toml --dry-run",
        "edgekit sweep run -d pi4,pixel8 -f tflite -p int8,fp16 -o out",
    ),
    "sweep show": (
        "edgekit sweep show out --where \"device = 'pi4' and passed\"",
        "edgekit sweep show out --against old",
    ),
    "sweep compact": ("edgekit sweep compact out", "edgekit sweep compact edgekit-sweep"),
    "validate": (
        "edgekit validate out/net-int8.tflite --device pi4",
        "edgekit validate net.onnx -d pi4 --model net.py:build --evaluation data.py:evaluation",
    ),
    "gate": ("edgekit gate out --device pi4 --strict", 'edgekit gate out -d pi4 --max-regression "size +5 %" --github'),
    "debug": ("edgekit debug out/net-int8.tflite", "edgekit debug net.onnx --model net.py:build --data calibration"),
    "report": ("edgekit report out", "edgekit report edgekit-search --output variants.html"),
    "verify": ("edgekit verify out", "edgekit verify out/edgekit.lock --rebuild"),
    "bench": (
        "edgekit bench out/net-int8.tflite --threads 4",
        "edgekit bench out/net-int8.tflite --on ssh://pi@raspberrypi --device pi4 -o pi4.json",
    ),
    "doctor": ("edgekit doctor", "edgekit doctor --json"),
    "init": ("edgekit init demo --device pixel8", "edgekit init --from net.onnx"),
    "cache show": ("edgekit cache show", "edgekit cache show --json"),
    "cache clear": ("edgekit cache clear", "edgekit cache clear --json"),
    "cache check": ("edgekit cache check", "edgekit cache check --json"),
    "baseline set": ("edgekit baseline set out", "edgekit baseline set out --keep-artifacts"),
    "baseline show": ("edgekit baseline show", "edgekit baseline show edgekit-baseline.json --json"),
    "devices list": ("edgekit devices list", "edgekit devices list --json"),
    "devices show": ("edgekit devices show pi4", 'edgekit devices show "Pixel 8"'),
    "devices calibrate": (
        "edgekit devices calibrate pi4 --from pi4.json",
        "edgekit devices calibrate pi4 --from one.json --from two.json",
    ),
}
"""Command to two examples of it."""


@final
class PanelCommand(TyperCommand):
    """A command whose help shows options under headings, without a framework for text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the arguments, then each heading with its options."""
        panels: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", *PANELS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            is_argument = parameter.param_type_name == "argument"
            panel = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or OUTPUT
            panels.setdefault(panel, []).append(record)
        for name, records in panels.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the examples as they are: a command to copy must not be wrapped."""
        examples = EXAMPLES.get(ctx.command_path.partition(" ")[2])
        if examples:
            formatter.write(f"\nExamples:\n  {examples[0]}\n  {examples[1]}\n")
