"""The second capture of a torch model: with the sizes open that the user names. Runs in a worker that has torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ModelError
from edgekit.model import OpenSizes
from edgekit.sources.base import CaptureRequest
from edgekit.torch_program.open_sizes import axes_of, save_open

if TYPE_CHECKING:
    from torch import nn

    from edgekit.torch_program.example_call import ExampleCall


def captured_open(
    module: nn.Module, call: ExampleCall, request: CaptureRequest, folder: Path, *, has_states: bool
) -> OpenSizes:
    """Captures `module` with the open sizes of `request` and saves the program beside the one with the largest.

    Args:
        module: In eval mode.
        call: What it is called with, at the largest sizes; its names are the inputs'.
        request: Names the axes and the dimensions.
        folder: Where the captured model lies.
        has_states: The model keeps states between calls.

    Raises:
        ModelError: it keeps states, or binds a dimension.
    """
    if has_states:
        raise ModelError(
            f"{request.source}: the model keeps states between calls, and edgekit leaves sizes open only in models "
            "without states. Give a number in the place of each dimension, in --input or [inputs]."
        )
    axes = axes_of(call, request.input_sizes)
    return save_open(module, call, axes, request.dimensions, folder, request.source)
