"""What to try where a limit was not kept: one sentence, with the command where there is one."""

from __future__ import annotations

from typing import Final

from edgekit.budget import CHANGE_SUFFIX
from edgekit.checks import Check
from edgekit.gating.outputs.measuring import Place, how_to_measure

_FLOAT: Final = ("fp32", "fp16", "unknown")

_MISSED: Final = {
    "size": "Try fewer bits or a smaller model; {gate} --why shows the layers that take most.",
    "download": "Try fewer bits or a smaller model; {gate} --why shows the layers that take most.",
    "memory": "Try a smaller input or fewer channels where most is alive; {gate} --why shows where that is.",
    "latency": "Try fewer multiply-accumulates or a smaller input; {gate} --why shows the dearest layers.",
    "latency_p95": "Try fewer multiply-accumulates or a smaller input; {gate} --why shows the dearest layers.",
    "accuracy_drop": "Try more calibration data like the evaluation's, or an "
    "export with --precision int8-dynamic or fp16.",
    "slice_drop": "Try calibration data that holds this slice too, or an export with --precision int8-dynamic or fp16.",
    "parity": "Try more calibration data like the evaluation's, or an export with --precision int8-dynamic or fp16.",
    "parity_floor": "Look where it departs from the float model: {debug}",
    "integer_outputs": "Look where it departs from the float model: {debug}",
    "outputs_alive": "Look where it departs from the float model: {debug}",
    "evidence": "Give data that can show a fault; --without evidence shows this check without judging it.",
    "model_digest": "Give the model that it was made from, or export this one again.",
    "integer_coverage": "Try a precision that the format has kernels for (int8-weights, where size is what counts), "
    "another format, or a plan of --effort default, which says which layers stay float.",
    "delegate_coverage": "Try another format of the device's runtimes: a plan for {device} shows what it prefers.",
    "accelerator_coverage": "Replace the named operators or try another precision; it is predicted, not measured.",
    "ignored_settings": "Omit the setting, or request a format that can keep it.",
}

_NOT_RUN: Final = {
    "accuracy_drop": "Give evaluation data: [data] evaluation in edgekit.toml, or --evaluation.",
    "slice_drop": "Yield (inputs, target, slice name) from [data] evaluation in edgekit.toml, or labels.",
    "parity": "Give evaluation data: [data] evaluation in edgekit.toml, or --evaluation.",
}


def advise(check: Check, precision: str, place: Place) -> str:
    """Returns what to try about a check that did not pass, "" where nothing is known that would help.

    Args:
        check: Its verdict is not `pass`.
        precision: Name of the artifact's recipe.
        place: The device and the file.
    """
    if check.verdict == "not_run":
        return _about_missing(check, place)
    if check.name.endswith(CHANGE_SUFFIX):
        return _about_change(check, place)
    if check.verdict == "inconclusive":
        return _about_uncertainty(check, place)
    if check.name in ("size", "download", "memory") and precision in _FLOAT:
        return "Try an export with --precision int8: it stores a quarter of fp32's bytes."
    if check.name in ("accuracy_drop", "slice_drop", "parity") and precision in _FLOAT:
        return "Weights and activations are float: look for a part of the model that this format computes differently."
    return _MISSED.get(check.name, "").format(gate=place.gate, device=place.device, debug=place.debug)


def _about_missing(check: Check, place: Place) -> str:
    if check.name.startswith("latency") and not check.name.endswith(CHANGE_SUFFIX):
        return how_to_measure(place)
    # The sentence has the detail's first part, the reason; what follows there says what to do.
    advice = check.detail.partition(". ")[2] or _NOT_RUN.get(check.name, "")
    # A folder's figures are those of its export: data that is given to the gate would have no effect.
    return f"{advice} Then export again." if check.name in _NOT_RUN and advice and place.of_folder else advice


def _about_uncertainty(check: Check, place: Place) -> str:
    if check.name in ("accuracy_drop", "slice_drop"):
        return "More evaluation data narrows the band."
    if check.basis == "predicted" and check.name.startswith("latency"):
        return f"It is a prediction. {how_to_measure(place)}"
    return "More runs narrow the band."


def _about_change(check: Check, place: Place) -> str:
    if check.verdict == "inconclusive":
        more = "More evaluation data" if check.unit == "pp" else "A quieter machine or another run"
        return f"{more} narrows the band; nothing has been shown to be worse."
    return f"If it is wanted, set a new baseline: {place.set_baseline}"
