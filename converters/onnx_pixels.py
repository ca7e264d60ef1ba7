"""ONNX files whose input is pixels (1, H, W, C) in 8 bits: the preprocessing becomes the graph's first nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from edgekit.model import TensorSpec
from edgekit.task.image_input import ImageInput

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

_TO_FIRST: Final = (0, 3, 1, 2)


def take_pixels(graph: onnx.GraphProto, image: ImageInput) -> TensorSpec:
    """Lets the graph (changed in place) take pixels in the place of the float input of the same name; returns that."""
    import numpy as np
    import onnx

    spec = image.pixel_spec()
    value = next(item for item in graph.input if item.name == spec.name)
    value.CopyFrom(onnx.helper.make_tensor_value_info(spec.name, onnx.TensorProto.UINT8, spec.shape))
    taken = f"{spec.name}_float"
    _reroute(graph, spec.name, taken)
    first = image.spec.layout == "NCHW"
    per_channel = (-1, 1, 1) if first else (-1,)
    nodes: list[onnx.NodeProto] = []

    def add(kind: str, operand: NDArray[Any] | None = None, **attributes: Any) -> None:
        name = f"{spec.name}_{kind.lower()}"
        inputs = [nodes[-1].output[0] if nodes else spec.name]
        if operand is not None:
            graph.initializer.append(onnx.numpy_helper.from_array(operand, f"{name}_by"))
            inputs.append(f"{name}_by")
        nodes.append(onnx.helper.make_node(kind, inputs, [f"{name}_out"], name=name, **attributes))

    # Bytes are moved, not floats: a quarter of the memory.
    if first:
        add("Transpose", perm=_TO_FIRST)
    if image.turned:
        add("Gather", np.arange(image.channels)[::-1].astype(np.int64), axis=1 if first else 3)
    add("Cast", to=onnx.TensorProto.FLOAT)
    if any(image.mean):
        add("Sub", np.asarray(image.mean, np.float32).reshape(per_channel))
    if any(item != 1 for item in image.std):
        add("Div", np.asarray(image.std, np.float32).reshape(per_channel))
    nodes[-1].output[0] = taken
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    return spec


def transposes(graph: onnx.GraphProto) -> int:
    """Returns how many transposes the graph has."""
    return sum(node.op_type == "Transpose" for node in graph.node)


def _reroute(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Lets all who read one value read another, bodies of loops and branches too."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _reroute(attribute.g, old, new)
    for output in graph.output:
        if output.name == old:
            output.name = new
