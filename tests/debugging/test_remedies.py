"""Every cause has a remedy, and every command that is shown is one that edgekit understands."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any, get_args

import pytest

from edgekit.cli.app import COMMANDS
from edgekit.debugging.causes import Cause
from edgekit.debugging.remedies import ExportCall, with_remedies
from edgekit.debugging.report import DebugReport, LayerReport, Suspect
from edgekit.recipe import PRESETS
from edgekit.registry import technique_names

CALL = ExportCall(
    model="net.py:build", config="", calibration="", device="pi4", runtime="tflite", precision="int8-static"
)


def report(cause: Any, *, share: float = 0.5, sqnr: float = 12.0, samples_from: str = "calibration") -> DebugReport:
    layer = LayerReport(
        position=0,
        node="conv2d",
        operator="conv2d",
        module="first",
        tensor="t",
        layout="same",
        agreement=0.9,
        sqnr_db=10.0,
        own_sqnr_db=10.0,
        beyond_ordinary_db=20.0,
        error_share=share,
        saturated_share=0.0,
        dead_channels=0,
        channels=8,
        seen=(0.0, 1.0),
        used=(0.0, 1.0),
        grid=(0.0, 1.0),
        departs=cause != "rounding",
    )
    suspect = Suspect(node="conv2d", cause=cause, sentence="", explained_share=1.0, is_fault=cause != "rounding")
    return DebugReport(
        artifact="m.tflite",
        runtime="tflite",
        precision="int8-static",
        model="net.py:build",
        samples=16,
        samples_from=samples_from,
        how="",
        final_sqnr_db=sqnr,
        inside_agreement_db=None,
        explained=1.0,
        layers=(layer,),
        unmatched=(),
        suspects=(suspect,),
    )


@pytest.mark.parametrize("cause", get_args(Cause))
def test_each_cause_has_a_remedy_whose_command_edgekit_understands(cause: Any) -> None:
    (suspect,) = with_remedies(report(cause), CALL).suspects
    assert suspect.remedy.endswith(".")
    for command in suspect.command.split(" && "):
        words = shlex.split(command)
        assert words[:2] in (["edgekit", "export"], ["edgekit", "plan"])
        assert words[1] in COMMANDS
        assert words[2] == "net.py:build"
        flags = dict(zip(words[3::2], words[4::2], strict=True))
        assert flags.get("--precision", "int8") in PRESETS
        assert flags.get("--technique", "equalize").partition(":")[0] in technique_names()


def test_error_in_one_layer_asks_for_float_there_and_spread_error_for_rounding() -> None:
    (one,) = with_remedies(report("rounding", share=0.4), CALL).suspects
    assert one.command == (
        "edgekit plan net.py:build --device pi4 --format tflite --effort default -o plan.json && "
        "edgekit export net.py:build --plan plan.json"
    )
    (spread,) = with_remedies(report("rounding", share=0.1), CALL).suspects
    assert spread.command.endswith("--precision int8-static --technique round_weights:method=gptq")


def test_near_outputs_need_nothing() -> None:
    (suspect,) = with_remedies(report("rounding", sqnr=35.0), CALL).suspects
    assert (suspect.remedy, suspect.command) == (
        "Nothing to do: the outputs are as near to the float model's as this precision allows.",
        "",
    )


def test_near_outputs_of_which_the_metric_is_lost_need_something() -> None:
    near = replace(report("rounding", sqnr=35.0, share=0.4), metric="map", metric_points=12.0)
    (suspect,) = with_remedies(near, CALL).suspects
    assert "--effort default" in suspect.command


def test_clipping_that_calibration_did_not_see_asks_for_more_samples() -> None:
    (suspect,) = with_remedies(report("range_clips", samples_from="evaluation"), CALL).suspects
    assert suspect.remedy == (
        "Calibration never saw such values: calibrate with more samples, like those the app sees; or let ranges be "
        "chosen at run time."
    )
    assert suspect.command.endswith("--precision int8-dynamic")
