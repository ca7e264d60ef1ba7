"""What an artifact's outputs are compared with the float model's on, where the task has no evaluation data.

Without labels nobody can judge accuracy, and it stays *not measured*. Whether the outputs live, and how near they are,
shows on any inputs: on the calibration samples, which the ranges were made for, else for float artifacts on made-up
values. An artifact with a dead output does not pass because nobody gave evaluation data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from edgekit.exporting.inputs import Inputs
from edgekit.exporting.open_sizes import made_up_row
from edgekit.pipeline.samples import chosen_rows, reference_outputs, rows_stand_alone, whole_pixels
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.samples import Samples, write_samples
from edgekit.task.image_input import ImageInput
from edgekit.validators.floors import is_float

_MOST_ROWS: Final = 64
_MADE_UP_ROWS: Final = 8


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SoundnessRows:
    """Inputs without labels.

    Attributes:
        inputs: With the rows and the float model's outputs on them in the place of the evaluation data.
        words: What they are.
    """

    inputs: Inputs
    words: str


def soundness_rows(
    inputs: Inputs, recipe: Recipe, image: ImageInput | None, folder: Path, settings: Settings
) -> SoundnessRows | None:
    """Returns what outputs are compared on; None where there is nothing to compare on.

    Args:
        inputs: The model and its data, which has no evaluation data.
        recipe: What the artifact was made with.
        image: The picture that the artifact takes as pixels; None where it takes what the float model does.
        folder: Where made-up rows are written.
        settings: How to run.

    Raises:
        EdgekitError: the float model cannot be run.
    """
    if inputs.calibration is not None:
        rows, words = _calibration_rows(inputs.calibration, settings), "calibration data"
        rows = rows if image is None else whole_pixels(rows, image, settings)
    elif image is None and not inputs.model.states and is_float(recipe.precisions):
        rows, words = _made_up_rows(inputs, folder), "made-up inputs"
    else:
        return None
    reference = reference_outputs(inputs.model, rows, settings)
    return SoundnessRows(inputs=replace(inputs, evaluation=rows, reference=reference), words=words)


def _calibration_rows(calibration: Samples, settings: Settings) -> Samples:
    """Returns some of them, evenly apart; all where rows follow each other or differ in size."""
    if not rows_stand_alone(calibration) or calibration.count <= _MOST_ROWS:
        return calibration
    return chosen_rows(calibration, [i * calibration.count // _MOST_ROWS for i in range(_MOST_ROWS)], settings)


def _made_up_rows(inputs: Inputs, folder: Path) -> Samples:
    specs = inputs.model.inputs
    rows = [
        tuple(made_up_row(spec.shape, spec.dtype, seed=10 * row + i) for i, spec in enumerate(specs))
        for row in range(_MADE_UP_ROWS)
    ]
    return write_samples(folder, [spec.name for spec in specs], rows)
