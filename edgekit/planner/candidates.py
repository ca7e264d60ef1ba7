"""The ways to export a model that are worth a look, and the ones that cannot be, each with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

from edgekit.analysis.graph import Analysis
from edgekit.planner.float_heads import FloatHead, with_float_heads
from edgekit.planner.float_layers import why_not_integers
from edgekit.planner.offers import Situation, TechniqueOffer, with_techniques
from edgekit.planner.recipes import default_presets, resolve_precision, steps_of
from edgekit.predict.predictions import predict
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate, Prediction, Recipe, Rejection

WhyNot = Callable[[str, Recipe], str | None]
"""Given a format and a recipe, returns why this source cannot become that, or None if it can."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What can be exported, formats in order of preference, and what cannot."""

    possible: tuple[Candidate, ...]
    refused: tuple[Rejection, ...]


def make_candidates(
    situation: Situation,
    *,
    formats: Sequence[str],
    precision: str | None,
    why_not: WhyNot,
    pipelines: Sequence[Sequence[TechniqueOffer]] = ((),),
    heads: Sequence[FloatHead] = (),
) -> Candidates:
    """Returns the candidates with their predictions.

    Args:
        situation: The model's costed graph, the device, which data there is.
        formats: Formats that the user forces, in order; empty for the profile's runtimes.
        precision: A preset that the user forces; None for all that suit the family.
        why_not: Requested for each format and recipe.
        pipelines: What may come before the quantization: each an ordered choice of techniques, the empty one included.
        heads: Heads that stay float in static INT8.
    """
    analysis, profile = situation.analysis, situation.profile
    possible: list[Candidate] = []
    refused: list[Rejection] = []
    for runtime in formats or profile.runtimes:
        presets = (precision,) if precision else default_presets(analysis.family, runtime)
        for preset in presets:
            options = profile.options.get(runtime)
            dense = analysis.has_dense_outputs
            recipe = resolve_precision(preset, analysis.family, runtime, options, dense_outputs=dense)
            recipe = with_float_heads(recipe, runtime, heads)
            reason = why_not(runtime, recipe) or why_not_integers(analysis, recipe, runtime)
            if reason is None and recipe.needs_calibration and not situation.has_calibration:
                reason = (
                    "it needs calibration data and the task has none; give --calibration, or [data] calibration in "
                    "edgekit.toml"
                )
            bare = Candidate(runtime=runtime, recipe=recipe)
            if reason is not None:
                refused.append(Rejection(candidate=bare.title, reason=reason))
                continue
            plain = with_predictions(bare, analysis, profile)
            possible += [with_techniques(plain, offers, situation) for offers in pipelines]
    return Candidates(possible=tuple(possible), refused=_joined(refused))


def with_predictions(candidate: Candidate, analysis: Analysis, profile: DeviceProfile) -> Candidate:
    """Returns the candidate with its steps and everything that can be predicted about it."""
    return Candidate(
        runtime=candidate.runtime,
        recipe=candidate.recipe,
        steps=(*candidate.steps, *steps_of(candidate.recipe)),
        predictions=predict_for(candidate, analysis, profile),
    )


def predict_for(candidate: Candidate, analysis: Analysis, profile: DeviceProfile) -> tuple[Prediction, ...]:
    """Returns everything that can be predicted about a candidate on a device."""
    return predict(
        analysis, candidate.recipe, candidate.runtime, device=profile.name, latency_models=profile.latency_model
    )


def with_predictions_of_changed(candidate: Candidate, analysis: Analysis, profile: DeviceProfile) -> Candidate:
    """Returns the candidate with what can be predicted once its techniques have been carried out.

    Args:
        candidate: With techniques that a user requested: its predictions are those of the model before them.
        analysis: Costed graph of the model that the techniques have made.
        profile: The device.
    """
    unknown = "not predicted: techniques have changed the model, and the artifact is measured"
    predictions = tuple(
        replace(item, value=None, low=None, high=None, basis=unknown) if item.name == "accuracy_drop" else item
        for item in predict_for(candidate, analysis, profile)
    )
    return replace(candidate, predictions=predictions)


def _joined(refused: Sequence[Rejection]) -> tuple[Rejection, ...]:
    """Returns one row for recipes of one format that were refused for one reason: `onnx fp32, fp16, int8-static`."""
    titles: dict[tuple[str, str], list[str]] = {}
    for item in refused:
        runtime, _, recipe = item.candidate.partition(" ")
        titles.setdefault((runtime, item.reason), []).append(recipe)
    return tuple(
        Rejection(candidate=f"{runtime} {', '.join(recipes)}", reason=reason)
        for (runtime, reason), recipes in titles.items()
    )
