"""Score calibration of a classifier's or a detector's classes, as readers of TFLite Metadata take it.

A line a label holds scale, slope, offset and, if there is one, the lowest score that counts: the client shows
scale / (1 + exp(-(slope x score + offset))). An empty line gives the class the score 0.
Source: TFLite Support, metadata_schema.fbs (ScoreCalibrationOptions, TENSOR_AXIS_SCORE_CALIBRATION).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from edgekit.errors import ConfigError
from edgekit.files.bounded_reading import SETTINGS_BYTES, read_text

_NUMBERS: Final = (3, 4)


def read_score_calibration(config: Path, name: str, labels: str) -> str:
    """Returns the lines of a calibration file, numbers with commas between.

    Args:
        config: The task file that names it.
        name: Path of the file, relative to the task file.
        labels: Of the classes, one a line.

    Raises:
        ConfigError: no such file, another number of lines than there are labels, or a line that holds something else.
    """
    path = config.parent / name
    advice = 'Give a text file with one line a label, "scale,slope,offset" or "scale,slope,offset,lowest score".'
    try:
        text = read_text(path, ConfigError, limit_bytes=SETTINGS_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"{config}: model.score_calibration: {path} does not exist. {advice}") from None
    except ConfigError as error:
        raise ConfigError(f"{config}: model.score_calibration: {error.message} {advice}") from None
    lines = text.removesuffix("\n").split("\n")
    count = len(labels.splitlines())
    if len(lines) != count:
        raise ConfigError(
            f"{config}: model.score_calibration: {path} has {len(lines)} lines, and model.labels names {count} labels. "
            f"{advice}"
        )
    for place, line in enumerate(lines, start=1):
        if line.strip() and not _is_calibration(line):
            raise ConfigError(f'{config}: model.score_calibration: line {place} of {path} is "{line}". {advice}')
    return "\n".join(line.replace(" ", "").strip() for line in lines)


def _is_calibration(line: str) -> bool:
    try:
        numbers = [float(word) for word in line.split(",")]
    except ValueError:
        return False
    return len(numbers) in _NUMBERS and all(math.isfinite(number) for number in numbers) and numbers[0] >= 0
