"""What the keyword `image_input` of the Python API says, in the task's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import ValidationError

from edgekit.errors import UsageError
from edgekit.files.faults import describe_file_faults, find_faults
from edgekit.task.task import Task, preprocessing_of
from edgekit.task.task_file import PreprocessingTable

ImageInputOption = bool | Mapping[str, object] | None
"""True or False; or a dict with mean, std, color, resize and letterbox, which is True with that preprocessing; None
leaves it to the task file and the device."""


def with_image_input(task: Task, given: ImageInputOption) -> Task:
    """Returns the task with what the keyword says.

    Raises:
        UsageError: a dict with other keys or values than `[data.preprocessing]` has.
    """
    if given is None:
        return task
    if isinstance(given, bool):
        return replace(task, image_input=given, image_input_stated=True)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    try:
        table = PreprocessingTable.model_validate(plain)
    except ValidationError as error:
        advice = "It takes what [data.preprocessing] of a task file does: resize, letterbox, mean, std, color."
        raise UsageError(describe_file_faults("image_input", find_faults(error, PreprocessingTable), advice)) from None
    return replace(
        task,
        preprocessing=preprocessing_of(table),
        preprocessing_stated=True,
        image_input=table.image_input is not False,
        image_input_stated=True,
    )
