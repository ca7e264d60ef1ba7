"""A graph on its way through torch that takes pixels: the preprocessing becomes its first operators."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from edgekit.model import CapturedModel
from edgekit.quantization.pt2e_graph import FloatGraph, add_constant, placeholders
from edgekit.quantization.pt2e_quantization import QuantizedGraph
from edgekit.task.image_input import ImageInput

if TYPE_CHECKING:
    from torch import Tensor

G = TypeVar("G", FloatGraph, QuantizedGraph)

_TO_FIRST: Final = [0, 3, 1, 2]
_TO_LAST: Final = [0, 2, 3, 1]


def take_pixels(
    graph: G, model: CapturedModel, image: ImageInput, layout: Literal["NHWC", "NCHW"], *, as_bytes: bool
) -> G:
    """Returns the graph (changed in place) with pixels as the input that takes a picture.

    Args:
        graph: Float or quantized.
        model: What it was captured from; its inputs are the graph's.
        image: The input, and what becomes of pixels.
        layout: Of the pixels.
        as_bytes: They come as uint8, red first; else as floats from 0 to 255, in the order of the model's channels.
    """
    import torch

    aten: Any = torch.ops.aten
    place = [spec.name for spec in model.inputs].index(image.spec.name)
    inputs = placeholders(graph.module)
    pixels, behind = inputs[place], inputs[-1].next
    readers = list(pixels.users)
    channel = 1 if image.spec.layout == "NCHW" else 3
    axes = [1] * 4
    axes[channel] = image.channels
    last = pixels

    def add(target: Any, *arguments: Any) -> None:
        nonlocal last
        with behind.graph.inserting_before(behind):
            last = behind.graph.call_function(target, (last, *arguments))

    def constant(name: str, values: tuple[float, ...]) -> Any:
        tensor: Tensor = torch.tensor(values, dtype=torch.float32).reshape(axes)
        return add_constant(graph.module, behind, f"pixel_{name}", tensor)

    if layout != image.spec.layout:
        add(aten.permute.default, _TO_FIRST if layout == "NHWC" else _TO_LAST)
    if as_bytes:
        if image.turned:
            add(aten.flip.default, [channel])
        add(aten.to.dtype, torch.float32)
    if any(image.mean):
        add(aten.sub.Tensor, constant("mean", image.mean))
    if any(value != 1 for value in image.std):
        add(aten.div.Tensor, constant("std", image.std))
    if last is not pixels:
        for reader in readers:
            reader.replace_input_with(pixels, last)
    examples = list(graph.example_inputs)
    examples[place] = torch.zeros(
        image.pixel_spec(layout=layout).shape, dtype=torch.uint8 if as_bytes else torch.float32
    )
    # A hook of torch.export checks that inputs are the captured ones.
    graph.module._forward_pre_hooks.clear()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  there is no public way
    graph.module.recompile()
    return replace(graph, example_inputs=tuple(examples))
