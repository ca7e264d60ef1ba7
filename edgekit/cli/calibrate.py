"""`edgekit devices calibrate`: refit a profile's latency model on measurements from the device."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import options
from edgekit.cli.completion import complete_device
from edgekit.cli.options import CHOICE, MODEL_AND_DATA, option
from edgekit.errors import UsageError
from edgekit.profiles.profile import USER_FOLDER, DeviceProfile, find_profile, shipped_folder
from edgekit.terminal.console import console, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from edgekit.benchmarking.latency_calibration import CalibrationResult
    from edgekit.predict.latency_design import Proposal

JSON_SCHEMA = 1

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=complete_device,
        help="Name, alias or title of a device, or the path of a TOML file.",
    ),
]  # fmt: skip
From = Annotated[
    list[Path] | None,
    option(
        MODEL_AND_DATA,
        "--from",
        help="Measurement file, benchmark_model's output or an AI Hub profile; several times.",
    ),
]
Propose = Annotated[
    int,
    option(
        CHOICE,
        "--propose",
        min=0,
        max=100,
        show_default=False,
        help="Say which models to measure first, so many, and write nothing: of --model, else of known ones.",
    ),
]
FormatOption = Annotated[
    str, option(CHOICE, "--format", "-f", show_default=False, help="With --propose: whose rates, such as tflite.")
]
PrecisionOption = Annotated[
    str, option(CHOICE, "--precision", "-p", show_default=False, help="With --propose: fp32, fp16 or int8-static.")
]  # fmt: skip
ModelOption = Annotated[
    list[str] | None,
    option(
        MODEL_AND_DATA, "--model", "-m",
        help="What was measured, where the file does not lead to it: .tflite, .onnx or a model; several times.",
    ),
]  # fmt: skip


def calibrate(
    name: NameArgument,
    source: From = None,
    model: ModelOption = None,
    propose: Propose = 0,
    format_name: FormatOption = "",
    precision: PrecisionOption = "",
    as_json: options.Json = False,
    no_color: options.NoColor = False,
) -> None:
    """Refit a profile's latency model on measurements from the device, and say how much better it got.

    The new rates go into ./device_profiles/NAME.toml, which wins over edgekit's own profile; that one stays as it is.
    --propose says which models to measure first.
    """
    profile = find_profile(name, Path.cwd())
    screen = options.Screen(as_json=as_json, no_color=no_color)
    if propose:
        if source:
            raise UsageError("--propose says what to measure, --from brings measurements: give one of them.")
        _propose(profile, propose, model or (), (format_name, precision), screen)
        return
    if not source:
        raise UsageError(
            "Nothing to calibrate on: give measurements with --from, or --propose 3 to hear which to make."
        )
    target = _target(profile)
    from edgekit.benchmarking.latency_calibration import calibrate as run_calibration
    from edgekit.benchmarking.latency_calibration import read_measurements
    from edgekit.cli.settings import pipeline_settings
    from edgekit.profiles.profile_copy import with_latency_tables, write_profile

    measurements, models = read_measurements(source, model or (), profile, Path.cwd())
    with pipeline_settings(screen, options.Workers(), jobs=1) as (settings, _):
        result = run_calibration(profile, measurements, models, settings, Path.cwd())
    tables = {(one.group[0], str(one.group[1])): one.table for one in result.tables}
    write_profile(target, with_latency_tables(profile.path.read_text(encoding="utf-8"), tables))
    if as_json:
        write_json(_json(profile, result, target))
    else:
        _show(profile, result, target, no_color=no_color)


def _propose(
    profile: DeviceProfile, count: int, models: Sequence[str], wanted: tuple[str, str], screen: options.Screen
) -> None:
    """Prints which models to measure, the most informative first."""
    from edgekit.benchmarking.measurement_proposals import find_group, propose_measurements
    from edgekit.cli.settings import pipeline_settings

    group = find_group(profile, *wanted)
    with pipeline_settings(screen, options.Workers(), jobs=1) as (settings, _):
        found = propose_measurements(profile, group, models, settings, Path.cwd(), count=count)
    if screen.as_json:
        write_json({
            "schema_version": JSON_SCHEMA,
            "command": "devices",
            "device": profile.name,
            "runtime": group[0],
            "precision": group[1],
            "proposed": [{"model": one.name, "spread": one.spread} for one in found],
        })  # fmt: skip
        return
    out = console(no_color=screen.no_color)
    title = f"{group[0]} {group[1].replace('_', '-')}"
    out.print(f"{profile.title} ({profile.name}), {title}: measure these, in this order", markup=False, soft_wrap=True)
    out.print()
    out.print(_proposal_table(found))
    out.print()
    lines = [
        "Measure one there:",
        f"  edgekit bench FILE --device {profile.name} --on ssh://USER@HOST -o FILE.json",
        "Refit the rates on all that were measured, with one --from for each:",
        f"  edgekit devices calibrate {profile.name} --from FILE.json",
    ]
    out.print(*lines, sep="\n", markup=False, soft_wrap=True)


def _proposal_table(found: Sequence[Proposal]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from edgekit.predict.latency import BAND_QUANTILE
    from edgekit.predict.latency_refit import MISFIT

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", justify="right")
    table.add_column("model", no_wrap=True)
    table.add_column("others then known within a factor of (90 %)", justify="right")
    for i, one in enumerate(found, 1):
        table.add_row(str(i), Text(one.name), f"{math.exp(BAND_QUANTILE * math.hypot(one.spread, MISFIT)):.2f}")
    return table


def _target(profile: DeviceProfile) -> Path:
    """Returns the user's profile that is written, never one of edgekit's own."""
    folder = Path(USER_FOLDER)
    if folder.resolve() == shipped_folder().resolve():
        raise UsageError(
            f"./{USER_FOLDER} is the folder of edgekit's own profiles, and calibrate writes a profile of yours. "
            "Run it in a folder of your own project."
        )
    return folder / f"{profile.name}.toml"


def _json(profile: DeviceProfile, result: CalibrationResult, target: Path) -> dict[str, Any]:
    return {
        "schema_version": JSON_SCHEMA,
        "command": "devices",
        "device": profile.name,
        "calibrated": [
            {
                "runtime": calibrated.group[0],
                "precision": calibrated.group[1],
                "measurements": [
                    {
                        "name": observation.name,
                        "measured_ms": observation.measured_ms,
                        "before_ms": observation.predicted_ms(),
                        "after_ms": observation.predicted_ms(calibrated.refit.factors),
                    }
                    for observation in calibrated.observations
                ],
                "error_before": calibrated.refit.error_before,
                "error_after": calibrated.refit.error_after,
                "error_left_out": calibrated.refit.error_left_out,
                "factors": dict(calibrated.refit.factors),
                "spread": calibrated.refit.spread,
            }
            for calibrated in result.tables
        ],
        "unused": dict(result.unused),
        "path": str(target),
    }


def _show(profile: DeviceProfile, result: CalibrationResult, target: Path, *, no_color: bool) -> None:
    screen = console(no_color=no_color)
    screen.print(f"{profile.title} ({profile.name}): predicted beside measured", markup=False, soft_wrap=True)
    screen.print()
    screen.print(_measured_table(result))
    screen.print()
    for calibrated in result.tables:
        refit = calibrated.refit
        line = (
            f"{' '.join(calibrated.group)}: median error {refit.error_before:.0%} before, {refit.error_after:.0%} after"
        )
        if refit.error_left_out is None:
            line += "; with fewer than 3 measurements nobody knows how well it predicts other models"
        else:
            line += f", {refit.error_left_out:.0%} on each model left out in turn"
        screen.print(line, markup=False, soft_wrap=True)
    for name, reason in result.unused.items():
        screen.print(f"not used: {name}: {reason}", markup=False, soft_wrap=True)
    screen.print(f"{target} holds the new rates and wins over edgekit's own from here.", markup=False, soft_wrap=True)


def _measured_table(result: CalibrationResult) -> Table:
    from rich.table import Table
    from rich.text import Text

    from edgekit.units import format_milliseconds

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("measurement", "latency model"):
        table.add_column(title, no_wrap=True)
    for title in ("measured", "before", "after"):
        table.add_column(title, justify="right", no_wrap=True)
    for calibrated in result.tables:
        for observation in calibrated.observations:
            figures = (
                observation.measured_ms,
                observation.predicted_ms(),
                observation.predicted_ms(calibrated.refit.factors),
            )
            table.add_row(Text(observation.name), " ".join(calibrated.group), *map(format_milliseconds, figures))
    return table
