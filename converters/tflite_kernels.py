"""Whether LiteRT has a kernel for every operator of a file: its converter writes some that its interpreter lacks.

Only ever runs inside a conversion worker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from edgekit.analysis.tflite_protocols import TFLiteModel
from edgekit.converters.tflite_file import operators, text, write
from edgekit.errors import ConversionError

_MISSING: Final = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_UNFIT: Final = re.compile(r"Node number (\d+) \((\w+)\) failed to prepare")


def refuse_missing_kernels(model: TFLiteModel, modules: Mapping[str, str], source: str) -> None:
    """Opens a float model in LiteRT, as far as nothing runs yet.

    Args:
        model: ModelT.
        modules: Name of an operator's first output tensor to dotted module name.
        source: For messages: what the user wrote.

    Raises:
        ConversionError: names the operator that has no kernel, and its layer.
    """
    from ai_edge_litert import interpreter

    try:
        plain: Any = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        opened: Any = interpreter.Interpreter(model_content=write(model), experimental_op_resolver_type=plain)
        opened.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        said = str(error)
        kind, layer = _place(model, modules, said)
        if not kind:
            raise
        words = " ".join(_UNFIT.split(said)[0].split()).rstrip(".")
        why = "" if _MISSING.search(said) else f": {words}"
        raise ConversionError(
            f"{source} cannot become tflite: LiteRT's converter writes {kind}{layer}, and its interpreter has no "
            f"kernel for it as it is used there{why}. Replace that part of the model, or choose another format."
        ) from error


def _place(model: TFLiteModel, modules: Mapping[str, str], said: str) -> tuple[str, str]:
    """Returns the operator that LiteRT named, "" for none, and ` in the layer name` where it is known."""
    listed = [(kind, operator, graph) for graph, operator, kind in operators(model)]
    if match := _MISSING.search(said):
        found = [item for item in listed if item[0] == match.group(1)]
        kind = match.group(1)
    elif match := _UNFIT.search(said):
        kind, place = match.group(2), int(match.group(1))
        found = [item for item in listed[place : place + 1] if item[0] == kind] or [i for i in listed if i[0] == kind]
    else:
        return "", ""
    if not found:
        return kind, ""
    _, operator, graph = found[0]
    name = text(graph.tensors[operator.outputs[0]].name)
    layer = modules.get(name, "")
    # What is in no module is called after its tensor, which LiteRT calls after its own signature.
    return kind, f" in the layer {layer}" if layer and "serving_default" not in layer else ""
